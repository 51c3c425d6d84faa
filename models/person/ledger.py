"""What we did for a person and still owe them: tier, pending rows, open offers, what was said. Order matters here."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from msgspec import Struct

NEVER = float("inf")
SEEN = 16
MOST_SENT = 16
MOST_OFFERS = 4
MOST_ROWS = 8
MOST_RETRIES = 4
_HASH = 6
"""Bytes of an event's hash: among 16 others, one in 18 million million is taken for a repeat."""


class PendingLabel(Struct, frozen=True, array_like=True, gc=False):
    """A row that was scored and waits for its label: features as float16, the score, and what happened since.

    `plain` is the model's own probability, before it was bent; -1 if there was no model.
    """

    at: float
    x: bytes
    probability: float
    model: str
    treated: bool = False
    returned: float = 0.0
    plain: float = -1.0


class Offer(Struct, frozen=True, array_like=True, gc=False):
    """A coupon that was sent and may still be redeemed, with the moment's features and the propensity of sending."""

    id: str
    campaign: str
    arm: str
    amount: float
    at: float
    until: float
    propensity: float
    x: bytes
    bought: bool = False


class SentOffer(Struct, frozen=True, array_like=True, gc=False):
    """How often and when last a kind was sent in a campaign; in the hold-out as if it had been.

    What shadow would have sent is noted under a name of its own, `shadow/` and the campaign's.
    """

    campaign: str
    kind: str
    at: float = float("-inf")
    times: int = 0


class Retry(Struct, frozen=True, array_like=True, gc=False):
    """News that the quiet hours held back: when to ask again, what about, and which course."""

    at: float
    about: Literal["risk", "stalled", "finished"]
    course_id: str | None = None


class Ledger(Struct, frozen=True, array_like=True, gc=False):
    """One person's ledger; times are seconds since 1970 UTC, `NEVER` where nothing is due.

    `treated_at` is when anything was last really sent, a contact too: neither in shadow nor to the hold-out.
    """

    tier: str = ""
    tier_since: float = 0.0
    probability: float = -1.0
    scored_at: float = -1.0
    done: float = -1.0
    grid: float = NEVER
    retries: tuple[Retry, ...] = ()
    rows: tuple[PendingLabel, ...] = ()
    offers: tuple[Offer, ...] = ()
    sent: tuple[SentOffer, ...] = ()
    said: tuple[str, ...] = ()
    seen: bytes = b""
    consent: int = 0
    consent_at: float = 0.0
    erased_at: float = -1.0
    treated_at: float = float("-inf")

    def sent_before(self, campaign: str, kind: str) -> SentOffer:
        """Return what has been sent of a kind in a campaign so far."""
        return next(
            (sent for sent in self.sent if (sent.campaign, sent.kind) == (campaign, kind)), SentOffer(campaign, kind)
        )

    def has_seen(self, digest: bytes) -> bool:
        """Return whether the event with this digest is among the last ones applied."""
        found = self.seen.find(digest)
        while found > 0 and found % _HASH:
            found = self.seen.find(digest, found + 1)
        return found >= 0


def digest_of(event_id: str) -> bytes:
    """Return the bytes by which an event is remembered."""
    return blake2b(event_id.encode(), digest_size=_HASH).digest()


def remember(seen: bytes, digest: bytes) -> bytes:
    """Add an event to the last 16, dropping the oldest."""
    return (seen + digest)[-SEEN * _HASH :]


def output_id(person: str, rule: str, cause: str) -> str:
    """Return the id of what a rule says of a person for a cause (an event's id, or a due time).

    It depends on nothing else, so a replay, a retry and another worker give the same id.
    """
    return blake2b(f"{person}\0{rule}\0{cause}".encode(), digest_size=12).hexdigest()


def pseudonym(person: str, key: bytes) -> str:
    """Return what stands for a person where their id is not needed: a keyed hash of 16 hexadecimal digits."""
    return blake2b(person.encode(), key=key[:64], digest_size=8).hexdigest()


def hash_share(person: str, salt: str) -> float:
    """Return a number in [0, 1) that belongs to a person and a salt, evenly spread over people."""
    return int.from_bytes(blake2b(f"{salt}\0{person}".encode(), digest_size=8).digest(), "big") / 2.0**64
