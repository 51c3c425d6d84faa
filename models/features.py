"""The row a churn model sees: one flat vector per person and moment, from their activity alone.

Formulas follow the field's usual ones: retention rate r = (1/T) sum_t 1[A_t >= tau], repurchase rate
c = (1/T) sum_t 1[P_t > 0] over the T weeks since the person's first event, log(1 + A/B) of this week's active days
over the person's own trend, and survival terms of the present silence under a Pareto-II model of the person's gaps
(see Fader & Hardie on the Lomax distribution), each with a little of the platform's prior mixed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.activity import DAY, HALF_LIVES, RING_DAYS, WEEKS, Activity, Course, week_of
from models.columns import Column, Columns, columns, latest

GROUPS: dict[str, tuple[str, ...]] = {
    "silence": ("log_silence", "silence_to_gap", "silence_to_longest", "survival"),
    "rhythm": (
        "log_gap", "gap_spread", "gap_trend", "count_1", "count_7", "count_28", "trend_week", "trend_month",
        "days_7", "days_28", "days_84", "week_to_own", "retention_rate",
    ),
    "tenure": ("log_tenure", "log_events"),
    "progress": ("progress", "log_stalled", "courses_open", "courses_done", "just_finished"),
    "effort": ("log_minutes", "mean_score", "social"),
    "money": ("log_purchases", "log_spend", "log_since_purchase", "repurchase_rate", "repurchase_share", "member"),
    "satisfaction": ("satisfaction",),
}  # fmt: skip
NAMES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
SILENCE = NAMES.index("log_silence")


def rows(people: Sequence[Activity], times: Sequence[float], horizon: float) -> NDArray[np.float32]:
    """Compute the features of many people at once, each at a moment of their own.

    Args:
        people: n activities, each with at least one event, none of them later than its moment.
        times: n moments, in seconds since 1970 UTC.
        horizon: the churn horizon in seconds.

    Returns:
        An (n, features) matrix in the order of `NAMES`, rounded to float16's precision: the row that is kept until its
        label comes is exactly the row that was scored. A person's row does not depend on who else is asked.
    """
    known = columns(people, times)
    values = (
        *_silence(known, horizon / DAY),
        *_rhythm(known, people, horizon / DAY),
        *_tenure_and_progress(known),
        *_effort(known),
        *_money(known, people),
        (known.rating_sum + 0.7) / (known.ratings + 1),
    )
    return np.array(values, np.float16).T.astype(np.float32, order="C")


def row(activity: Activity, now: float, horizon: float) -> NDArray[np.float32]:
    """Compute the features of one person at a moment: one value a name of `NAMES`, as `rows` does."""
    one: NDArray[np.float32] = rows((activity,), (now,), horizon)[0]
    return one


def pack(features: NDArray[np.float32]) -> bytes:
    """Write a row in two bytes a value."""
    return features.astype(np.float16).tobytes()


def unpack(packed: bytes) -> NDArray[np.float32]:
    """Read what `pack` wrote; nothing is lost, since rows are rounded before they are scored."""
    return np.frombuffer(packed, np.float16).astype(np.float32)


def array(values: Sequence[float]) -> NDArray[np.float32]:
    """Return a row that was written as plain numbers."""
    return np.array(values, np.float32)


def silence_days(activity: Activity, now: float) -> float:
    """Return the days since the person was last active."""
    return max(0.0, now - activity.last) / DAY


def mean_gap(activity: Activity, horizon_days: float) -> float:
    """Return the person's usual days between active days, leaning on a quarter of the horizon while little is known."""
    return (activity.gaps.total + horizon_days / 2) / (activity.gaps.count + 2)


def current_course(activity: Activity) -> Course | None:
    """Return the course the person was last in."""
    return max(activity.courses, key=lambda course: (course.last, course.id), default=None)


def retention_rate(activity: Activity, now: float, least_days: int = 1) -> float:
    """Return r: the share of the person's weeks (at most 52) with at least `least_days` active days."""
    return _share_of_weeks(activity, now, activity.weeks, least_days)


