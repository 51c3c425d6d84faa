"""Timers give the same result as of their time, whether they run just in time or earlier, and whatever others do."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.activity import DAY, Activity
from models.person.ledger import NEVER, Ledger, output_id
from models.person.person import Person, next_due
from models.person.preferences import Preferences
from models.person.rules import Rules
from models.retention import step as retention
from models.schema import events as ev
from models.schema.outputs import Alert, Output, Tombstone
from tests.models.people import HOUR, NOON, histories, make_campaign, make_context, make_model, process_events

RULES = Rules()
NIGHTS = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=7.5, hold_out=0.3, cool_down_days=2.0))
CROWDS = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=4, unique=True).flatmap(
    lambda names: st.tuples(*(histories(max_events=12, max_gap_days=25, user=name) for name in names))
)
Crowd = dict[str, tuple[Person, list[Output]]]


def advance(crowd: Crowd, clock: float) -> None:
    """Run the timers of all persons up to a lateness before the clock."""
    for name, (person, outputs) in crowd.items():
        while (due := next_due(person, RULES)) + RULES.lateness <= clock:
            transition = retention.wake(person, due, NIGHTS)
            person = transition.person
            outputs += transition.outputs
        crowd[name] = (person, outputs)


def run_with_ticks(all_histories: tuple[list[ev.Event], ...], ticks: random.Random, until: float) -> Crowd:
    """Apply one log of all events, driven by a clock that also ticks between events."""
    log = sorted((event for history in all_histories for event in history), key=lambda event: event.time)
    crowd: Crowd = {event.user_id: (Person(event.user_id), []) for event in log}
    clock = log[0].time
    for event in log:
        for _ in range(ticks.randrange(3)):
            clock = ticks.uniform(clock, event.time)
            advance(crowd, clock)
        clock = event.time
        advance(crowd, clock)
        person, outputs = crowd[event.user_id]
        person, more = process_events(person, [event], NIGHTS, -1.0)
        crowd[event.user_id] = (person, outputs + more)
    return {name: _finished(person, outputs, until) for name, (person, outputs) in crowd.items()}


def _finished(person: Person, outputs: list[Output], until: float) -> tuple[Person, list[Output]]:
    person, more = process_events(person, [], NIGHTS, until)
    return person, outputs + more


@given(CROWDS, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_timers_run_early_or_just_in_time_give_the_same(crowd: tuple[list[ev.Event], ...], seed: int) -> None:
    """For several interleaved persons, outputs and state equal those of a run with one person alone."""
    until = max(history[-1].time for history in crowd) + 60 * DAY
    together = run_with_ticks(crowd, random.Random(seed), until)
    for history in crowd:
        name = history[0].user_id
        assert together[name] == process_events(Person(name), history, NIGHTS, until)


STALLED = ev.LessonProgress(id="s", user_id="u", time=NOON, course_id="go", progress=0.4)


def stall_alerts(outputs: list[Output]) -> list[tuple[float, str | None]]:
    """Return the time in days and the course of each stall alert."""
    return [((o.time - NOON) / DAY, o.course_id) for o in outputs if isinstance(o, Alert) and o.about == "stalled"]


def test_each_stop_gives_one_stall_alert() -> None:
    """It comes when the pause is longer than usual, and again only after the person went on and stopped again."""
    state = make_context(model=make_model(0.0))
    person, outputs = process_events(Person("u"), [STALLED], state, NOON + 25 * DAY)
    ((day, course),) = stall_alerts(outputs)
    assert course == "go"
    assert 10.5 <= day < 11.5  # three usual gaps of 3.5 days, and the next wake
    again = msgspec.structs.replace(STALLED, id="t", time=NOON + 25 * DAY, progress=0.5)
    _, outputs = process_events(person, [again], state, NOON + 60 * DAY)
    assert [course for _, course in stall_alerts(outputs)] == ["go"]


def test_a_stall_alert_comes_with_a_first_low_tier() -> None:
    """A first low tier gives no alert, so it does not replace the one about the course."""
    person, _ = process_events(Person("u"), [STALLED], make_context(model=None), NOON + 10.5 * DAY)
    _, outputs = process_events(person, [], make_context(model=make_model(0.0)), NOON + 20 * DAY)
    assert [course for _, course in stall_alerts(outputs)] == ["go"]


def test_a_stall_alert_waits_for_the_model() -> None:
    """A stall that could not be published counts as not reported."""
    person, outputs = process_events(Person("u"), [STALLED], make_context(model=None), NOON + 14 * DAY)
    assert stall_alerts(outputs) == []
    _, outputs = process_events(person, [], make_context(model=make_model(0.0)), NOON + 20 * DAY)
    assert [course for _, course in stall_alerts(outputs)] == ["go"]


def test_a_risk_alert_of_the_same_moment_reports_the_stall() -> None:
    """If the tier changes when the course stalls, one alert reports both."""
    rules = Rules(dwell=0.0, stalled_after=1.0)
    state = make_context(rules=rules, model=make_model(100.0, -242.0))
    _, outputs = process_events(Person("u"), [STALLED], state, NOON + 27 * DAY)
    alerts = [(alert.about, alert.happened) for alert in outputs if isinstance(alert, Alert)]
    assert alerts[:1] == [("risk", "stalled in course go at 40%")]
    assert stall_alerts(outputs) == []


def test_a_finished_course_gives_an_alert_at_once() -> None:
    """The alert names the course, and is not about risk."""
    done = ev.CourseCompleted(id="d", user_id="u", time=NOON, course_id="go")
    _, outputs = process_events(Person("u"), [done], make_context(), NOON + 1)
    alerts = [(alert.about, alert.course_id, alert.reasons) for alert in outputs if isinstance(alert, Alert)]
    assert alerts == [("finished", "go", ())]


def test_the_latest_consent_event_counts() -> None:
    """An older consent that arrives later does not undo a withdrawal."""
    no = ev.ConsentWithdrawn(id="1", user_id="u", time=NOON)
    yes = ev.ConsentGiven(id="2", user_id="u", time=NOON - HOUR)
    for order in ([no, yes], [yes, no]):
        person = Person("u")
        for event in order:
            person = retention.step(person, event, make_context()).person
        assert (person.ledger.consent, person.ledger.consent_at) == (-1, NOON)


@pytest.fixture
def forgotten() -> retention.Transition:
    person, _ = process_events(Person("u"), [STALLED], make_context(), NOON + 5 * DAY)
    return retention.step(person, ev.ErasureRequested(id="e", user_id="u", time=NOON + 6 * DAY), make_context())


def test_an_erasure_leaves_nothing_but_its_time(forgotten: retention.Transition) -> None:
    """There is neither id nor activity. The profile gets a tombstone, and no timer is left."""
    person, outputs = forgotten.person, forgotten.outputs
    assert outputs == (
        Tombstone(id=output_id("u", "forgotten", "e"), user_id="u"),
        Tombstone(id=output_id("u", "unlisted", "e"), user_id="u", of="recommendations"),
    )
    assert (person.id, person.activity, person.preferences) == ("", Activity(), Preferences())
    assert next_due(person, RULES) == NEVER
    assert person.ledger == Ledger(erased_at=NOON + 6 * DAY, done_until=NOON + 6 * DAY)


def test_events_before_an_erasure_do_not_restore_the_person(forgotten: retention.Transition) -> None:
    """A replay of older events, and the request itself, change nothing."""
    for event in (STALLED, ev.ErasureRequested(id="e", user_id="u", time=NOON + 6 * DAY)):
        assert retention.step(forgotten.person, event, make_context()) == retention.Transition(
            forgotten.person, (), ("erased",)
        )


def test_a_person_may_come_back_after_an_erasure(forgotten: retention.Transition) -> None:
    """Later events belong to them, under their own id."""
    back = ev.CourseCompleted(id="b", user_id="u", time=NOON + 8 * DAY, course_id="go")
    transition = retention.step(forgotten.person, back, make_context())
    person, outputs = transition.person, transition.outputs
    assert (person.id, person.activity.events) == ("u", 1)
    assert {alert.user_id for alert in outputs if isinstance(alert, Alert)} == {"u"}
