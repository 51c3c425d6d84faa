"""Domain settings: what counts as activity, when a person is scored, when a tier changes, and what is published."""

from __future__ import annotations

from msgspec import Struct

from models.person.activity import DAY
from models.schema import events as ev

ACTIVE_KINDS: frozenset[str] = frozenset(
    [str(kind.__struct_config__.tag) for kind in ev.LEARNING_KINDS]
    + ["purchase", "subscription_started", "subscription_renewed", "coupon_redeemed", "points_spent"]
)
"""Events that a person causes. What happens to a person (a delivered coupon) is not activity."""

EARLY_SIGNAL = 0.25
"""Fraction of the horizon after which the early signal is observed: whether the person was active again by then."""


class Rules(Struct, frozen=True, kw_only=True):
    """Durations are in seconds.

    The first three define the churn label: no event of `active_kinds` within `horizon`. Only people with such an event
    within `lookback` are scored.
    """

    active_kinds: frozenset[str] = ACTIVE_KINDS  # event types that count as activity
    horizon: float = 14 * DAY  # s
    lookback: float = 28 * DAY  # s
    lateness: float = 3_600.0  # s; events that are out of order by up to this are not late
    wake_every: float = DAY  # s between scheduled scores of a silent person
    rescore_after: float = 3_600.0  # s between scores that events cause
    prior_churn: float = 0.3  # probability published until a model has learned enough
    labels_needed: int = 500  # labelled rows after which a model has learned enough
    alerts_wait: bool = True  # whether tiers and alerts wait for such a model
    high: float = 0.7  # churn probability from which the tier is high
    medium: float = 0.4  # churn probability from which the tier is medium
    margin: float = 0.05  # probability beyond a threshold that is needed to cross it (hysteresis)
    dwell: float = 2 * DAY  # s that a tier lasts at least
    stalled_after: float = 7 * DAY  # s without progress after which the latest course counts as stalled
    alert_lasts: float = DAY  # s until an alert or coupon trigger expires
    recommend: bool = True  # whether preferences are kept and courses are recommended
    pseudonym_key: bytes = b""  # key of the hash that replaces a user id where the id is not needed

    @property
    def rows_every(self) -> int:
        """Number of wakes between two training rows, so that they are a quarter of the horizon apart."""
        return round(self.horizon / 4 / self.wake_every) or 1
