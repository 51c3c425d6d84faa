"""Campaigns, and the decision whether a person gets something: pure, and with a reason either way."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.activity import DAY
from models.ledger import Ledger, share_of

REASONS: dict[str, str] = {
    "sent": "it goes out",
    "no_campaign": "no campaign is running for it",
    "no_consent": "the person has not agreed to marketing, or no longer does",
    "open_offer": "an offer of the campaign is still open",
    "cap": "the person has had as many as the campaign allows",
    "cool_down": "too soon after the last one",
    "quiet_hours": "at night; asked again when it ends",
    "hold_out": "the person belongs to those who get nothing, so that the effect can be measured",
    "shadow": "the worker only watches",
}

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9._-]+$")]
Days = Annotated[float, Meta(ge=0, le=3_650)]
Hour = Annotated[float, Meta(ge=0, le=24)]


class Arm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is offered: a coupon of an amount, to be used within some days."""

    name: Name
    amount: Annotated[float, Meta(gt=0, le=1e6)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "EUR"
    valid_days: Annotated[float, Meta(gt=0, le=365)] = 7.0


class Campaign(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What people may get and when. `version` is set when it is published, from its contents."""

    id: Name
    arm: Arm
    cap_per_person: Annotated[int, Meta(ge=1, le=100)] = 2
    cool_down_days: Days = 14.0
    contact_cool_down_days: Days = 3.0
    hold_out: Annotated[float, Meta(ge=0, le=1)] = 0.1
    needs_consent: bool = True
    quiet_from: Hour = 22.0
    quiet_until: Hour = 8.0
    utc_offset_hours: Annotated[float, Meta(ge=-14, le=14)] = 0.0
    enabled: bool = True
    version: str = ""


class Verdict(Struct, frozen=True):
    """What was decided for a candidate; `retry` is the moment to ask again, where there is one."""

    reason: str
    campaign: Campaign | None = None
    counts: bool = False
    retry: float | None = None

    @property
    def sent(self) -> bool:
        """Whether it goes out."""
        return self.reason == "sent"


def decide(
    kind: Literal["coupon", "contact"],
    person_id: str,
    ledger: Ledger,
    campaign: Campaign | None,
    now: float,
    shadow: bool,
) -> Verdict:
    """Decide whether a person gets a coupon or a contact now.

    The hold-out is asked after everything else, so that those who are held out are comparable with those who are
    sent something: both would have been. They count for caps and cool-downs alike.

    Args:
        kind: what it would be.
        person_id: only its place in the hold-out is taken from it.
        ledger: what the person has had, and their consent.
        campaign: the one that is running.
        now: seconds since 1970 UTC: the moment of the cause, not of the machine.
        shadow: nothing is sent, whatever is decided.

    Returns:
        The verdict; its reason is one of `REASONS`.
    """
    if campaign is None or not campaign.enabled:
        return Verdict("no_campaign")
    if ledger.consent < 0 or (campaign.needs_consent and ledger.consent == 0):
        return Verdict("no_consent", campaign)
    blocked = _blocked(kind, ledger, campaign, now)
    if blocked:
        return Verdict(blocked, campaign)
    quiet_end = quiet_until(campaign, now)
    if quiet_end is not None:
        return Verdict("quiet_hours", campaign, retry=quiet_end)
    if held_out(person_id, campaign):
        return Verdict("hold_out", campaign, counts=True)
    return Verdict("shadow" if shadow else "sent", campaign, counts=True)


def held_out(person_id: str, campaign: Campaign) -> bool:
    """Return whether a person gets nothing of a campaign, ever: sticky, and independent of other campaigns."""
    return share_of(person_id, f"hold-out/{campaign.id}") < campaign.hold_out


def quiet_until(campaign: Campaign, now: float) -> float | None:
    """Return when the quiet hours end in which `now` lies, or nothing if it lies in none."""
    local = now + campaign.utc_offset_hours * 3_600
    midnight = local // DAY * DAY
    hour = (local - midnight) / 3_600
    start, end = campaign.quiet_from, campaign.quiet_until
    if start == end:
        return None
    quiet = start <= hour < end if start < end else hour >= start or hour < end
    if not quiet:
        return None
    ends = midnight + end * 3_600 + (DAY if hour >= end else 0.0)
    return ends - campaign.utc_offset_hours * 3_600


def _blocked(kind: str, ledger: Ledger, campaign: Campaign, now: float) -> str | None:
    same = [sent for sent in ledger.sent if sent.campaign == campaign.id and sent.kind == kind]
    if kind == "coupon":
        if any(offer.campaign == campaign.id and offer.until > now for offer in ledger.offers):
            return "open_offer"
        if len(same) >= campaign.cap_per_person:
            return "cap"
    cool_down = campaign.cool_down_days if kind == "coupon" else campaign.contact_cool_down_days
    if any(now - sent.at < cool_down * DAY for sent in same):
        return "cool_down"
    return None
