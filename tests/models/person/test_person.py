"""Timers of a person: always later, spread over persons, and finite in number."""

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
CONTEXTS = st.builds(
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


def test_a_new_person_has_no_timer() -> None:
    """A new person has no timer."""
    assert next_due(Person("u"), RULES) == NEVER


def test_the_earliest_timer_is_due_next() -> None:
    """Grid time, retries, early signals, the oldest label and the expiry of offers are compared."""
    rows = (PendingLabel(NOON, b"", 0.5, "m"), PendingLabel(NOON + DAY, b"", 0.5, "m"))
    signals = [NOON + days * DAY + HOUR for days in (3.5, 4.5)]
    label = NOON + 14 * DAY + HOUR

    def due(done: float) -> float:
        return next_due(Person("u", ledger=Ledger(pending_labels=rows, done_until=done)), RULES)

    assert [due(done) for done in (NOON, signals[0] - 1, signals[0], signals[1])] == [
        *signals[:1] * 2,
        signals[1],
        label,
    ]
    assert (label, signals[0]) == (label_due(NOON, RULES), signal_due(NOON, RULES))
    offers = (offer(signals[0] - 1), offer(signals[0] - 2))
    assert next_due(Person("u", ledger=Ledger(pending_labels=rows, offers=offers)), RULES) == signals[0] - 2
    retries = (Retry(NOON + 6, "risk"), Retry(NOON + 5, "finished", "c"))
    assert next_due(Person("u", ledger=Ledger(pending_labels=rows, offers=offers, retries=retries)), RULES) == NOON + 5
    assert next_due(Person("u", ledger=Ledger(pending_labels=rows, retries=retries, grid=NOON + 4)), RULES) == NOON + 4


@given(st.text(min_size=1, max_size=9), st.floats(0, 4e9), st.floats(60, 30 * DAY))
@example("0", 2_518_837.0, 61.20158860110678)
@settings(max_examples=300)
def test_the_next_wake_is_later_and_within_the_interval(person_id: str, after: float, every: float) -> None:
    """A grid time is strictly later than the given moment, by at most the interval."""
    rules = Rules(wake_every=every)
    wake = next_wake(person_id, after, rules)
    assert after < wake <= after + every + 1e-5
    assert wake < next_wake(person_id, wake, rules)


def test_persons_are_spread_over_the_interval() -> None:
    """Each quarter of the day has about a quarter of all grid times."""
    phases = [wake_phase(f"user-{n}", RULES) for n in range(4_000)]
    quarters = [int(phase // (6 * HOUR)) for phase in phases]
    shares = [quarters.count(quarter) / 4_000 for quarter in range(4)]
    assert all(abs(share - 0.25) < 0.03 for share in shares)


def test_persons_are_spread_within_a_second() -> None:
    """Persons are also spread within a second, so their wakes do not delay each other's outputs."""
    phases = [wake_phase(f"user-{n}", RULES) for n in range(4_000)]
    shares = [sum(phase % 1 == eighth / 8 for phase in phases) / 4_000 for eighth in range(8)]
    assert all(abs(share - 0.125) < 0.02 for share in shares)


@given(st.text(min_size=1, max_size=9), st.floats(0, 4e9), st.integers(60, 30 * 86_400))
@settings(max_examples=300)
def test_a_grid_time_does_not_depend_on_the_moment_it_is_computed_from(
    person_id: str, after: float, every: int
) -> None:
    """A timer is named by its time, so the time must not depend on how it was computed."""
    rules = Rules(wake_every=float(every))
    wake = next_wake(person_id, after, rules)
    assert next_wake(person_id, nextafter(wake, 0.0), rules) == wake
    assert next_wake(person_id, next_wake(person_id, wake, rules) - every, rules) == wake + every


def test_every_nth_wake_keeps_a_training_row() -> None:
    """With a horizon of 14 days and daily wakes, every fourth score is kept, and the days differ between persons."""
    kept = []
    for person_id in ("a", "b", "c", "d", "e", "f", "g", "h"):
        wake, days = START, []
        for day in range(40):
            wake = next_wake(person_id, wake, RULES)
            days += [day] * keeps_training_row(person_id, wake, RULES)
        assert {later - earlier for earlier, later in pairwise(days)} == {RULES.rows_every} == {4}
        kept.append(days[0])
    assert len(set(kept)) > 1


@given(histories(max_events=15, max_gap_days=20), CONTEXTS)
@settings(max_examples=120, deadline=None)
def test_waking_moves_the_next_due_strictly_later(events: list[ev.Event], context: Context) -> None:
    """After `wake` at `next_due`, the next timer is later, so timers never loop."""
    person = Person("u")
    for event in events:
        while (due := next_due(person, context.rules)) < event.time:
            person = retention.wake(person, due, context).person
            assert next_due(person, context.rules) > due
        person = retention.step(person, event, context).person
        assert next_due(person, context.rules) > event.time


@given(histories(max_events=15, max_gap_days=20), CONTEXTS)
@settings(max_examples=120, deadline=None)
def test_a_silent_person_has_no_timer_in_the_end(events: list[ev.Event], context: Context) -> None:
    """After the look-back, the horizon and the expiry of all offers, no timer is left."""
    person = Person("u")
    for event in events:
        person = retention.step(person, event, context).person
    wakes, due = 0, 0.0
    while (soon := next_due(person, context.rules)) < NEVER and wakes < 400:
        person, wakes, due = retention.wake(person, soon, context).person, wakes + 1, soon
    assert next_due(person, context.rules) == NEVER
    assert due <= events[-1].time + RULES.lookback + RULES.horizon + 2 * DAY
    assert (person.ledger.pending_labels, person.ledger.offers) == ((), ())


def test_endless_quiet_hours_do_not_retry_forever() -> None:
    """A silent person has no timer left in the end, even if a campaign is quiet from 0 to 24."""
    context = make_context(campaign=make_campaign(quiet_from=0.0, quiet_until=24.0), model=make_model(0.0))
    finished = ev.CourseCompleted(id="1", user_id="u", time=NOON, course_id="c")
    person = retention.step(Person("u"), finished, context).person
    for _ in range(100):
        if next_due(person, context.rules) == NEVER:
            break
        person = retention.wake(person, next_due(person, context.rules), context).person
    assert next_due(person, context.rules) == NEVER