def repurchase_rate(activity: Activity, now: float) -> float:
    """Return c: the share of the person's weeks (at most 52) with a purchase."""
    return _share_of_weeks(activity, now, activity.buys, 1)


def _share_of_weeks(activity: Activity, now: float, ring: bytes, least: int) -> float:
    this_week = week_of(int(now // DAY))
    weeks = min(WEEKS, this_week - week_of(int(activity.first // DAY)) + 1)
    shown = weeks - (this_week - activity.week)
    hits = sum(ring[w % WEEKS] >= least for w in range(activity.week - shown + 1, activity.week + 1))
    return hits / max(1, weeks)


def _silence(known: Columns, horizon: float) -> tuple[Column, ...]:
    silence, gap = known.silence, known.mean_gap(horizon)
    longest = np.maximum(known.longest_gap, known.open_gap)
    return (
        np.log1p(silence),
        np.log1p(silence / gap),
        np.log1p(silence) - np.log1p(longest),
        -(known.gaps + 2) * np.log1p(horizon / (known.gap_sum + silence + horizon / 2)),
    )


def _rhythm(known: Columns, people: Sequence[Activity], horizon: float) -> tuple[Column, ...]:
    gap, some = known.mean_gap(horizon), known.gaps > 0
    count = np.maximum(known.gaps, 1)
    spread = np.sqrt(np.maximum(0.0, known.gap_squares / count - (known.gap_sum / count) ** 2))
    counts = (known.count_1, known.count_7, known.count_28)
    day, week, month = (
        np.log(count * np.exp2(-known.silence / life) + 0.02) for count, life in zip(counts, HALF_LIVES, strict=True)
    )
    lately = latest(b"".join([activity.ring for activity in people]), RING_DAYS, known.today, known.day) > 0
    of_7, of_84 = lately[:, :7].sum(1), lately.sum(1)
    own = of_84 / np.minimum(np.maximum(1.0, known.tenure / 7), 12.0)
    return (
        np.log(gap),
        np.where(some, spread, gap) / gap,
        np.where(some, np.log((known.smoothed_gap + 0.3) / (gap + 0.3)), 0.0),
        day,
        week,
        month,
        day - week,
        week - month,
        of_7 / 7,
        lately[:, :28].sum(1) / 28,
        of_84 / 84,
        np.log1p(of_7 / (own + 0.1)),
        _share(latest(b"".join([activity.weeks for activity in people]), WEEKS, known.this_week, known.week), known),
    )


def _tenure_and_progress(known: Columns) -> tuple[Column, ...]:
    return (
        np.log1p(known.tenure),
        np.log1p(known.events),
        known.progress,
        np.where(known.entered > 0, np.log1p(np.maximum(0.0, known.now - known.entered) / DAY), 0.0),
        known.courses - known.done,
        known.done,
        known.finished,
    )


def _effort(known: Columns) -> tuple[Column, ...]:
    return np.log1p(known.minutes), (known.score_sum + 0.5) / (known.exercises + 1), np.log1p(known.social)


def _money(known: Columns, people: Sequence[Activity]) -> tuple[Column, ...]:
    buys = latest(b"".join([activity.buys for activity in people]), WEEKS, known.this_week, known.week)
    since = np.where(known.last_purchase > 0, known.last_purchase, known.first)
    return (
        np.log1p(known.purchases),
        np.log1p(known.spend),
        np.log1p(np.maximum(0.0, known.now - since) / DAY),
        _share(buys, known),
        buys[:, 0] / np.maximum(known.purchases, 1),
        known.member,
    )


def _share(weeks: NDArray[np.uint8], known: Columns) -> Column:
    """Return the share of each person's own weeks, newest first and at most 52, in which something is counted."""
    own = np.maximum(np.minimum(WEEKS, known.this_week - known.first_week + 1), 1)
    return np.asarray((weeks > 0).sum(1) / own, np.float64)
