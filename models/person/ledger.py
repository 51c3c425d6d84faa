"""What Encore did for a person and what is still open: tier, pending labels, open offers, alerts sent.

Unlike activity, the ledger depends on the order of events.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from msgspec import Struct

NEVER = float("inf")
MAX_RECENT_EVENTS = 16
MAX_SEND_COUNTS = 16
MAX_OFFERS = 4
MAX_PENDING_LABELS = 8
MAX_RETRIES = 4
_DIGEST_SIZE = 6
"""Bytes of an event's digest. Among 16 others, one event in 18 million million is wrongly taken for a duplicate."""


class PendingLabel(Struct, frozen=True, array_like=True, gc=False):
    """A scored row that waits for its label.

    Attributes:
        at: time of the score.
        x: the features as float16 bytes.
        probability: the published churn probability.
        model: version of the model.
        treated: whether anything was sent within the horizon before the score or while the label was pending.
        returned: time of the first activity after the score; 0 while there is none.
        raw_probability: the model's own probability before recalibration; -1 if there was no model.
    """

    at: float
    x: bytes
    probability: float
    model: str
    treated: bool = False
    returned: float = 0.0
    raw_probability: float = -1.0


class Offer(Struct, frozen=True, array_like=True, gc=False):
    """A coupon that was sent and can still be redeemed.

    It holds the features at the time of the decision and the propensity (the probability of sending).
    """

    id: str
    campaign: str
    arm: str
    amount: float
    at: float
    until: float
    propensity: float
    x: bytes
    bought: bool = False


class SendCount(Struct, frozen=True, array_like=True, gc=False):
    """How often a kind (coupon or contact) was sent in a campaign, and when last.

    Persons in the hold-out are counted as if it had been sent. Shadow mode counts under a name of its own:
    `shadow/` and the campaign's id.
    """

    campaign: str
    kind: str
    at: float = float("-inf")
    times: int = 0


class Retry(Struct, frozen=True, array_like=True, gc=False):
    """A decision that quiet hours postponed: when to decide again, the alert's subject, and its course."""

    at: float
    about: Literal["risk", "stalled", "finished"]
    course_id: str | None = None


class Ledger(Struct, frozen=True, array_like=True, gc=False):
    """One person's ledger. Times are seconds since 1970 UTC, `NEVER` where nothing is due.

    Attributes:
        tier: risk tier, empty before the first one.
        tier_since: when the tier changed last.
        probability: the latest churn probability; -1 before the first score.
        scored_at: time of that score.
        done_until: time up to which all timers of the person have been processed. Older events are late.
        grid: time of the next scheduled score.
        retries: decisions that quiet hours postponed.
        pending_labels: scored rows without a label yet, oldest first.
        offers: open offers.
        send_counts: sends by campaign and kind.
        alerted_courses: courses whose stop was reported, until the person learns there again.
        recent_events: digests of the newest events, for deduplication.
        consent: 1 given, -1 withdrawn, 0 unknown.
        consent_at: time of the latest consent event.
        erased_at: time of the latest erasure request; -1 if there was none.
        treated_at: when anything was really sent last, contacts included. Shadow mode and hold-out do not count.
    """

    tier: str = ""
    tier_since: float = 0.0
    probability: float = -1.0
    scored_at: float = -1.0
    done_until: float = -1.0
    grid: float = NEVER
    retries: tuple[Retry, ...] = ()
    pending_labels: tuple[PendingLabel, ...] = ()
    offers: tuple[Offer, ...] = ()
    send_counts: tuple[SendCount, ...] = ()
    alerted_courses: tuple[str, ...] = ()
    recent_events: bytes = b""
    consent: int = 0
    consent_at: float = 0.0
    erased_at: float = -1.0
    treated_at: float = float("-inf")

    def send_count(self, campaign: str, kind: str) -> SendCount:
        """Return how often and when a kind was sent in a campaign so far."""
        return next(
            (count for count in self.send_counts if (count.campaign, count.kind) == (campaign, kind)),
            SendCount(campaign, kind),
        )

    def is_duplicate(self, digest: bytes) -> bool:
        """Return whether the event with this digest is among the last 16 applied."""
        found = self.recent_events.find(digest)
        while found > 0 and found % _DIGEST_SIZE:
            found = self.recent_events.find(digest, found + 1)
        return found >= 0


def event_digest(event_id: str) -> bytes:
    """Return the bytes that stand for an event in `Ledger.recent_events`."""
    return blake2b(event_id.encode(), digest_size=_DIGEST_SIZE).digest()


def add_digest(recent_events: bytes, digest: bytes) -> bytes:
    """Add an event to the last 16 and drop the oldest."""
    return (recent_events + digest)[-MAX_RECENT_EVENTS * _DIGEST_SIZE :]


def output_id(person: str, rule: str, cause: str) -> str:
    """Return the id of a rule's output for a person and a cause (an event id or the time of a timer).

    The id depends on nothing else. A replay, a retry and another worker therefore give the same id.
    """
    return blake2b(f"{person}\0{rule}\0{cause}".encode(), digest_size=12).hexdigest()


def pseudonym(person: str, key: bytes) -> str:
    """Return a keyed hash of 16 hexadecimal digits that replaces a person's id where the id is not needed."""
    return blake2b(person.encode(), key=key[:64], digest_size=8).hexdigest()


def hash_share(person: str, salt: str) -> float:
    """Return a number in [0, 1) from a hash of a person and a salt. It is uniform over persons."""
    return int.from_bytes(blake2b(f"{salt}\0{person}".encode(), digest_size=8).digest(), "big") / 2.0**64
