"""The whole business logic: deterministic, idempotent for duplicates, with labels that equal a count by hand."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person import features
from models.person.activity import DAY, Activity, fold
from models.person.ledger import MAX_RECENT_EVENTS
from models.person.person import Person, keeps_training_row, label_due, next_due, next_wake
from models.person.preferences import Interaction
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import Alert, Decision, EarlySignal, Example, Output, Profile
from tests.models.people import (
    HOUR,
    NOON,
    active_times,
    histories,
    make_campaign,
    make_context,
    make_model,
    process_events,
    shuffle_events,
)

RULES = Rules()
NIGHTS = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=7.5, hold_out=0.3, cool_down_days=2.0))


def end_of(events: list[ev.Event]) -> float:
    """Return a time at which all timers of these events have run."""
    return max(event.time for event in events) + RULES.lookback + RULES.horizon + 3 * DAY


def examples_of(outputs: list[Output]) -> list[Example]:
    return [output for output in outputs if isinstance(output, Example)]


def login(days: float, name: str = "") -> ev.Login:
    return ev.Login(id=name or repr(days), user_id="u", time=NOON + days * DAY)


@given(histories())
@settings(max_examples=50, deadline=None)
def test_the_same_events_give_the_same_person_and_outputs(events: list[ev.Event]) -> None:
    """Two runs agree in everything, also in ids, and no id occurs twice."""
    first, second = (process_events(Person("u"), events, NIGHTS, end_of(events)) for _ in range(2))
    assert first == second
    assert [kind_and_id for kind_and_id, n in Counter((type(o), o.id) for o in first[1]).items() if n > 1] == []


@given(histories(), st.integers(1, MAX_RECENT_EVENTS))
@settings(max_examples=50, deadline=None)
def test_duplicates_change_nothing(events: list[ev.Event], back: int) -> None:
    """Any of the last 16 events again changes nothing and gives no output."""
    person = Person("u")
    for index, event in enumerate(events):
        person = retention.step(person, event, NIGHTS).person
        again = events[max(0, index + 1 - back)]
        assert retention.step(person, again, NIGHTS) == retention.Transition(person, (), ("duplicate",))


@given(histories(max_gap_days=60), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_a_label_says_whether_an_active_event_followed(events: list[ev.Event], seed: int) -> None:
    """Churned means no active event within the horizon, end included; also if events are up to 1 h late."""
    times = active_times(events, RULES)
    _, outputs = process_events(Person("u"), shuffle_events(events, seed), NIGHTS, end_of(events))
    for example in examples_of(outputs):
        assert example.until == example.time + RULES.horizon
        assert example.churned == (not any(example.time < time <= example.until for time in times))


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_an_example_has_the_row_of_its_time(events: list[ev.Event]) -> None:
    """Features, score and model come from the events up to the example's time, and from no later ones."""
    _, outputs = process_events(Person("u"), events, NIGHTS, end_of(events))
    for example in examples_of(outputs):
        activity = Activity()
        for event in (event for event in events if event.time <= example.time):
            activity = fold(activity, event, ev.kind_of(event) in RULES.active_kinds)
        row = features.row(activity, example.time, RULES.horizon)
        assert (example.x, example.probability) == (tuple(row.tolist()), make_model().probability(row))
        assert example.model == "test-1"


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_examples_are_the_grid_times_at_which_the_person_was_eligible(events: list[ev.Event]) -> None:
    """Every n-th grid time with an active event in its look-back gives one example, and nothing else does."""
    times, end = active_times(events, RULES), end_of(events)
    _, outputs = process_events(Person("u"), events, NIGHTS, end)
    expected, wake = [], next_wake("u", events[0].time, RULES)
    while label_due(wake, RULES) < end:
        if keeps_training_row("u", wake, RULES) and any(wake - RULES.lookback <= time <= wake for time in times):
            expected.append(wake)
        wake = next_wake("u", wake, RULES)
    assert [example.time for example in examples_of(outputs)] == expected


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_both_classes_are_released_at_the_end_of_horizon_and_lateness(events: list[ev.Event]) -> None:
    """An example is published exactly at that time, whether the person came back or not."""
    person = Person("u")
    for event in [*events, None]:
        until = event.time if event else end_of(events)
        while (due := next_due(person, RULES)) < until:
            transition = retention.wake(person, due, NIGHTS)
            person, outputs, notes = transition.person, transition.outputs, transition.results
            examples = examples_of(list(outputs))
            assert [example.until + RULES.lateness for example in examples] == [due] * len(examples)
            assert [note for note in notes if note.startswith("label")] == [
                "label churned" if example.churned else "label stayed" for example in examples
            ]
        if event:
            transition = retention.step(person, event, NIGHTS)
            person, outputs = transition.person, transition.outputs
            assert examples_of(list(outputs)) == []


def test_a_late_event_counts_but_is_not_scored() -> None:
    """An event older than timers that ran is in the totals and on pending rows. It gives no score and no alert."""
    person, _ = process_events(Person("u"), [login(0)], make_context(), NOON + 5 * DAY)
    late = ev.CourseCompleted(id="late", user_id="u", time=NOON + 2 * DAY, course_id="c")
    transition = retention.step(person, late, make_context())
    assert ([type(outputs) for outputs in transition.outputs], transition.results) == ([Interaction], ("late",))
    assert transition.person.activity.events == 2
    assert transition.person.ledger.scored_at == person.ledger.scored_at
    returned = [row.returned for row in transition.person.ledger.pending_labels]
    assert returned == [late.time if row.at < late.time else 0.0 for row in person.ledger.pending_labels]


