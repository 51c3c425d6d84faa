"""The fold of a person's activity, compared with direct counts."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.activity import (
    DAY,
    GAP_EDGES,
    HALF_LIVES,
    RING_DAYS,
    WEEKS,
    Activity,
    active_days,
    fold,
    week_of,
)
from models.person.courses import MAX_COURSES
from models.person.rules import ACTIVE_KINDS
from models.schema import events as ev
from tests.models.people import HOUR, NOON, START, histories, shuffle_events


def folded(events: list[ev.Event], activity: Activity | None = None) -> Activity:
    """Fold events under the default rules."""
    activity = activity or Activity()
    for event in events:
        activity = fold(activity, event, ev.kind_of(event) in ACTIVE_KINDS)
    return activity


def login(time: float) -> ev.Login:
    return ev.Login(id=repr(time), user_id="u", time=time)


def days_of(events: list[ev.Event]) -> list[int]:
    """The days on which the person was active, each once, in order."""
    return sorted({int(event.time // DAY) for event in events if ev.kind_of(event) in ACTIVE_KINDS})


def flat(value: object) -> list[object]:
    """Flatten a structure to the list of its leaves."""
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def assert_alike(one: Activity, other: Activity) -> None:
    """Assert equality up to rounding of floats."""
    for left, right in zip(flat(msgspec.to_builtins(one)), flat(msgspec.to_builtins(other)), strict=True):
        assert left == (pytest.approx(right, rel=1e-9, abs=1e-9) if isinstance(right, float) else right)


@given(histories(), st.integers(0, 100), st.integers(1, RING_DAYS))
@settings(max_examples=150)
def test_active_days_are_the_days_with_an_active_event(events: list[ev.Event], later: int, window: int) -> None:
    """The ring gives the same count as a list of days, today and up to 100 days later."""
    activity, days = folded(events), days_of(events)
    today = activity.day + later
    assert active_days(activity, today, window) == sum(today - window < day <= today for day in days)


def test_a_window_longer_than_the_ring_is_the_whole_ring() -> None:
    """A window longer than 84 days counts 84 days."""
    activity = folded([login(NOON + day * DAY) for day in range(100)])
    assert active_days(activity, activity.day, 300) == RING_DAYS


def closed_gaps(days: list[int]) -> list[int]:
    """The gaps between active days; the newest one is still open."""
    return [after - before for before, after in pairwise(days)][:-1]


@given(histories())
@settings(max_examples=150)
def test_gap_statistics_are_those_of_the_closed_gaps(events: list[ev.Event]) -> None:
    """Count, sums, longest, smoothed mean and histogram agree with the list of active days."""
    gaps, expected = folded(events).gaps, closed_gaps(days_of(events))
    assert (gaps.count, gaps.total, gaps.squares) == (len(expected), sum(expected), sum(gap**2 for gap in expected))
    assert gaps.longest == max(expected, default=0)
    smoothed = 0.0
    for index, gap in enumerate(expected):
        smoothed = 0.7 * smoothed + 0.3 * gap if index else gap
    assert gaps.smoothed == pytest.approx(smoothed)
    edges = (0, *GAP_EDGES, float("inf"))
    bins = [sum(low < gap <= high for gap in expected) for low, high in pairwise(edges)]
    assert list(gaps.histogram) == bins


@given(histories())
@settings(max_examples=100)
def test_decayed_counters_are_sums_of_halved_events(events: list[ev.Event]) -> None:
    """Each active event contributes 0.5 to the power of its age in half-lives, as of the latest event."""
    times = [event.time for event in events if ev.kind_of(event) in ACTIVE_KINDS]
    activity = folded(events)
    if times:
        expected = [sum(0.5 ** ((times[-1] - time) / DAY / life) for time in times) for life in HALF_LIVES]
        assert activity.decayed == pytest.approx(expected)
        assert (activity.first, activity.last, activity.events) == (times[0], times[-1], len(times))


def monday(time: float) -> date:
    day = datetime.fromtimestamp(time, UTC).date()
    return day - timedelta(days=day.weekday())


@given(histories())
@settings(max_examples=100)
def test_weekly_rings_count_active_days_and_purchases_from_monday(events: list[ev.Event]) -> None:
    """The rings hold active days and purchases of each of the last 52 weeks."""
    activity = folded(events)
    newest = monday(max((event.time for event in events if is_activity(event)), default=0.0))
    for back in range(WEEKS if any(map(is_activity, events)) else 0):
        week = newest - timedelta(weeks=back)
        days = {day for day in days_of(events) if monday(day * DAY) == week}
        purchases = [event for event in events if isinstance(event, ev.Purchase) and monday(event.time) == week]
        index = (activity.week - back) % WEEKS
        assert (activity.weekly_active_days[index], activity.weekly_purchases[index]) == (len(days), len(purchases))


def is_activity(event: ev.Event) -> bool:
    return ev.kind_of(event) in ACTIVE_KINDS


def test_a_week_begins_on_monday() -> None:
    """Sunday and the Monday after it are in different weeks, Monday and the next Sunday in one."""
    sunday = int(datetime(2026, 1, 4, tzinfo=UTC).timestamp() // DAY)
    weeks = [week_of(sunday + days) - week_of(sunday) for days in (0, 1, 7, 8)]
    assert weeks == [0, 1, 1, 2]


@given(histories(max_events=40, max_gap_days=10), st.integers(0, 2**32))
@settings(max_examples=200)
def test_order_within_the_lateness_does_not_matter(events: list[ev.Event], seed: int) -> None:
    """The same events, each displaced by at most an hour, give the same activity."""
    assert_alike(folded(shuffle_events(events, seed)), folded(events))


MIDNIGHTS = st.lists(st.tuples(st.integers(0, 9), st.integers(-1_799, 1_799)), min_size=1, max_size=20)


@given(MIDNIGHTS, st.integers(0, 2**32))
@settings(max_examples=200)
def test_order_around_midnight_does_not_matter(drawn: list[tuple[int, int]], seed: int) -> None:
    """The same holds if all events are within half an hour of a midnight."""
    times = sorted({START + day * DAY + offset for day, offset in drawn})
    events: list[ev.Event] = [login(time) for time in times]
    assert_alike(folded(shuffle_events(events, seed)), folded(events))


@given(histories(max_events=12))
def test_the_given_activity_is_not_changed(events: list[ev.Event]) -> None:
    """A fold returns a new activity and does not change the old one."""
    activity = folded(events[:-1])
    before = msgspec.msgpack.encode(activity)
    folded(events[-1:], activity)
    assert msgspec.msgpack.encode(activity) == before


def test_courses_are_bounded_and_the_oldest_is_dropped() -> None:
    """At most 24 courses are kept, those with the latest events, sorted by id."""
    views = [ev.CourseView(id=str(n), user_id="u", time=NOON + n * HOUR, course_id=f"c{n % 40:02}") for n in range(60)]
    latest = {view.course_id: view.time for view in views}
    kept = sorted(sorted(latest, key=latest.__getitem__)[-MAX_COURSES:])
    assert [course.id for course in folded(list(views)).courses] == kept


@given(histories(max_events=40, max_gap_days=400))
def test_every_part_is_bounded(events: list[ev.Event]) -> None:
    """Rings and histogram keep their length, and the number of courses is bounded."""
    activity = folded(events)
    lengths = (
        len(activity.daily_events),
        len(activity.weekly_active_days),
        len(activity.weekly_purchases),
        len(activity.gaps.histogram),
    )
    assert lengths == (RING_DAYS, WEEKS, WEEKS, len(GAP_EDGES) + 1)
    assert len(activity.courses) <= MAX_COURSES


def test_a_very_busy_day_does_not_overflow() -> None:
    """A counter in the ring stops at 255; the total continues."""
    activity = folded([login(NOON + second) for second in range(300)])
    assert (max(activity.daily_events), activity.events) == (255, 300)


def test_progress_is_the_highest_and_minutes_add_up() -> None:
    """Watching an earlier part again does not reduce progress."""
    base = {"user_id": "u", "course_id": "c"}
    activity = folded([
        ev.LessonProgress(id="1", time=NOON, progress=0.6, minutes=20, **base),
        ev.LessonProgress(id="2", time=NOON + 60, progress=0.4, minutes=10, **base),
        ev.LessonCompleted(id="3", time=NOON + 120, **base),
    ])  # fmt: skip
    course = activity.courses[0]
    assert (course.progress, course.minutes, course.completed_at) == (0.6, 30.0, 0.0)
    assert (course.first, course.last, activity.minutes) == (NOON, NOON + 120, 30.0)


def test_a_finished_course_is_done() -> None:
    """Completion puts progress at one and notes when."""
    activity = folded([ev.CourseCompleted(id="1", user_id="u", time=NOON, course_id="c")])
    assert (activity.courses[0].progress, activity.courses[0].completed_at) == (1.0, NOON)
