"""As of: work done just in time, or as soon as the clock allows, gives the same, whatever others do meanwhile."""

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


def advanced(crowd: Crowd, clock: float) -> None:
    """Do everybody's work that is due a lateness before the clock."""
    for name, (person, said) in crowd.items():
        while (due := next_due(person, RULES)) + RULES.lateness <= clock:
            moved = retention.wake(person, due, NIGHTS)
            person = moved.person
            said += moved.outputs
        crowd[name] = (person, said)


def early(histories_told: tuple[list[ev.Event], ...], ticks: random.Random, until: float) -> Crowd:
    """Apply one log of everybody's events, driven by a clock that also ticks in between."""
    log = sorted((event for told in histories_told for event in told), key=lambda event: event.time)
    crowd: Crowd = {event.user_id: (Person(event.user_id), []) for event in log}
    clock = log[0].time
    for event in log:
        for _ in range(ticks.randrange(3)):
            clock = ticks.uniform(clock, event.time)
            advanced(crowd, clock)
        clock = event.time
        advanced(crowd, clock)
        person, said = crowd[event.user_id]
        person, more = process_events(person, [event], NIGHTS, -1.0)
        crowd[event.user_id] = (person, said + more)
    return {name: _finished(person, said, until) for name, (person, said) in crowd.items()}


def _finished(person: Person, said: list[Output], until: float) -> tuple[Person, list[Output]]:
    person, more = process_events(person, [], NIGHTS, until)
    return person, said + more


@given(CROWDS, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_work_done_early_or_just_in_time_is_the_same(crowd: tuple[list[ev.Event], ...], seed: int) -> None:
    """For each of several interleaved people, outputs and state equal those of a worker who sees them alone."""
    until = max(told[-1].time for told in crowd) + 60 * DAY
    together = early(crowd, random.Random(seed), until)
    for told in crowd:
        name = told[0].user_id
        assert together[name] == process_events(Person(name), told, NIGHTS, until)


STALLED = ev.LessonProgress(id="s", user_id="u", time=NOON, course_id="go", progress=0.4)


def stalled(said: list[Output]) -> list[tuple[float, str | None]]:
    """When a stall was told, in days, and of which course."""
    return [((o.time - NOON) / DAY, o.course_id) for o in said if isinstance(o, Alert) and o.about == "stalled"]


def test_a_stall_is_told_once_a_stop() -> None:
    """Told when the pause is longer than usual, again only after the person went on and stopped again."""
    state = make_context(model=make_model(0.0))
    person, said = process_events(Person("u"), [STALLED], state, NOON + 25 * DAY)
    ((day, course),) = stalled(said)
    assert course == "go"
    assert 10.5 <= day < 11.5  # three usual gaps of 3.5 days, and the next wake
    again = msgspec.structs.replace(STALLED, id="t", time=NOON + 25 * DAY, progress=0.5)
    _, said = process_events(person, [again], state, NOON + 60 * DAY)
    assert [course for _, course in stalled(said)] == ["go"]


def test_a_stall_is_told_even_if_the_first_tier_comes_at_that_moment() -> None:
    """A first low tier is no alert, so it does not stand for the one about the course."""
    person, _ = process_events(Person("u"), [STALLED], make_context(model=None), NOON + 10.5 * DAY)
    _, said = process_events(person, [], make_context(model=make_model(0.0)), NOON + 20 * DAY)
    assert [course for _, course in stalled(said)] == ["go"]


def test_a_stall_that_waited_for_the_model_is_told_when_it_is_ready() -> None:
    """What could not be told before counts as not told."""
    person, said = process_events(Person("u"), [STALLED], make_context(model=None), NOON + 14 * DAY)
    assert stalled(said) == []
    _, said = process_events(person, [], make_context(model=make_model(0.0)), NOON + 20 * DAY)
    assert [course for _, course in stalled(said)] == ["go"]


def test_the_risk_alert_of_the_same_moment_says_the_stall() -> None:
    """Where the tier changes as the course stalls, one alert tells both."""
    rules = Rules(dwell=0.0, stalled_after=1.0)
    state = make_context(rules=rules, model=make_model(100.0, -242.0))
    _, said = process_events(Person("u"), [STALLED], state, NOON + 27 * DAY)
    alerts = [(alert.about, alert.happened) for alert in said if isinstance(alert, Alert)]
    assert alerts[:1] == [("risk", "stalled in course go at 40%")]
    assert stalled(said) == []


def test_a_finished_course_is_told_as_it_happens() -> None:
    """The alert names the course, and is not about risk."""
    done = ev.CourseCompleted(id="d", user_id="u", time=NOON, course_id="go")
    _, said = process_events(Person("u"), [done], make_context(), NOON + 1)
    alerts = [(alert.about, alert.course_id, alert.reasons) for alert in said if isinstance(alert, Alert)]
    assert alerts == [("finished", "go", ())]


def test_consent_is_the_latest_said_in_event_time() -> None:
    """An older consent that comes in later does not undo a withdrawal."""
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
    """Neither id nor activity; the profile is taken back; nothing is due."""
    person, outputs = forgotten.person, forgotten.outputs
    assert outputs == (
        Tombstone(id=output_id("u", "forgotten", "e"), user_id="u"),
        Tombstone(id=output_id("u", "unlisted", "e"), user_id="u", of="recommendations"),
    )
    assert (person.id, person.activity, person.preferences) == ("", Activity(), Preferences())
    assert next_due(person, RULES) == NEVER
    assert person.ledger == Ledger(erased_at=NOON + 6 * DAY, done_until=NOON + 6 * DAY)


def test_events_before_an_erasure_do_not_raise_the_person_again(forgotten: retention.Transition) -> None:
    """A replay of what was before, and the request itself, change nothing."""
    for event in (STALLED, ev.ErasureRequested(id="e", user_id="u", time=NOON + 6 * DAY)):
        assert retention.step(forgotten.person, event, make_context()) == retention.Transition(
            forgotten.person, (), ("erased",)
        )


def test_who_comes_back_after_an_erasure_is_a_person_again(forgotten: retention.Transition) -> None:
    """What happens afterwards is theirs, under their own id."""
    back = ev.CourseCompleted(id="b", user_id="u", time=NOON + 8 * DAY, course_id="go")
    moved = retention.step(forgotten.person, back, make_context())
    person, outputs = moved.person, moved.outputs
    assert (person.id, person.activity.events) == ("u", 1)
    assert {alert.user_id for alert in outputs if isinstance(alert, Alert)} == {"u"}
