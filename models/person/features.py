"""The feature vector of a churn model: one row per person and time, from the person's activity alone.

The formulas are common ones. T counts the weeks since the person's first event. The retention rate is
r = (1/T) sum_t 1[A_t >= tau], the repurchase rate c = (1/T) sum_t 1[P_t > 0]. log(1 + A/B) compares this week's active
days with the person's own trend. Survival terms describe the present silence in three ways: under a Pareto-II model of
the person's gaps (see Fader & Hardie on the Lomax distribution), under the same model for a silence of 0, and from the
empirical gaps. Each has a weak prior. Windows and priors scale with the horizon, so features adapt to a platform's own
rhythm.

Rows are computed in plain Python. A single row costs the same alone or in a batch, and numpy would be faster only for
batches of hundreds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import exp, exp2, log, log1p, sqrt
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY, GAP_EDGES, HALF_LIVES, RING_DAYS, WEEKS, Activity, week_of
from models.person.courses import CourseProgress

GROUPS: dict[str, tuple[str, ...]] = {
    "silence": (
        "log_silence", "silence_to_gap", "silence_to_longest", "survival", "silence_to_lately", "silence_to_tenure",
        "survival_fresh", "survival_own", "gap_rank",
    ),
    "rhythm": (
        "log_gap", "gap_spread", "gap_trend", "count_1", "count_7", "count_28", "trend_week", "trend_month",
        "days_7", "days_28", "days_84", "week_to_own", "retention_rate", "weeks_1h", "weeks_2h", "weeks_4h",
        "log_gaps", "log_rate",
    ),
    "tenure": ("log_tenure", "log_events", "horizons"),
    "progress": ("progress", "log_stalled", "courses_open", "courses_done", "just_finished"),
    "effort": ("log_minutes", "mean_score", "social"),
    "money": ("log_purchases", "log_spend", "log_since_purchase", "repurchase_rate", "repurchase_share", "member"),
    "satisfaction": ("satisfaction",),
}  # fmt: skip
NAMES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
SILENCE = NAMES.index("log_silence")
_SHORT, _MIDDLE, _LONG = HALF_LIVES
_PACK = Struct(f"{len(NAMES)}d").pack


def rows(people: Sequence[Activity], times: Sequence[float], horizon: float) -> NDArray[np.float32]:
    """Compute the features of many people, each at a time of its own.

    Args:
        people: n activities, each with at least one event and none after its time.
        times: n times in seconds since 1970 UTC.
        horizon: the churn horizon in seconds.

    Returns:
        An (n, features) matrix in the order of `NAMES`, rounded to float16 precision. The row that waits for its label
        is therefore exactly the row that was scored. A row does not depend on the other rows.
    """
    days = horizon / DAY
    windows = (WEEKS, *(min(WEEKS, max(1, round(days * times / 7))) for times in (1, 2, 4)))
    packed = [
        _PACK(*_feature_values(activity, now, days, windows)) for activity, now in zip(people, times, strict=True)
    ]
    values = np.frombuffer(b"".join(packed), np.float64).reshape(-1, len(NAMES))
    return values.astype(np.float16).astype(np.float32)


def row(activity: Activity, now: float, horizon: float) -> NDArray[np.float32]:
    """Compute the (features,) row of one person, as `rows` does."""
    one: NDArray[np.float32] = rows((activity,), (now,), horizon)[0]
    return one


def pack(features: NDArray[np.float32]) -> bytes:
    """Encode a row with two bytes for each value."""
    return features.astype(np.float16).tobytes()


def unpack(packed: bytes) -> NDArray[np.float32]:
    """Decode what `pack` encoded. It is lossless because rows are rounded before they are scored."""
    return np.frombuffer(packed, np.float16).astype(np.float32)


def array(values: Sequence[float]) -> NDArray[np.float32]:
    """Return a row from plain numbers."""
    return np.array(values, np.float32)


def silence_days(activity: Activity, now: float) -> float:
    """Return the days since the person was last active."""
    silence = now - activity.last
    return silence / DAY if silence > 0.0 else 0.0


def mean_gap(activity: Activity, horizon_days: float) -> float:
    """Return the person's mean gap between active days, with a quarter of the horizon as prior (weight: two gaps)."""
    gaps = activity.gaps
    return (gaps.total + horizon_days / 2) / (gaps.count + 2)


