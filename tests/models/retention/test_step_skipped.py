"""Skipped timers after an error."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.person import Person, next_due
from models.retention import step as retention
from models.schema import events as ev
from tests.models.people import histories, make_campaign, make_context, make_model, process_timers

STATE = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=7.5), model=make_model(1.0, 0.0))


@given(histories(max_events=10, max_gap_days=10), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_skipping_moves_the_next_due_later_and_loses_nothing_that_was_done(events: list[ev.Event], days: int) -> None:
    """Later timers run. Activity, tier and send counts stay the same."""
    person = Person("u")
    for event in events:
        person = retention.step(person, event, STATE).person
    person, _ = process_timers(person, events[-1].time + days * 86_400.0, STATE)
    due = next_due(person, STATE.rules)
    if due == float("inf"):
        return
    left = retention.skip_timers(person, due, STATE.rules)
    assert next_due(left, STATE.rules) > due
    assert (left.activity, left.ledger.tier, left.ledger.send_counts) == (
        person.activity,
        person.ledger.tier,
        person.ledger.send_counts,
    )
    assert left.ledger.done_until == due
    assert retention.skip_timers(left, due, STATE.rules) == left
