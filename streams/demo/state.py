"""What the demo has seen so far: plain values that the view and the summary read and the observer writes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from models.person.activity import DAY
from models.schema.outputs import Alert
from streams.demo.intervals import Difference, difference

SHOWN = 16


@dataclass
class ArmCounts:
    """People of one kind of fate: how many, how many were kept, and how many would have been without any message."""

    people: int = 0
    kept: int = 0
    untouched: int = 0

    @property
    def share(self) -> float:
        """The share that was kept."""
        return self.kept / self.people if self.people else 0.0


@dataclass
class EffectEstimate:
    """Those who were sent something beside those in the hold-out, each from their first such decision on."""

    sent: ArmCounts = field(default_factory=ArmCounts)
    held_out: ArmCounts = field(default_factory=ArmCounts)

    @property
    def difference(self) -> Difference:
        """How much more of those who were sent something were kept, with its interval."""
        return difference(self.sent.kept, self.sent.people, self.held_out.kept, self.held_out.people)

    @property
    def truth(self) -> float:
        """What the messages really did to those who got them: the share kept less the share that would have stayed."""
        return (self.sent.kept - self.sent.untouched) / self.sent.people if self.sent.people else 0.0


@dataclass
class ModelQuality:
    """How well churn was foretold, over the labelled rows that a model had scored. NaN until there is an answer."""

    labels: int = 0
    churned: float = float("nan")
    model: float = float("nan")
    recency: float = float("nan")
    truth: float = float("nan")


@dataclass
class CouponCounts:
    """What became of the candidates for a coupon."""

    sent: int = 0
    redeemed: int = 0
    too_late: int = 0
    held_back: Counter[str] = field(default_factory=Counter)


@dataclass
class ForecastQuality:
    """Courses that people came to, and how many of them stood among the first five they had been told.

    `popular` counts those among the five that most people had come to by then.
    """

    courses: int = 0
    told: int = 0
    popular: int = 0


@dataclass
class DemoState:
    """Everything there is to show. Times are seconds since 1970 UTC, as in the simulation or the history."""

    title: str
    begins: float
    ends: float
    horizon: float = 7 * DAY
    forever: bool = False
    knows_truth: bool = True
    page: str = ""
    doing: str = "starting"
    now: float = 0.0
    events: int = 0
    per_second: float = 0.0
    lag_records: int = 0
    lag_seconds: float = 0.0
    people: int = 0
    tiers: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    newest: deque[Alert] = field(default_factory=lambda: deque(maxlen=SHOWN))
    contacts: int = 0
    coupons: CouponCounts = field(default_factory=CouponCounts)
    lists: int = 0
    foretold: ForecastQuality = field(default_factory=ForecastQuality)
    quality: ModelQuality = field(default_factory=ModelQuality)
    lately: ModelQuality = field(default_factory=ModelQuality)
    by_coupon: EffectEstimate = field(default_factory=EffectEstimate)
    by_anything: EffectEstimate = field(default_factory=EffectEstimate)

    @property
    def day(self) -> int:
        """The day of the play, from 1."""
        return max(1, int((self.now - self.begins) / DAY) + 1)

    @property
    def days(self) -> int:
        """How many days are played."""
        return round((self.ends - self.begins) / DAY)

    @property
    def share(self) -> float:
        """The share of the play that is over."""
        return min(1.0, max(0.0, (self.now - self.begins) / (self.ends - self.begins)))