def current_course(activity: Activity) -> CourseProgress | None:
    """Return the course with the latest event, if there is one."""
    latest = None
    for course in activity.courses:
        if latest is None or (course.last, course.id) > (latest.last, latest.id):
            latest = course
    return latest


def retention_rate(activity: Activity, now: float, min_days: int = 1) -> float:
    """Return r: the fraction of the person's weeks (at most 52) with at least `min_days` active days."""
    return _share_of_weeks(activity, now, activity.weekly_active_days, min_days)


def repurchase_rate(activity: Activity, now: float) -> float:
    """Return c: the fraction of the person's weeks (at most 52) with a purchase."""
    return _share_of_weeks(activity, now, activity.weekly_purchases, 1)


def _share_of_weeks(activity: Activity, now: float, ring: bytes, minimum: int) -> float:
    this_week = week_of(int(now // DAY))
    weeks = min(WEEKS, _own_weeks(activity, now))
    held = weeks - (this_week - activity.week)
    hits = sum(ring[w % WEEKS] >= minimum for w in range(activity.week - held + 1, activity.week + 1))
    return hits / max(1, weeks)


def _own_weeks(activity: Activity, now: float) -> int:
    """Return the number of weeks since the first event, including the first and the present week."""
    weeks = week_of(int(now // DAY)) - week_of(int(activity.first // DAY)) + 1
    return weeks if weeks > 1 else 1


def _feature_values(activity: Activity, now: float, horizon: float, windows: Sequence[int]) -> tuple[float, ...]:
    """Compute one row. The horizon is in days; windows are in weeks, at most 52."""
    silence, tenure, gap = silence_days(activity, now), (now - activity.first) / DAY, mean_gap(activity, horizon)
    own_weeks, today, gaps = _own_weeks(activity, now), int(now // DAY), activity.gaps.count
    weeks_ago, horizons = week_of(today) - activity.week, tenure / horizon
    return (
        *_silence_features(activity, silence, tenure, gap, horizon),
        *_gap_features(activity, gap),
        *_recent_features(activity, today, silence, tenure),
        *_week_shares(activity.weekly_active_days, activity.week, weeks_ago, own_weeks, windows),
        log1p(gaps),
        log((gaps + 1) / (tenure + horizon / 4)),
        log1p(tenure),
        log1p(activity.events),
        sqrt(horizons if horizons < 20.0 else 20.0),
        *_progress_features(activity, now),
        log1p(activity.minutes),
        (activity.score_sum + 0.5) / (activity.exercises + 1),
        log1p(activity.social),
        *_money_features(activity, now, weeks_ago, own_weeks),
        (activity.rating_sum + 0.7) / (activity.ratings + 1),
    )


def _silence_features(
    activity: Activity, silence: float, tenure: float, gap: float, horizon: float
) -> tuple[float, ...]:
    gaps = activity.gaps
    count, total, histogram = gaps.count, gaps.total, gaps.histogram
    longest, open_gap = gaps.longest, activity.day - activity.day_before
    smoothed = gaps.smoothed if count else horizon / 4
    survival = -(count + 2) * log1p(horizon / (total + silence + horizon / 2))
    # Gaps at least as long as the silence, to the width of a bin.
    as_long = sum(histogram[bisect_left(GAP_EDGES, silence if silence > 1.0 else 1.0) :])
    beyond = sum(histogram[bisect_left(GAP_EDGES, silence + horizon) :])
    own = (beyond + 3 * exp(survival)) / (as_long + 3)
    own = 0.001 if own < 0.001 else own if own < 0.999 else 0.999
    log_silence = log1p(silence)
    return (
        log_silence,
        log1p(silence / gap),
        log_silence - log1p(open_gap if open_gap > longest else longest),
        survival,
        log1p(1.3 * silence / (smoothed + 0.3 * horizon / 4)),
        silence / (tenure + 1),
        -(count + 2) * log1p(horizon / (total + horizon / 2)),
        log(own / (1 - own)),
        (count - as_long + 0.5) / (count + 1),
    )


def _gap_features(activity: Activity, gap: float) -> tuple[float, float, float]:
    gaps = activity.gaps
    count = gaps.count
    if not count:
        return log(gap), 1.0, 0.0
    mean = gaps.total / count
    variance = gaps.squares / count - mean * mean
    spread = sqrt(variance) if variance > 0.0 else 0.0
    return log(gap), spread / gap, log((gaps.smoothed + 0.3) / (gap + 0.3))


def _recent_features(activity: Activity, today: int, silence: float, tenure: float) -> tuple[float, ...]:
    """Return decayed counts with their trends, and active days of the last week, month and quarter."""
    short, middle, long = activity.decayed
    day = log(short * exp2(-silence / _SHORT) + 0.02)
    week = log(middle * exp2(-silence / _MIDDLE) + 0.02)
    month = log(long * exp2(-silence / _LONG) + 0.02)
    of_7 = of_28 = of_84 = 0
    days_ago = today - activity.day
    if days_ago < RING_DAYS:
        ring, end = activity.daily_events * 2, activity.day % RING_DAYS + RING_DAYS + 1
        begin = end + days_ago
        of_84 = RING_DAYS - days_ago - ring.count(0, begin - RING_DAYS, end)
        if days_ago < 28:
            of_28 = 28 - days_ago - ring.count(0, begin - 28, end)
        if days_ago < 7:
            of_7 = 7 - days_ago - ring.count(0, begin - 7, end)
    weeks = tenure / 7
    usual = of_84 / (1.0 if weeks < 1.0 else weeks if weeks < 12.0 else 12.0)
    trend = log1p(of_7 / (usual + 0.1))
    return day, week, month, day - week, week - month, of_7 / 7, of_28 / 28, of_84 / 84, trend


def _week_shares(ring: bytes, newest: int, weeks_ago: int, own: int, windows: Sequence[int]) -> list[float]:
    """Return for each window the fraction of the person's newest weeks with a count above 0.

    Args:
        ring: counts by week, up to `newest`.
        newest: the latest week in the ring.
        weeks_ago: weeks from `newest` to now.
        own: number of weeks since the person's first event.
        windows: lengths of the windows, in weeks.
    """
    twice, end, shares = ring * 2, newest % WEEKS + WEEKS + 1, []
    for window in windows:
        held = window - weeks_ago
        filled = held - twice.count(0, end - held, end) if held > 0 else 0
        shares.append(filled / (own if own < window else window))
    return shares


def _progress_features(activity: Activity, now: float) -> tuple[float, ...]:
    latest, courses, done = current_course(activity), activity.courses, 0
    if latest is None:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    for course in courses:
        if course.completed_at:
            done += 1
    idle = now - latest.last
    stalled = log1p(idle / DAY) if idle > 0.0 else 0.0
    return latest.progress, stalled, len(courses) - done, done, 1.0 if latest.completed_at else 0.0


def _money_features(activity: Activity, now: float, weeks_ago: int, own_weeks: int) -> tuple[float, ...]:
    wallet = activity.wallet
    purchases, repurchase, bought = wallet.purchases, 0.0, 0.0
    if purchases:
        (repurchase,) = _week_shares(activity.weekly_purchases, activity.week, weeks_ago, own_weeks, (WEEKS,))
        bought = 0.0 if weeks_ago else activity.weekly_purchases[activity.week % WEEKS] / purchases
    spend, since = wallet.spend - wallet.refunded, now - (wallet.last or activity.first)
    return (
        log1p(purchases),
        log1p(spend) if spend > 0.0 else 0.0,
        log1p(since / DAY) if since > 0.0 else 0.0,
        repurchase,
        bought,
        1.0 if wallet.member_since > wallet.member_until else 0.0,
    )
