"""The demo's state: plain values that the observer and the driver write, and the view and the summary read."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from models.person.activity import DAY
from models.schema.outputs import Alert
from streams.demo.intervals import Difference, difference

MAX_ALERTS = 16


@dataclass
class ArmCounts:
    """Users of one arm: all, those kept, and those who would have been kept without any message."""

    users: int = 0
    kept: int = 0
    kept_without_messages: int = 0

    @property
    def share(self) -> float:
        """The share of users who were kept."""
        return self.kept / self.users if self.users else 0.0


@dataclass
class EffectEstimate:
    """Users who were sent something, compared with the hold-out. Each counts from the first such decision."""

    sent: ArmCounts = field(default_factory=ArmCounts)
    held_out: ArmCounts = field(default_factory=ArmCounts)

    @property
    def difference(self) -> Difference:
        """The share kept after a message minus the share kept in the hold-out, with its interval."""
        return difference(self.sent.kept, self.sent.users, self.held_out.kept, self.held_out.users)

    @property
    def truth(self) -> float:
        """The true effect on users who were sent something: the share kept minus the share kept without messages."""
        return (self.sent.kept - self.sent.kept_without_messages) / self.sent.users if self.sent.users else 0.0


@dataclass
class ModelQuality:
    """The AUC of churn scores over the labelled rows that a model scored. NaN while it is unknown."""

    labels: int = 0
    churned: float = float("nan")
    model: float = float("nan")
    recency: float = float("nan")
    truth: float = float("nan")


@dataclass
class CouponCounts:
    """Outcomes of coupon decisions."""

    sent: int = 0
    redeemed: int = 0
    too_late: int = 0
    held_back: Counter[str] = field(default_factory=Counter)


@dataclass
class ForecastQuality:
    """Courses that users came to, and how many of them were among the first five that were recommended.

    `popular` counts those among the five courses that most users had come to by then.
    """

    courses: int = 0
    recommended: int = 0
    popular: int = 0


@dataclass
class DemoState:
    """Everything that the demo shows. Times are seconds since 1970 UTC in the time of the simulated or real events."""

    title: str
    begins: float
    ends: float
    horizon: float = 7 * DAY
    forever: bool = False
    knows_truth: bool = True
    metrics_url: str = ""
    status: str = "starting"
    now: float = 0.0
    events: int = 0
    events_per_second: float = 0.0
    lag_records: int = 0
    lag_seconds: float = 0.0
    users: int = 0
    tiers: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    newest_alerts: deque[Alert] = field(default_factory=lambda: deque(maxlen=MAX_ALERTS))
    contacts: int = 0
    coupons: CouponCounts = field(default_factory=CouponCounts)
    lists: int = 0
    forecast: ForecastQuality = field(default_factory=ForecastQuality)
    quality: ModelQuality = field(default_factory=ModelQuality)
    recent_quality: ModelQuality = field(default_factory=ModelQuality)
    by_coupon: EffectEstimate = field(default_factory=EffectEstimate)
    by_anything: EffectEstimate = field(default_factory=EffectEstimate)

    @property
    def day(self) -> int:
        """The current day of the demo, from 1."""
        return max(1, int((self.now - self.begins) / DAY) + 1)

    @property
    def days(self) -> int:
        """The number of days in the demo."""
        return round((self.ends - self.begins) / DAY)

    @property
    def share(self) -> float:
        """The share of the demo that is over."""
        return min(1.0, max(0.0, (self.now - self.begins) / (self.ends - self.begins)))
