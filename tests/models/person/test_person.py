"""When a person is next due: always later, spread over people, and never for ever."""

from itertools import pairwise
from math import nextafter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.person.activity import DAY
from models.person.ledger import NEVER, Ledger, Offer, PendingLabel, Retry
from models.person.person import Person, keeps_training_row, label_due, next_due, next_wake, signal_due, wake_phase
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.context import Context
from models.schema import events as ev
from tests.models.people import HOUR, NOON, START, histories, make_campaign, make_context, make_model

RULES = Rules()
WORLDS = st.builds(
    lambda quiet, hold_out, weight, ready: make_context(
        campaign=make_campaign(quiet_from=quiet[0], quiet_until=quiet[1], hold_out=hold_out, utc_offset_hours=quiet[2]),
        model=make_model(weight),
        rules=Rules(alerts_wait=ready),
    ),
    st.sampled_from([(0.0, 0.0, 0.0), (22.0, 8.0, 5.5), (9.5, 18.0, -8.0), (0.0, 23.0, 0.0), (12.0, 0.0, 2.0)]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 1.0, 2.0, 3.0]),
    st.booleans(),
)


def offer(until: float) -> Offer:
    return Offer("o", "back", "ten", 10.0, NOON, until, 1.0, b"")


def test_a_person_without_anything_is_never_due() -> None:
    """Nothing is due for somebody of whom nothing is known."""
    assert next_due(Person("u"), RULES) == NEVER


def test_the_earliest_of_all_is_due() -> None:
    """Grid, every retry, the rows' early signs, the oldest row's label and every offer's end are compared."""
    rows = (PendingLabel(NOON, b"", 0.5, "m"), PendingLabel(NOON + DAY, b"", 0.5, "m"))
    signs = [NOON + days * DAY + HOUR for days in (3.5, 4.5)]
    label = NOON + 14 * DAY + HOUR

    def due(done: float) -> float:
        return next_due(Person("u", ledger=Ledger(pending_labels=rows, done_until=done)), RULES)

    assert [due(done) for done in (NOON, signs[0] - 1, signs[0], signs[1])] == [*signs[:1] * 2, signs[1], label]
    assert (label, signs[0]) == (label_due(NOON, RULES), signal_due(NOON, RULES))
    offers = (offer(signs[0] - 1), offer(signs[0] - 2))
    assert next_due(Person("u", ledger=Ledger(pending_labels=rows, offers=offers)), RULES) == signs[0] - 2
    retries = (Retry(NOON + 6, "risk"), Retry(NOON + 5, "finished", "c"))
    assert next_due(Person("u", ledger=Ledger(pending_labels=rows, offers=offers, retries=retries)), RULES) == NOON + 5
    assert next_due(Person("u", ledger=Ledger(pending_labels=rows, retries=retries, grid=NOON + 4)), RULES) == NOON + 4


@given(st.text(min_size=1, max_size=9), st.floats(0, 4e9), st.floats(60, 30 * DAY))
@example("0", 2_518_837.0, 61.20158860110678)
@settings(max_examples=300)
def test_the_next_wake_is_later_and_within_the_interval(person_id: str, after: float, every: float) -> None:
    """Grid times are strictly later than the moment asked from, at most an interval later, whatever the interval."""
    rules = Rules(wake_every=every)
    wake = next_wake(person_id, after, rules)
    assert after < wake <= after + every + 1e-5
    assert wake < next_wake(person_id, wake, rules)


def test_people_are_spread_over_the_interval() -> None:
    """Each quarter of the day holds about a quarter of the people's grid times."""
    phases = [wake_phase(f"user-{n}", RULES) for n in range(4_000)]
    quarters = [int(phase // (6 * HOUR)) for phase in phases]
    shares = [quarters.count(quarter) / 4_000 for quarter in range(4)]
    assert all(abs(share - 0.25) < 0.03 for share in shares)


def test_no_crowd_wakes_at_once() -> None:
    """Within a second people are spread as well: who has something to be told waits for nobody else's wake."""
    phases = [wake_phase(f"user-{n}", RULES) for n in range(4_000)]
    shares = [sum(phase % 1 == eighth / 8 for phase in phases) / 4_000 for eighth in range(8)]
    assert all(abs(share - 0.125) < 0.02 for share in shares)


@given(st.text(min_size=1, max_size=9), st.floats(0, 4e9), st.integers(60, 30 * 86_400))
@settings(max_examples=300)
def test_a_grid_time_is_the_same_number_wherever_it_is_asked_from(person_id: str, after: float, every: int) -> None:
    """What is due is named by its time: it must not depend on the way there."""
    rules = Rules(wake_every=float(every))
    wake = next_wake(person_id, after, rules)
    assert next_wake(person_id, nextafter(wake, 0.0), rules) == wake
    assert next_wake(person_id, next_wake(person_id, wake, rules) - every, rules) == wake + every


def test_every_nth_wake_keeps_a_row() -> None:
    """With a horizon of 14 days and daily wakes, every fourth score is kept, at different days for different people."""
    kept = []
    for person_id in ("a", "b", "c", "d", "e", "f", "g", "h"):
        wake, days = START, []
        for day in range(40):
            wake = next_wake(person_id, wake, RULES)
            days += [day] * keeps_training_row(person_id, wake, RULES)
        assert {later - earlier for earlier, later in pairwise(days)} == {RULES.rows_every} == {4}
        kept.append(days[0])
    assert len(set(kept)) > 1


@given(histories(max_events=15, max_gap_days=20), WORLDS)
@settings(max_examples=120, deadline=None)
def test_waking_moves_the_next_due_strictly_later(events: list[ev.Event], state: Context) -> None:
    """After `wake` at `next_due`, the next due is later: there is no moment at which work goes round in circles."""
    person = Person("u")
    for event in events:
        while (due := next_due(person, state.rules)) < event.time:
            person = retention.wake(person, due, state).person
            assert next_due(person, state.rules) > due
        person = retention.step(person, event, state).person
        assert next_due(person, state.rules) > event.time


@given(histories(max_events=15, max_gap_days=20), WORLDS)
@settings(max_examples=120, deadline=None)
def test_a_silent_person_is_left_alone_in_the_end(events: list[ev.Event], state: Context) -> None:
    """Past the look-back, the horizon and every offer's end, nothing is due any more."""
    person = Person("u")
    for event in events:
        person = retention.step(person, event, state).person
    wakes, due = 0, 0.0
    while (soon := next_due(person, state.rules)) < NEVER and wakes < 400:
        person, wakes, due = retention.wake(person, soon, state).person, wakes + 1, soon
    assert next_due(person, state.rules) == NEVER
    assert due <= events[-1].time + RULES.lookback + RULES.horizon + 2 * DAY
    assert (person.ledger.pending_labels, person.ledger.offers) == ((), ())


def test_quiet_hours_that_never_end_do_not_ask_for_ever() -> None:
    """A campaign that is quiet from 0 to 24 lets a silent person rest in the end all the same."""
    state = make_context(campaign=make_campaign(quiet_from=0.0, quiet_until=24.0), model=make_model(0.0))
    finished = ev.CourseCompleted(id="1", user_id="u", time=NOON, course_id="c")
    person = retention.step(Person("u"), finished, state).person
    for _ in range(100):
        if next_due(person, state.rules) == NEVER:
            break
        person = retention.wake(person, next_due(person, state.rules), state).person
    assert next_due(person, state.rules) == NEVER
