"""The features of one person at a time, in plain Python: for engines that hand over one person at a time.

`models.features.rows` is made for many people at once; asked for one, numpy's overhead makes it ten times as dear as
this. The peers score with this one, so that they do not pay for what their engines cannot give. Both give the same row.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp, log, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from models.activity import DAY, GAP_EDGES, HALF_LIVES, WEEKS, Activity, active_days, week_of
from models.features import NAMES, current_course, mean_gap, repurchase_rate, retention_rate, silence_days


def row(activity: Activity, now: float, horizon: float) -> NDArray[np.float32]:
    """Return what `features.row` returns."""
    days = horizon / DAY
    known = _silence(activity, now, days) | _rhythm(activity, now, days)
    known |= _tenure_and_progress(activity, now, days) | _effort_and_money(activity, now)
    return np.array([known[name] for name in NAMES], np.float16).astype(np.float32)


def _silence(activity: Activity, now: float, horizon: float) -> dict[str, float]:
    gaps, silence = activity.gaps, silence_days(activity, now)
    lately = gaps.smoothed if gaps.count else horizon / 4
    survival = -(gaps.count + 2) * log1p(horizon / (gaps.total + silence + horizon / 2))
    so_long = sum(gaps.histogram[bisect_left(GAP_EDGES, max(silence, 1.0)) :])
    beyond = sum(gaps.histogram[bisect_left(GAP_EDGES, silence + horizon) :])
    own = min(0.999, max(0.001, (beyond + 3 * exp(survival)) / (so_long + 3)))
    longest = max(gaps.longest, activity.day - activity.day_before)
    return {
        "log_silence": log1p(silence),
        "silence_to_gap": log1p(silence / mean_gap(activity, horizon)),
        "silence_to_longest": log1p(silence) - log1p(longest),
        "survival": survival,
        "silence_to_lately": log1p(1.3 * silence / (lately + 0.3 * horizon / 4)),
        "silence_to_tenure": silence / ((now - activity.first) / DAY + 1),
        "survival_fresh": -(gaps.count + 2) * log1p(horizon / (gaps.total + horizon / 2)),
        "survival_own": log(own / (1 - own)),
        "gap_rank": (gaps.count - so_long + 0.5) / (gaps.count + 1),
    }


def _rhythm(activity: Activity, now: float, horizon: float) -> dict[str, float]:
    gaps, today, silence = activity.gaps, int(now // DAY), silence_days(activity, now)
    gap, tenure = mean_gap(activity, horizon), (now - activity.first) / DAY
    spread = sqrt(max(0.0, gaps.squares / gaps.count - (gaps.total / gaps.count) ** 2)) if gaps.count else gap
    counts = [count * 2.0 ** (-silence / life) for count, life in zip(activity.decayed, HALF_LIVES, strict=True)]
    logs = [log(count + 0.02) for count in counts]
    week, quarter = active_days(activity, today, 7), active_days(activity, today, 84)
    own = quarter / min(max(1.0, tenure / 7), 12.0)
    return {
        "log_gap": log(gap),
        "gap_spread": spread / gap,
        "gap_trend": log((gaps.smoothed + 0.3) / (gap + 0.3)) if gaps.count else 0.0,
        "count_1": logs[0],
        "count_7": logs[1],
        "count_28": logs[2],
        "trend_week": logs[0] - logs[1],
        "trend_month": logs[1] - logs[2],
        "days_7": week / 7,
        "days_28": active_days(activity, today, 28) / 28,
        "days_84": quarter / 84,
        "week_to_own": log1p(week / (own + 0.1)),
        "retention_rate": retention_rate(activity, now),
        "weeks_1h": _weeks(activity, today, round(horizon / 7)),
        "weeks_2h": _weeks(activity, today, round(horizon * 2 / 7)),
        "weeks_4h": _weeks(activity, today, round(horizon * 4 / 7)),
        "log_gaps": log1p(gaps.count),
        "log_rate": log((gaps.count + 1) / (tenure + horizon / 4)),
    }


def _weeks(activity: Activity, today: int, weeks: int) -> float:
    """Return the share of the person's newest weeks, at most so many, in which they were active."""
    this_week, weeks = week_of(today), min(WEEKS, max(1, weeks))
    shown = range(max(this_week - weeks, activity.week - WEEKS) + 1, activity.week + 1)
    own = max(1, min(weeks, this_week - week_of(int(activity.first // DAY)) + 1))
    return sum(activity.weeks[week % WEEKS] > 0 for week in shown) / own


def _tenure_and_progress(activity: Activity, now: float, horizon: float) -> dict[str, float]:
    course, tenure = current_course(activity), (now - activity.first) / DAY
    done = sum(course.completed_at > 0 for course in activity.courses)
    return {
        "log_tenure": log1p(tenure),
        "log_events": log1p(activity.events),
        "horizons": sqrt(min(tenure / horizon, 20.0)),
        "progress": course.progress if course else 0.0,
        "log_stalled": log1p(max(0.0, now - course.last) / DAY) if course else 0.0,
        "courses_open": float(len(activity.courses) - done),
        "courses_done": float(done),
        "just_finished": 1.0 if course and course.completed_at else 0.0,
    }


def _effort_and_money(activity: Activity, now: float) -> dict[str, float]:
    wallet, this_week = activity.wallet, week_of(int(now // DAY))
    bought = activity.buys[this_week % WEEKS] if this_week == activity.week else 0
    return {
        "log_minutes": log1p(activity.minutes),
        "mean_score": (activity.score_sum + 0.5) / (activity.exercises + 1),
        "social": log1p(activity.social),
        "log_purchases": log1p(wallet.purchases),
        "log_spend": log1p(max(0.0, wallet.spend - wallet.refunded)),
        "log_since_purchase": log1p(max(0.0, now - (wallet.last or activity.first)) / DAY),
        "repurchase_rate": repurchase_rate(activity, now),
        "repurchase_share": bought / wallet.purchases if wallet.purchases else 0.0,
        "member": 1.0 if wallet.member_since > wallet.member_until else 0.0,
        "satisfaction": (activity.rating_sum + 0.7) / (activity.ratings + 1),
    }
