"""The row a churn model sees: one flat vector per person and moment, from their activity alone.

Formulas follow the field's usual ones: retention rate r = (1/T) sum_t 1[A_t >= tau], repurchase rate
c = (1/T) sum_t 1[P_t > 0] over the T weeks since the person's first event, log(1 + A/B) of this week's active days
over the person's own trend, and survival terms of the present silence under a Pareto-II model of the person's gaps
(see Fader & Hardie on the Lomax distribution), each with a little of the platform's prior mixed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from models.activity import DAY, HALF_LIVES, WEEKS, Activity, Course, active_days, week_of

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


def row(activity: Activity, now: float, horizon: float) -> NDArray[np.float32]:
    """Compute the features of a person at a moment.

    Args:
        activity: with at least one event, none of them later than `now`.
        now: seconds since 1970 UTC.
        horizon: the churn horizon in seconds.

    Returns:
        One value a name of `NAMES`, rounded to float16's precision: the row that is kept until its label comes is
        exactly the row that was scored.
    """
    values = _silence_and_rhythm(activity, now, horizon / DAY)
    values += _tenure_and_progress(activity, now)
    values += _effort_and_money(activity, now)
    return np.array(values, np.float16).astype(np.float32)


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


def _silence_and_rhythm(activity: Activity, now: float, horizon: float) -> list[float]:
    gaps, today = activity.gaps, int(now // DAY)
    silence = silence_days(activity, now)
    gap = mean_gap(activity, horizon)
    spread = sqrt(max(0.0, gaps.squares / gaps.count - (gaps.total / gaps.count) ** 2)) if gaps.count else gap
    counts = [count * 2.0 ** (-silence / life) for count, life in zip(activity.decayed, HALF_LIVES, strict=True)]
    logs = [log(count + 0.02) for count in counts]
    tenure_weeks = max(1.0, (now - activity.first) / DAY / 7)
    week = active_days(activity, today, 7)
    quarter = active_days(activity, today, 84)
    own = quarter / min(tenure_weeks, 12.0)
    return [
        log1p(silence),
        log1p(silence / gap),
        log1p(silence) - log1p(max(gaps.longest, activity.day - activity.day_before)),
        -(gaps.count + 2) * log1p(horizon / (gaps.total + silence + horizon / 2)),
        log(gap),
        spread / gap,
        log((gaps.smoothed + 0.3) / (gap + 0.3)) if gaps.count else 0.0,
        *logs,
        logs[0] - logs[1],
        logs[1] - logs[2],
        week / 7,
        active_days(activity, today, 28) / 28,
        quarter / 84,
        log1p(week / (own + 0.1)),
        retention_rate(activity, now),
    ]


def _tenure_and_progress(activity: Activity, now: float) -> list[float]:
    course = current_course(activity)
    done = sum(course.completed_at > 0 for course in activity.courses)
    return [
        log1p((now - activity.first) / DAY),
        log1p(activity.events),
        course.progress if course else 0.0,
        log1p(max(0.0, now - course.last) / DAY) if course else 0.0,
        float(len(activity.courses) - done),
        float(done),
        1.0 if course and course.completed_at else 0.0,
    ]


def _effort_and_money(activity: Activity, now: float) -> list[float]:
    wallet = activity.wallet
    this_week = week_of(int(now // DAY))
    bought = activity.buys[this_week % WEEKS] if this_week == activity.week else 0
    return [
        log1p(activity.minutes),
        (activity.score_sum + 0.5) / (activity.exercises + 1),
        log1p(activity.social),
        log1p(wallet.purchases),
        log1p(max(0.0, wallet.spend - wallet.refunded)),
        log1p(max(0.0, now - (wallet.last or activity.first)) / DAY),
        repurchase_rate(activity, now),
        bought / wallet.purchases if wallet.purchases else 0.0,
        1.0 if wallet.member_since > wallet.member_until else 0.0,
        (activity.rating_sum + 0.7) / (activity.ratings + 1),
    ]
