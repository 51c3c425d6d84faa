"""The feature row: finite for any history, exact in float16, with rates that equal direct counts."""

from datetime import UTC, date, datetime, timedelta
from math import log1p

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person import features
from models.person.activity import DAY, Activity, fold
from models.person.rules import ACTIVE_KINDS
from models.schema import events as ev
from tests.models.people import HOUR, NOON, histories, make_event

HORIZON = 14 * DAY


def folded(events: list[ev.Event]) -> Activity:
    activity = Activity()
    for event in events:
        activity = fold(activity, event, ev.kind_of(event) in ACTIVE_KINDS)
    return activity


def named(activity: Activity, now: float) -> dict[str, float]:
    return dict(zip(features.NAMES, features.row(activity, now, HORIZON).tolist(), strict=True))


def started(events: list[ev.Event]) -> list[ev.Event]:
    """Prepend a login to a history, because a row needs an active event."""
    return [ev.Login(id="0", user_id="u", time=events[0].time), *events]


@given(histories(max_events=40, max_gap_days=300), st.floats(0, 4_000), st.floats(0.1, 400))
@settings(max_examples=150)
def test_every_value_is_finite(events: list[ev.Event], later_days: float, horizon_days: float) -> None:
    """No history, silence or horizon gives an infinite value or NaN."""
    events = started(events)
    row = features.row(folded(events), events[-1].time + later_days * DAY, horizon_days * DAY)
    assert np.isfinite(row).all()
    assert row.shape == (len(features.NAMES),)


@given(st.lists(st.tuples(histories(max_events=15, max_gap_days=60), st.floats(0, 400)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_row_does_not_depend_on_the_batch(crowd: list[tuple[list[ev.Event], float]]) -> None:
    """A row is the same to the last bit, alone or in any batch."""
    people = [folded(started(events)) for events, _ in crowd]
    times = [events[-1].time + later_days * DAY for events, later_days in crowd]
    together = features.rows(people, times, HORIZON)
    alone = [features.row(person, time, HORIZON) for person, time in zip(people, times, strict=True)]
    assert together.tolist() == [row.tolist() for row in alone]
    assert features.rows(people[::-1], times[::-1], HORIZON).tolist() == together[::-1].tolist()


def test_an_extreme_history_is_finite() -> None:
    """The largest valid amounts and minutes, every day, do not overflow float16."""
    activity = Activity()
    for index in range(400):
        base = {"id": str(index), "user_id": "u", "time": NOON + index * DAY}
        activity = fold(activity, ev.Purchase(**base, amount=1e9), active=True)
        activity = fold(activity, ev.LiveSession(**base, minutes=1_440), active=True)
    assert np.isfinite(features.row(activity, activity.last, HORIZON)).all()


@given(histories(), st.floats(0, 400))
def test_packing_is_lossless(events: list[ev.Event], later_days: float) -> None:
    """The row that waits for its label is exactly the row that was scored, with two bytes for each value."""
    events = started(events)
    row = features.row(folded(events), events[-1].time + later_days * DAY, HORIZON)
    packed = features.pack(row)
    assert (features.unpack(packed).tolist(), len(packed)) == (row.tolist(), 2 * len(features.NAMES))


def monday(time: float) -> date:
    day = datetime.fromtimestamp(time, UTC).date()
    return day - timedelta(days=day.weekday())


def weeks_until(first: float, now: float) -> list[date]:
    """List the person's weeks up to now, at most the last 52."""
    count = (monday(now) - monday(first)).days // 7 + 1
    return [monday(now) - timedelta(weeks=back) for back in range(min(52, count))]


@given(histories(max_events=40, max_gap_days=60), st.integers(0, 600), st.integers(1, 4))
@settings(max_examples=150)
def test_retention_rate_is_the_share_of_weeks_with_enough_days(
    events: list[ev.Event], later_days: int, minimum: int
) -> None:
    """r counts the person's weeks, at most the newest 52, with at minimum tau active days."""
    events = started(events)
    now = events[-1].time + later_days * DAY
    days = {datetime.fromtimestamp(event.time, UTC).date() for event in events if ev.kind_of(event) in ACTIVE_KINDS}
    weeks = weeks_until(events[0].time, now)
    kept = sum(sum(day - timedelta(days=day.weekday()) == week for day in days) >= minimum for week in weeks)
    assert features.retention_rate(folded(events), now, minimum) == pytest.approx(kept / len(weeks))


@given(histories(max_events=40, max_gap_days=60), st.integers(0, 600))
@settings(max_examples=150)
def test_repurchase_rate_is_the_share_of_weeks_with_a_purchase(events: list[ev.Event], later_days: int) -> None:
    """c counts the person's weeks, at most the newest 52, with a purchase."""
    events = started(events)
    now = events[-1].time + later_days * DAY
    bought = {monday(event.time) for event in events if isinstance(event, ev.Purchase)}
    weeks = weeks_until(events[0].time, now)
    assert features.repurchase_rate(folded(events), now) == pytest.approx(len(bought & set(weeks)) / len(weeks))


def test_repurchase_share_is_this_weeks_share_of_all_purchases() -> None:
    """R is P_t over the sum of P up to t, and 0 without purchases."""
    events = [ev.Purchase(id=str(n), user_id="u", time=NOON + n * 7 * DAY, amount=1.0) for n in range(4)]
    activity = folded([*events])
    assert named(activity, events[-1].time)["repurchase_share"] == 0.25
    assert named(activity, events[-1].time + 7 * DAY)["repurchase_share"] == 0.0
    assert named(folded([make_event(0, NOON, 0, 0.5, "u")]), NOON)["repurchase_share"] == 0.0


def test_silence_is_the_time_since_the_last_active_event() -> None:
    """The first feature is log(1 + days of silence); right after an event it is 0."""
    activity = folded([make_event(0, NOON, 0, 0.5, "u")])
    assert named(activity, NOON)["log_silence"] == 0.0
    assert named(activity, NOON + 36 * HOUR)["log_silence"] == pytest.approx(log1p(1.5), rel=1e-3)
    assert features.NAMES[features.SILENCE] == "log_silence"


@given(histories())
def test_longer_silence_never_lowers_the_risk(events: list[ev.Event]) -> None:
    """Longer silence never increases the probability of coming back under the person's own gaps."""
    events = started(events)
    activity, end = folded(events), events[-1].time
    chances = [-named(activity, end + days * DAY)["survival"] for days in (0, 1, 3, 10, 30, 100)]
    assert chances == sorted(chances, reverse=True)


def test_the_current_course_has_the_latest_event() -> None:
    """It is the course with the latest event, or none without courses."""
    views = [ev.CourseView(id=c, user_id="u", time=NOON + n, course_id=c) for n, c in enumerate("bca")]
    course = features.current_course(folded([*views]))
    assert course is not None
    assert course.id == "a"
    assert features.current_course(Activity()) is None


def test_every_name_is_unique_and_in_one_group() -> None:
    """The columns are the groups in order, without repetition."""
    flat = [name for names in features.GROUPS.values() for name in names]
    assert (list(features.NAMES), len(set(flat))) == (flat, len(flat))
