"""What a person did, folded event by event: the half of a person's state that does not depend on order.

Shuffled within the lateness, the same events give the same activity up to rounding, because nothing here asks "what
came last" of anything but time: days live in a ring, counters decay towards the latest moment, and the newest gap
between active days stays open until a later day closes it. Every part has a cap, every update is O(1).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp2
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from models.person import wallet as wallets
from models.person.wallet import Wallet
from models.schema import events as ev

DAY = 86_400.0
RING_DAYS = 84
WEEKS = 52
MAX_COURSES = 24
HALF_LIVES = (1.0, 7.0, 28.0)
GAP_EDGES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 28, 35, 45, 60, 80, 110, 150, 200, 300)
"""Upper edges, in days, of the gap histogram's bins; one more bin holds all that is longer."""

_BIN = tuple(next((i for i, edge in enumerate(GAP_EDGES) if gap <= edge), len(GAP_EDGES)) for gap in range(302))


class CourseProgress(Struct, frozen=True, array_like=True, gc=False):
    """How far a person is in one course."""

    id: str
    first: float
    last: float
    progress: float = 0.0
    minutes: float = 0.0
    completed_at: float = 0.0


class Gaps(Struct, frozen=True, array_like=True, gc=False):
    """The closed gaps between a person's active days, in days."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    longest: float = 0.0
    smoothed: float = 0.0
    histogram: bytes = bytes(len(GAP_EDGES) + 1)


class Activity(Struct, frozen=True, array_like=True, gc=False):
    """A person's activity. Times are seconds since 1970 UTC, days and weeks are counted from there.

    `ring[d % 84]` counts the events of day d for the 84 days up to `day`; `weeks[w % 52]` the active days and
    `buys[w % 52]` the purchases of week w (from Monday) up to `week`; `decayed` holds event counts with half-lives of
    1, 7 and 28 days, as of `last`.
    """

    first: float = 0.0
    last: float = 0.0
    events: int = 0
    day: int = 0
    day_before: int = 0
    ring: bytes = bytes(RING_DAYS)
    week: int = 0
    weeks: bytes = bytes(WEEKS)
    buys: bytes = bytes(WEEKS)
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
        activity: as it stood.
        event: the event; it must not have been folded before.
        active: whether the event counts as the person being active (the first setting of the label).
        late: the event is older than work that was already done as of a later moment: it counts in the totals and,
            while its day is in the ring, there; rhythm is not repaired.

    Returns:
        The activity as it stands afterwards; the one given is unchanged.
    """
    changes = _seen(activity, event.time, late) if active else {}
    if isinstance(event, ev.Learning):
        if (course_id := event.course_id) is not None:
            changes["courses"] = _in_course(activity.courses, course_id, event)
        if (learned := _LEARNED.get(type(event))) is not None:
            learned(activity, event, changes)
    if changes:
        activity = replace(activity, **changes)
    return _paid(activity, event) if event.money else activity


def active_days(activity: Activity, today: int, days: int) -> int:
    """Count the active days among the `days` days (at most 84) up to `today`, which is not before the last one."""
    window = min(days, RING_DAYS) - (today - activity.day)
    if window <= 0 or not activity.events:
        return 0
    end = activity.day % RING_DAYS + RING_DAYS + 1
    return window - (activity.ring * 2)[end - window : end].count(0)


def week_of(day: int) -> int:
    """Return the number of the week, beginning on Monday, in which a day lies."""
    return (day + 3) // 7


Changes = dict[str, Any]
"""New values of an activity's fields, by name: whatever an event changes is put in place at once."""


