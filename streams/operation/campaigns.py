"""Campaign files: read, check and encode them."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import msgspec
from msgspec.structs import replace

from models.offers.campaign import Campaign
from streams.errors import OperatorError


def read_campaign(file: Path) -> Campaign:
    """Read and check a campaign file (TOML); its version is a hash of its contents.

    Raises:
        OperatorError: the file cannot be read, or a value is wrong; the message names it.
    """
    try:
        campaign = msgspec.convert(tomllib.loads(file.read_text()), Campaign)
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file}: {error}") from None
    except msgspec.ValidationError as error:
        raise OperatorError(f"{file}: {error}") from None
    if campaign.quiet_from % 24 == campaign.quiet_until % 24 and campaign.quiet_from != campaign.quiet_until:
        raise OperatorError(f"{file}: quiet hours all day long; set enabled = false to send nothing")
    if campaign.cool_down_days < campaign.arm.valid_days:
        raise OperatorError(
            f"{file}: cool_down_days ({campaign.cool_down_days:g}) must not be less than the arm's valid_days "
            f"({campaign.arm.valid_days:g}): an open offer blocks new offers, and the hold-out group has no open offers"
        )
    if campaign.version:
        raise OperatorError(f"{file}: version is set when a campaign is published, not in the file")
    return versioned(campaign)


def versioned(campaign: Campaign) -> Campaign:
    """Return a campaign with its version: the first 8 hex digits of the SHA-256 of its contents."""
    unnamed = replace(campaign, version="")
    return replace(campaign, version=hashlib.sha256(encode_campaign(unnamed)).hexdigest()[:8])


def encode_campaign(campaign: Campaign) -> bytes:
    """Encode a campaign for its topic."""
    return msgspec.json.encode(campaign)