def test_an_event_at_the_time_of_a_timer_that_ran_is_not_late() -> None:
    """Only older events are late."""
    person, _ = process_events(Person("u"), [login(0)], make_context(), NOON + 2 * DAY)
    at_due = ev.Login(id="x", user_id="u", time=person.ledger.done_until)
    assert retention.step(person, at_due, make_context()).results == ("applied",)


def scored_at(event: ev.Event, person: Person) -> float:
    return retention.step(person, event, make_context()).person.ledger.scored_at


def test_events_score_again_after_a_while_or_if_about_money() -> None:
    """Within an hour of the last score, only money events score. An event older than the newest one does not."""
    person = retention.step(Person("u"), login(0), make_context()).person
    soon, later = NOON + HOUR - 1, NOON + HOUR
    assert person.ledger.scored_at == NOON
    assert scored_at(ev.Login(id="2", user_id="u", time=soon), person) == NOON
    assert scored_at(ev.Login(id="2", user_id="u", time=later), person) == later
    assert scored_at(ev.Purchase(id="2", user_id="u", time=soon, amount=1.0), person) == soon
    assert scored_at(ev.ConsentGiven(id="2", user_id="u", time=later), person) == NOON
    assert scored_at(ev.Purchase(id="2", user_id="u", time=NOON - 1, amount=1.0), person) == NOON


@pytest.mark.parametrize("state", [make_context(model=None), make_context(rules=Rules(labels_needed=1_001))])
def test_before_a_model_is_ready_there_are_examples_but_no_alerts(state: Context) -> None:
    """Examples are published from the first day. Tiers, alerts and decisions wait."""
    events: list[ev.Event] = [login(0), ev.CourseCompleted(id="c", user_id="u", time=NOON + DAY, course_id="c")]
    person, outputs = process_events(Person("u"), events, state, NOON + 60 * DAY)
    assert {type(output) for output in outputs} == {Example, EarlySignal, Interaction}
    assert {output.probability for output in examples_of(outputs)} == {RULES.prior_churn}
    assert {output.probability for output in outputs if isinstance(output, EarlySignal)} == {-1}
    assert person.ledger.tier == ""


@pytest.mark.parametrize("labels_needed", [1_000, 1_001])
def test_alerts_and_examples_name_the_same_model(labels_needed: int) -> None:
    """A model with too few labels is not used and not named, although alerts do not wait for it."""
    state = make_context(rules=Rules(labels_needed=labels_needed, alerts_wait=False))
    events: list[ev.Event] = [login(0), ev.CourseCompleted(id="c", user_id="u", time=NOON + DAY, course_id="c")]
    _, outputs = process_events(Person("u"), events, state, NOON + 60 * DAY)
    named = {output.model for output in outputs if isinstance(output, Alert)}
    expected = "prior" if labels_needed > make_model().labels else make_model().version
    assert named == {output.model for output in examples_of(outputs)} == {expected}


def test_silence_alone_gives_alerts() -> None:
    """Without another event, the tier rises to high. Each change gives one alert, followed by the profile."""
    _, outputs = process_events(Person("u"), [login(0)], make_context(), NOON + 60 * DAY)
    tiers = [(alert.tier_before, alert.tier) for alert in outputs if isinstance(alert, Alert)]
    assert tiers == [("low", "medium"), ("medium", "high")]
    assert [profile.tier for profile in outputs if isinstance(profile, Profile)][:3] == ["low", "medium", "high"]
    types = [type(output) for output in outputs if isinstance(output, Alert | Profile)]
    assert types[:5] == [Profile, Alert, Profile, Alert, Profile]


def test_beyond_the_look_back_the_profile_has_no_tier() -> None:
    """The last profile has the stage of lost users. It is published once, without an alert."""
    person, outputs = process_events(Person("u"), [login(0)], make_context(), NOON + 90 * DAY)
    profiles = [(profile.tier, profile.stage) for profile in outputs if isinstance(profile, Profile)]
    assert profiles[-1] == ("", "churned")
    assert [tier for tier, _ in profiles].count("") == 1
    assert (person.ledger.tier, {alert.tier for alert in outputs if isinstance(alert, Alert)}) == (
        "",
        {"medium", "high"},
    )


def test_an_event_and_a_timer_never_have_the_same_cause() -> None:
    """An event id may equal the name of a timer. The output ids differ."""
    person, _ = process_events(Person("u"), [login(0)], make_context(), NOON + HOUR)
    due = next_due(person, RULES)
    steep = make_context(model=make_model(0.0, 3.0), rules=Rules(dwell=0.0))
    by_time = {output.id for output in retention.wake(person, due, steep).outputs}
    assert len(by_time) >= 4  # decision, alert, trigger, profile
    for name in (repr(due), f"due {due!r}"):
        by_event = retention.step(person, ev.Login(id=name, user_id="u", time=due), steep).outputs
        assert len(by_event) == 4
        assert {output.id for output in by_event} & by_time == set()


@given(histories(max_gap_days=30))
@settings(max_examples=60, deadline=None)
def test_alerts_say_what_changed_and_decisions_why(events: list[ev.Event]) -> None:
    """A risk alert has two different tiers. The action of an alert is that of its decision."""
    _, outputs = process_events(Person("u"), events, make_context(), end_of(events))
    for before, alert in zip([None, *outputs], outputs, strict=False):
        if isinstance(alert, Alert):
            assert alert.about != "risk" or alert.tier != alert.tier_before
            decision = before if isinstance(before, Decision) else None
            assert alert.action == (decision.candidate if decision and decision.sent else "none")
