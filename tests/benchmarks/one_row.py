"""The features of one person at a time, in plain Python: for engines that hand over one person at a time.

`models.features.rows` is made for many people at once; asked for one, numpy's overhead makes it ten times as dear as
this. The peers score with this one, so that they do not pay for what their engines cannot give. Both give the same row.
"""

from __future__ import annotations

from math import log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from models.activity import DAY, HALF_LIVES, WEEKS, Activity, active_days, week_of
from models.features import current_course, mean_gap, repurchase_rate, retention_rate, silence_days


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
