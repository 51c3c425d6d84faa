"""The whole of the business: deterministic, deaf to duplicates, labels as counting by hand gives them."""

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
    """Long enough after the last event for everything to have fallen due."""
    return max(event.time for event in events) + RULES.lookback + RULES.horizon + 3 * DAY


def examples_of(said: list[Output]) -> list[Example]:
    return [output for output in said if isinstance(output, Example)]


def login(days: float, name: str = "") -> ev.Login:
    return ev.Login(id=name or repr(days), user_id="u", time=NOON + days * DAY)


@given(histories())
@settings(max_examples=50, deadline=None)
def test_the_same_events_give_the_same_person_and_outputs(events: list[ev.Event]) -> None:
    """Two runs agree in everything, ids included, and no id is given twice."""
    first, second = (process_events(Person("u"), events, NIGHTS, end_of(events)) for _ in range(2))
    assert first == second
    assert [kind_and_id for kind_and_id, n in Counter((type(o), o.id) for o in first[1]).items() if n > 1] == []


@given(histories(), st.integers(1, MAX_RECENT_EVENTS))
@settings(max_examples=50, deadline=None)
def test_duplicates_change_nothing(events: list[ev.Event], back: int) -> None:
    """Any of the last 16 events again leaves the person as they are and says nothing."""
    person = Person("u")
    for index, event in enumerate(events):
        person = retention.step(person, event, NIGHTS).person
        again = events[max(0, index + 1 - back)]
        assert retention.step(person, again, NIGHTS) == retention.Transition(person, (), ("duplicate",))