def _seen(activity: Activity, time: float, late: bool) -> Changes:
    day = int(time // DAY)
    if not activity.events:
        return _first_seen(activity, time, day)
    last, newest = activity.last, activity.day
    late = late and time <= last
    if day == newest and not late and time >= last:  # the usual case
        return {
            "last": time,
            "events": activity.events + 1,
            "ring": _bumped(activity.ring, day % RING_DAYS),
            "decayed": _decayed(activity.decayed, last, time),
        }
    if day > newest:
        ring, fresh = _advanced(activity.ring, newest, day), True
    elif day > newest - RING_DAYS:
        ring, fresh = activity.ring, not activity.ring[day % RING_DAYS]
    else:
        return {"events": activity.events + 1, "first": min(activity.first, time)}
    week, weeks, buys = _week(activity, week_of(day), fresh)
    changes = {
        "first": min(activity.first, time),
        "last": max(last, time),
        "events": activity.events + 1,
        "day": max(newest, day),
        "ring": _bumped(ring, day % RING_DAYS),
        "week": week,
        "weeks": weeks,
        "buys": buys,
        "decayed": activity.decayed if late else _decayed(activity.decayed, last, time),
    }
    return changes | _gap_closed(activity, day) if fresh and not late else changes


def _first_seen(activity: Activity, time: float, day: int) -> Changes:
    week, weeks, buys = _week(activity, week_of(day), fresh=True)
    return {
        "first": time,
        "last": time,
        "events": 1,
        "day": day,
        "day_before": day,
        "ring": _bumped(bytes(RING_DAYS), day % RING_DAYS),
        "week": week,
        "weeks": weeks,
        "buys": buys,
        "decayed": (1.0, 1.0, 1.0),
    }


def _decayed(counts: tuple[float, float, float], last: float, time: float) -> tuple[float, float, float]:
    (a, b, c), (short, middle, long), days = counts, HALF_LIVES, (time - last) / DAY
    if days >= 0:
        return (
            a * exp2(-days / short) + 1.0,
            b * exp2(-days / middle) + 1.0,
            c * exp2(-days / long) + 1.0,
        )
    return a + exp2(days / short), b + exp2(days / middle), c + exp2(days / long)


def _advanced(ring: bytes, newest: int, day: int) -> bytes:
    size = len(ring)
    if day - newest >= size:
        return bytes(size)
    cleared = bytearray(ring)
    for index in range(newest + 1, day + 1):
        cleared[index % size] = 0
    return bytes(cleared)


def _bumped(ring: bytes, index: int) -> bytes:
    if ring[index] == 255:
        return ring
    bumped = bytearray(ring)
    bumped[index] += 1
    return bytes(bumped)


def _week(activity: Activity, week: int, fresh: bool) -> tuple[int, bytes, bytes]:
    newest, weeks, buys = activity.week, activity.weeks, activity.buys
    if week > newest:
        weeks, buys, newest = _advanced(weeks, newest, week), _advanced(buys, newest, week), week
    if fresh and week > newest - WEEKS:
        weeks = _bumped(weeks, week % WEEKS)
    return newest, weeks, buys


def _gap_closed(activity: Activity, day: int) -> Changes:
    """Close a gap: the newest one when a later day comes, a part of it when a day inside it turns out to be active."""
    before, newest = activity.day_before, activity.day
    if day > newest:
        if newest == before:
            return {"day_before": newest}
        return {"day_before": newest, "gaps": _with_gap(activity.gaps, newest - before)}
    if day > before:
        return {"day_before": day, "gaps": _with_gap(activity.gaps, day - before)}
    return {"day_before": day} if newest == before else {}


def _with_gap(gaps: Gaps, days: int) -> Gaps:
    return Gaps(
        gaps.count + 1,
        gaps.total + days,
        gaps.squares + days * days,
        max(gaps.longest, days),
        days if not gaps.count else 0.7 * gaps.smoothed + 0.3 * days,
        _bumped(gaps.histogram, _BIN[min(days, 301)]),
    )


def _lesson(activity: Activity, event: ev.LessonProgress, changes: Changes) -> None:
    changes["minutes"] = activity.minutes + event.minutes


def _live(activity: Activity, event: ev.LiveSession, changes: Changes) -> None:
    changes["minutes"] = activity.minutes + event.minutes
    changes["social"] = activity.social + 1


def _social(activity: Activity, event: ev.Learning, changes: Changes) -> None:
    changes["social"] = activity.social + 1


def _exercise(activity: Activity, event: ev.Exercise, changes: Changes) -> None:
    if event.score is not None:
        changes["exercises"] = activity.exercises + 1
        changes["score_sum"] = activity.score_sum + event.score


def _review(activity: Activity, event: ev.Review, changes: Changes) -> None:
    if event.rating is not None:
        changes["ratings"] = activity.ratings + 1
        changes["rating_sum"] = activity.rating_sum + event.rating


_LEARNED: dict[type[ev.Event], Callable[[Activity, Any, Changes], None]] = {
    ev.LessonProgress: _lesson,
    ev.LiveSession: _live,
    ev.Exercise: _exercise,
    ev.Review: _review,
    **dict.fromkeys((ev.Question, ev.Answer, ev.Comment, ev.Like, ev.Shared), _social),
}
"""What a kind of learning changes besides the days and the course."""


def _in_course(courses: tuple[CourseProgress, ...], course_id: str, event: ev.Learning) -> tuple[CourseProgress, ...]:
    for index, course in enumerate(courses):
        if course.id == course_id:
            moved = _progressed(course, event)
            return (moved,) if len(courses) == 1 else (*courses[:index], moved, *courses[index + 1 :])
    kept = (*courses, _progressed(CourseProgress(course_id, event.time, event.time), event))
    if len(kept) > MAX_COURSES:
        oldest = min(kept, key=lambda course: (course.last, course.id))
        kept = tuple(course for course in kept if course is not oldest)
    return tuple(sorted(kept, key=lambda course: course.id))


def _progressed(course: CourseProgress, event: ev.Learning) -> CourseProgress:
    time, progress, minutes, completed = event.time, course.progress, course.minutes, course.completed_at
    first, last = course.first, course.last
    first, last = (first if first < time else time), (last if last > time else time)
    if type(event) is ev.LessonProgress:
        progress, minutes = _further(progress, event.progress), minutes + event.minutes
    elif type(event) is ev.LessonCompleted:
        progress = _further(progress, event.progress)
    elif type(event) is ev.LiveSession:
        minutes += event.minutes
    elif type(event) is ev.CourseCompleted:
        progress, completed = 1.0, max(completed, time)
    return CourseProgress(course.id, first, last, progress, minutes, completed)


def _further(progress: float, told: float | None) -> float:
    return progress if told is None or told < progress else told


def _paid(activity: Activity, event: ev.Event) -> Activity:
    wallet = wallets.update_wallet(activity.wallet, event)
    if not isinstance(event, ev.Purchase):
        return activity if wallet is activity.wallet else replace(activity, wallet=wallet)
    bought_in = week_of(int(event.time // DAY))
    week, weeks, buys = _week(activity, bought_in, fresh=False)
    if bought_in > week - WEEKS:
        buys = _bumped(buys, bought_in % WEEKS)
    return replace(activity, week=week, weeks=weeks, buys=buys, wallet=wallet)
