"""A person's activity, folded event by event. It is the part of a person's state that does not depend on order.

The same events, shuffled within the allowed lateness, give the same activity up to rounding. "Latest" always means the
latest time and not the latest record: days are counted in a ring, counters decay towards the latest time, and the
newest gap between active days stays open until a later day closes it. Every part is bounded; every update is O(1).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp2
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from models.person.courses import CourseProgress, fold_course
from models.person.rings import advance, increment
from models.person.wallet import Wallet, update_wallet
from models.schema import events as ev

DAY = 86_400.0
RING_DAYS = 84
WEEKS = 52
HALF_LIVES = (1.0, 7.0, 28.0)
GAP_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 28, 35, 45, 60, 80, 110, 150, 200, 300)
"""Upper edges of the bins of the gap histogram, in days; one more bin holds all longer gaps."""

_BIN = tuple(next((i for i, edge in enumerate(GAP_EDGES) if gap <= edge), len(GAP_EDGES)) for gap in range(302))


class Gaps(Struct, frozen=True, array_like=True, gc=False):
    """Statistics of the closed gaps between a person's active days, in days.

    Attributes:
        count: number of gaps.
        total: their sum.
        squares: sum of their squares.
        longest: the longest gap.
        smoothed: exponentially smoothed gap; the newest gap has weight 0.3.
        histogram: number of gaps in each bin of `GAP_EDGES`.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    longest: float = 0.0
    smoothed: float = 0.0
    histogram: bytes = bytes(len(GAP_EDGES) + 1)


class Activity(Struct, frozen=True, array_like=True, gc=False):
    """A person's activity. Times are seconds since 1970 UTC; days and weeks (from Monday) are counted from there.

    Attributes:
        first: time of the first activity.
        last: time of the latest activity.
        events: number of active events.
        day: the latest active day.
        day_before: the active day before `day`; the gap between them is still open.
        daily_events: ring of 84 days up to `day`: events of day d in slot d % 84.
        week: the latest week in the weekly rings.
        weekly_active_days: ring of 52 weeks up to `week`: active days of week w in slot w % 52.
        weekly_purchases: the same for purchases.
        decayed: event counts with half-lives of 1, 7 and 28 days, as of `last`.
        gaps: statistics of gaps between active days.
        minutes: minutes of learning.
        exercises: number of exercises with a score.
        score_sum: sum of these scores.
        social: number of questions, answers, comments, likes, shares and live sessions.
        ratings: number of ratings.
        rating_sum: their sum.
        courses: progress in the latest courses.
        wallet: payments.
    """

    first: float = 0.0
    last: float = 0.0
    events: int = 0
    day: int = 0
    day_before: int = 0
    daily_events: bytes = bytes(RING_DAYS)
    week: int = 0
    weekly_active_days: bytes = bytes(WEEKS)
    weekly_purchases: bytes = bytes(WEEKS)
    decayed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaps: Gaps = Gaps()
    minutes: float = 0.0
    exercises: int = 0
    score_sum: float = 0.0
    social: int = 0
    ratings: int = 0
    rating_sum: float = 0.0
    courses: tuple[CourseProgress, ...] = ()
    wallet: Wallet = Wallet()


def fold(activity: Activity, event: ev.Event, active: bool, late: bool = False) -> Activity:
    """Fold one event of a person into their activity.

    Args:
        activity: before the event.
        event: must not have been folded before.
        active: whether the event counts as activity of the person (`Rules.active_kinds`).
        late: whether the event is older than timers that were already processed. It counts in the totals and, if the
            ring still covers it, in its day. Gaps and decayed counts are not corrected.

    Returns:
        The new activity; the given one is unchanged.
    """
    changes = _count_activity(activity, event.time, late) if active else {}
    if isinstance(event, ev.Learning):
        if (course_id := event.course_id) is not None:
            changes["courses"] = fold_course(activity.courses, course_id, event)
        if (count := _COUNTERS.get(type(event))) is not None:
            count(activity, event, changes)
    if changes:
        activity = replace(activity, **changes)
    return _fold_payment(activity, event) if event.money else activity


def active_days(activity: Activity, today: int, days: int) -> int:
    """Count the active days among the `days` days (at most 84) up to `today`, which must not be before the last one."""
    window = min(days, RING_DAYS) - (today - activity.day)
    if window <= 0 or not activity.events:
        return 0
    end = activity.day % RING_DAYS + RING_DAYS + 1
    return window - (activity.daily_events * 2)[end - window : end].count(0)


def week_of(day: int) -> int:
    """Return the number of the week of a day; weeks start on Monday."""
    return (day + 3) // 7


Changes = dict[str, Any]
"""New values of an activity's fields by name. All changes of an event are applied together."""


