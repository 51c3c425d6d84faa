"""The settings of the business: what counts as active, when a person is scored, when a tier changes, what is said."""

from __future__ import annotations

from msgspec import Struct

from models.person.activity import DAY
from models.schema import events as ev

ACTIVE_KINDS: frozenset[str] = frozenset(
    [str(kind.__struct_config__.tag) for kind in ev.LEARNING_KINDS]
    + ["purchase", "subscription_started", "subscription_renewed", "coupon_redeemed", "points_spent"]
)
"""What a person does themselves; what is done to them (a coupon delivered) is no sign of life."""


EARLY_SIGNAL = 0.25
"""The early signal is observed after this fraction of the horizon: whether the person was active again by then."""


class Rules(Struct, frozen=True, kw_only=True):
    """Every value has its unit in its comment; durations are in seconds.

    The label of churn is the first three: no event of `active_kinds` within `horizon`, asked only of people who had
    one within `lookback`.
    """

    active_kinds: frozenset[str] = ACTIVE_KINDS  # event types that count as being active
    horizon: float = 14 * DAY  # s
    lookback: float = 28 * DAY  # s
    lateness: float = 3_600.0  # s; events this much out of order are still in time
    wake_every: float = DAY  # s between the scores of a silent person
    rescore_after: float = 3_600.0  # s between scores that events cause
    prior_churn: float = 0.3  # probability stated until a model has learned enough
    labels_needed: int = 500  # labelled rows that make a model enough
    alerts_wait: bool = True  # whether tiers and alerts wait for such a model
    high: float = 0.7  # churn probability from which a person is at high risk
    medium: float = 0.4  # and from which at medium
    margin: float = 0.05  # probability beyond a threshold that it takes to cross it (hysteresis)
    dwell: float = 2 * DAY  # s a tier lasts at least
    stalled_after: float = 7 * DAY  # s without progress in a started course while it is the latest one
    alert_lasts: float = DAY  # s until an alert or trigger is old news
    recommend: bool = True  # whether what people like is kept, and courses are recommended to them
    pseudonym_key: bytes = b""  # key of the hash that stands for a person where the id is not needed

    @property
    def rows_every(self) -> int:
        """Every how many wakes a training row is kept: a quarter of the horizon apart."""
        return round(self.horizon / 4 / self.wake_every) or 1