@given(histories(max_gap_days=60), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_an_example_says_whether_an_active_event_followed(events: list[ev.Event], seed: int) -> None:
    """Churned is: no active event after its time, up to and including its end; also when events come up to 1 h late."""
    times = active_times(events, RULES)
    _, said = process_events(Person("u"), shuffle_events(events, seed), NIGHTS, end_of(events))
    for example in examples_of(said):
        assert example.until == example.time + RULES.horizon
        assert example.churned == (not any(example.time < time <= example.until for time in times))


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_an_example_holds_the_row_as_it_stood(events: list[ev.Event]) -> None:
    """Features, score and model are those of the events up to the example's time, and of no later ones."""
    _, said = process_events(Person("u"), events, NIGHTS, end_of(events))
    for example in examples_of(said):
        activity = Activity()
        for event in (event for event in events if event.time <= example.time):
            activity = fold(activity, event, ev.kind_of(event) in RULES.active_kinds)
        row = features.row(activity, example.time, RULES.horizon)
        assert (example.x, example.probability) == (tuple(row.tolist()), make_model().probability(row))
        assert example.model == "test-1"


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_examples_are_the_grid_times_at_which_the_person_was_eligible(events: list[ev.Event]) -> None:
    """Every n-th wake with an active event in the look-back before it gives one example, and nothing else does."""
    times, end = active_times(events, RULES), end_of(events)
    _, said = process_events(Person("u"), events, NIGHTS, end)
    expected, wake = [], next_wake("u", events[0].time, RULES)
    while label_due(wake, RULES) < end:
        if keeps_training_row("u", wake, RULES) and any(wake - RULES.lookback <= time <= wake for time in times):
            expected.append(wake)
        wake = next_wake("u", wake, RULES)
    assert [example.time for example in examples_of(said)] == expected


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_both_classes_are_released_at_the_end_of_horizon_and_lateness(events: list[ev.Event]) -> None:
    """No example leaves before, and it leaves at exactly that due time, whether the person came back or not."""
    person = Person("u")
    for event in [*events, None]:
        until = event.time if event else end_of(events)
        while (due := next_due(person, RULES)) < until:
            moved = retention.wake(person, due, NIGHTS)
            person, said, notes = moved.person, moved.outputs, moved.results
            examples = examples_of(list(said))
            assert [example.until + RULES.lateness for example in examples] == [due] * len(examples)
            assert [note for note in notes if note.startswith("label")] == [
                "label churned" if example.churned else "label stayed" for example in examples
            ]
        if event:
            moved = retention.step(person, event, NIGHTS)
            person, said = moved.person, moved.outputs
            assert examples_of(list(said)) == []


def test_a_late_event_counts_but_is_not_scored() -> None:
    """Older than work already done: in the totals, on the waiting rows, but no score and no news."""
    person, _ = process_events(Person("u"), [login(0)], make_context(), NOON + 5 * DAY)
    late = ev.CourseCompleted(id="late", user_id="u", time=NOON + 2 * DAY, course_id="c")
    moved = retention.step(person, late, make_context())
    assert ([type(said) for said in moved.outputs], moved.results) == ([Interaction], ("late",))
    assert moved.person.activity.events == 2
    assert moved.person.ledger.scored_at == person.ledger.scored_at
    returned = [row.returned for row in moved.person.ledger.pending_labels]
    assert returned == [late.time if row.at < late.time else 0.0 for row in person.ledger.pending_labels]


def test_an_event_at_the_time_of_work_already_done_is_not_late() -> None:
    """Only what is older is."""
    person, _ = process_events(Person("u"), [login(0)], make_context(), NOON + 2 * DAY)
    at_due = ev.Login(id="x", user_id="u", time=person.ledger.done_until)
    assert retention.step(person, at_due, make_context()).results == ("applied",)


def scored_at(event: ev.Event, person: Person) -> float:
    return retention.step(person, event, make_context()).person.ledger.scored_at


def test_events_score_again_after_a_while_or_if_about_money() -> None:
    """Within an hour of the last score only money scores; an event older than the newest does not."""
    person = retention.step(Person("u"), login(0), make_context()).person
    soon, later = NOON + HOUR - 1, NOON + HOUR
    assert person.ledger.scored_at == NOON
    assert scored_at(ev.Login(id="2", user_id="u", time=soon), person) == NOON
    assert scored_at(ev.Login(id="2", user_id="u", time=later), person) == later
    assert scored_at(ev.Purchase(id="2", user_id="u", time=soon, amount=1.0), person) == soon
    assert scored_at(ev.ConsentGiven(id="2", user_id="u", time=later), person) == NOON
    assert scored_at(ev.Purchase(id="2", user_id="u", time=NOON - 1, amount=1.0), person) == NOON


@pytest.mark.parametrize("state", [make_context(model=None), make_context(rules=Rules(labels_needed=1_001))])
def test_before_a_model_is_ready_rows_are_kept_but_nothing_is_told(state: Context) -> None:
    """Examples flow from the first day; tiers, alerts and decisions wait."""
    events: list[ev.Event] = [login(0), ev.CourseCompleted(id="c", user_id="u", time=NOON + DAY, course_id="c")]
    person, said = process_events(Person("u"), events, state, NOON + 60 * DAY)
    assert {type(output) for output in said} == {Example, EarlySignal, Interaction}
    assert {output.probability for output in examples_of(said)} == {RULES.prior_churn}
    assert {output.probability for output in said if isinstance(output, EarlySignal)} == {-1}
    assert person.ledger.tier == ""


@pytest.mark.parametrize("labels_needed", [1_000, 1_001])
def test_what_is_told_and_the_rows_name_the_same_model(labels_needed: int) -> None:
    """A model with too few labels scores nobody, and nothing is said in its name, though alerts do not wait for it."""
    state = make_context(rules=Rules(labels_needed=labels_needed, alerts_wait=False))
    events: list[ev.Event] = [login(0), ev.CourseCompleted(id="c", user_id="u", time=NOON + DAY, course_id="c")]
    _, said = process_events(Person("u"), events, state, NOON + 60 * DAY)
    named = {output.model for output in said if isinstance(output, Alert)}
    expected = "prior" if labels_needed > make_model().labels else make_model().version
    assert named == {output.model for output in examples_of(said)} == {expected}


def test_silence_alone_raises_the_alarm() -> None:
    """Without another event, the tier climbs to high, each change told once, with its profile after it."""
    _, said = process_events(Person("u"), [login(0)], make_context(), NOON + 60 * DAY)
    tiers = [(alert.tier_before, alert.tier) for alert in said if isinstance(alert, Alert)]
    assert tiers == [("low", "medium"), ("medium", "high")]
    assert [profile.tier for profile in said if isinstance(profile, Profile)][:3] == ["low", "medium", "high"]
    told = [type(output) for output in said if isinstance(output, Alert | Profile)]
    assert told[:5] == [Profile, Alert, Profile, Alert, Profile]


def test_beyond_the_look_back_the_profile_says_that_nobody_is_there() -> None:
    """The last profile has no tier and the stage of those who left; it is said once, and there is no alert of it."""
    person, said = process_events(Person("u"), [login(0)], make_context(), NOON + 90 * DAY)
    profiles = [(profile.tier, profile.stage) for profile in said if isinstance(profile, Profile)]
    assert profiles[-1] == ("", "churned")
    assert [tier for tier, _ in profiles].count("") == 1
    assert (person.ledger.tier, {alert.tier for alert in said if isinstance(alert, Alert)}) == ("", {"medium", "high"})


def test_an_event_and_a_due_time_never_have_the_same_cause() -> None:
    """A platform may give an event the very name that a due time has: what is said for it has other ids."""
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
    """A risk alert has two different tiers; the action of an alert is what its decision says."""
    _, said = process_events(Person("u"), events, make_context(), end_of(events))
    for before, alert in zip([None, *said], said, strict=False):
        if isinstance(alert, Alert):
            assert alert.about != "risk" or alert.tier != alert.tier_before
            decision = before if isinstance(before, Decision) else None
            assert alert.action == (decision.candidate if decision and decision.sent else "none")