def _count_activity(activity: Activity, time: float, late: bool) -> Changes:
    day = int(time // DAY)
    if not activity.events:
        return _first_activity(activity, time, day)
    last, newest = activity.last, activity.day
    late = late and time <= last
    if day == newest and not late and time >= last:  # the usual case
        return {
            "last": time,
            "events": activity.events + 1,
            "daily_events": increment(activity.daily_events, day % RING_DAYS),
            "decayed": _decay(activity.decayed, last, time),
        }
    if day > newest:
        ring, new_day = advance(activity.daily_events, newest, day), True
    elif day > newest - RING_DAYS:
        ring, new_day = activity.daily_events, not activity.daily_events[day % RING_DAYS]
    else:
        return {"events": activity.events + 1, "first": min(activity.first, time)}
    week, days_per_week, purchases = _count_week(activity, week_of(day), new_day)
    changes = {
        "first": min(activity.first, time),
        "last": max(last, time),
        "events": activity.events + 1,
        "day": max(newest, day),
        "daily_events": increment(ring, day % RING_DAYS),
        "week": week,
        "weekly_active_days": days_per_week,
        "weekly_purchases": purchases,
        "decayed": activity.decayed if late else _decay(activity.decayed, last, time),
    }
    return changes | _close_gap(activity, day) if new_day and not late else changes


def _first_activity(activity: Activity, time: float, day: int) -> Changes:
    week, days_per_week, purchases = _count_week(activity, week_of(day), new_day=True)
    return {
        "first": time,
        "last": time,
        "events": 1,
        "day": day,
        "day_before": day,
        "daily_events": increment(bytes(RING_DAYS), day % RING_DAYS),
        "week": week,
        "weekly_active_days": days_per_week,
        "weekly_purchases": purchases,
        "decayed": (1.0, 1.0, 1.0),
    }


def _decay(counts: tuple[float, float, float], last: float, time: float) -> tuple[float, float, float]:
    (a, b, c), (short, middle, long), days = counts, HALF_LIVES, (time - last) / DAY
    if days >= 0:
        return (
            a * exp2(-days / short) + 1.0,
            b * exp2(-days / middle) + 1.0,
            c * exp2(-days / long) + 1.0,
        )
    return a + exp2(days / short), b + exp2(days / middle), c + exp2(days / long)


def _count_week(activity: Activity, week: int, new_day: bool) -> tuple[int, bytes, bytes]:
    """Move the weekly rings forward to a week and count a new active day in it."""
    newest, days_per_week, purchases = activity.week, activity.weekly_active_days, activity.weekly_purchases
    if week > newest:
        days_per_week, purchases = advance(days_per_week, newest, week), advance(purchases, newest, week)
        newest = week
    if new_day and week > newest - WEEKS:
        days_per_week = increment(days_per_week, week % WEEKS)
    return newest, days_per_week, purchases


def _close_gap(activity: Activity, day: int) -> Changes:
    """Close the newest gap at a later active day, or a part of it at a late active day inside the gap."""
    before, newest = activity.day_before, activity.day
    if day > newest:
        if newest == before:
            return {"day_before": newest}
        return {"day_before": newest, "gaps": _add_gap(activity.gaps, newest - before)}
    if day > before:
        return {"day_before": day, "gaps": _add_gap(activity.gaps, day - before)}
    return {"day_before": day} if newest == before else {}


def _add_gap(gaps: Gaps, days: int) -> Gaps:
    return Gaps(
        gaps.count + 1,
        gaps.total + days,
        gaps.squares + days * days,
        max(gaps.longest, days),
        days if not gaps.count else 0.7 * gaps.smoothed + 0.3 * days,
        increment(gaps.histogram, _BIN[min(days, 301)]),
    )


def _count_lesson(activity: Activity, event: ev.LessonProgress, changes: Changes) -> None:
    changes["minutes"] = activity.minutes + event.minutes


def _count_live_session(activity: Activity, event: ev.LiveSession, changes: Changes) -> None:
    changes["minutes"] = activity.minutes + event.minutes
    changes["social"] = activity.social + 1


def _count_social(activity: Activity, event: ev.Learning, changes: Changes) -> None:
    changes["social"] = activity.social + 1


def _count_exercise(activity: Activity, event: ev.Exercise, changes: Changes) -> None:
    if event.score is not None:
        changes["exercises"] = activity.exercises + 1
        changes["score_sum"] = activity.score_sum + event.score


def _count_review(activity: Activity, event: ev.Review, changes: Changes) -> None:
    if event.rating is not None:
        changes["ratings"] = activity.ratings + 1
        changes["rating_sum"] = activity.rating_sum + event.rating


_COUNTERS: dict[type[ev.Event], Callable[[Activity, Any, Changes], None]] = {
    ev.LessonProgress: _count_lesson,
    ev.LiveSession: _count_live_session,
    ev.Exercise: _count_exercise,
    ev.Review: _count_review,
    **dict.fromkeys((ev.Question, ev.Answer, ev.Comment, ev.Like, ev.Shared), _count_social),
}
"""Counters of an event type, in addition to active days and course progress."""


def _fold_payment(activity: Activity, event: ev.Event) -> Activity:
    wallet = update_wallet(activity.wallet, event)
    if not isinstance(event, ev.Purchase):
        return activity if wallet is activity.wallet else replace(activity, wallet=wallet)
    purchase_week = week_of(int(event.time // DAY))
    week, days_per_week, purchases = _count_week(activity, purchase_week, new_day=False)
    if purchase_week > week - WEEKS:
        purchases = increment(purchases, purchase_week % WEEKS)
    return replace(activity, week=week, weekly_active_days=days_per_week, weekly_purchases=purchases, wallet=wallet)
