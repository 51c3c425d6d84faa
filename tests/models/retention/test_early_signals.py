"""There is one early signal per row: whether the person was back within the first quarter of its horizon."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from models.churn.early_signal import Recalibration
from models.person.activity import DAY
from models.person.ledger import Ledger
from models.person.person import Person, next_due, signal_due
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.risk import Score, early_signals, record_score
from models.schema import events as ev
from models.schema.outputs import EarlySignal, Example, Output
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
NIGHTS = make_context(
    campaign=make_campaign(hold_out=0.3, cool_down_days=2.0),
    model=replace(make_model(), recalibration=Recalibration(-0.3, 0.1)),
)


def end_of(events: list[ev.Event]) -> float:
    return max(event.time for event in events) + RULES.lookback + RULES.horizon + 3 * DAY


def both(outputs: list[Output]) -> tuple[list[EarlySignal], list[Example]]:
    signals = [output for output in outputs if isinstance(output, EarlySignal)]
    return signals, [output for output in outputs if isinstance(output, Example)]


@given(histories(max_gap_days=60), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_every_row_has_one_and_it_is_true(events: list[ev.Event], seed: int) -> None:
    """Back means an active event within a quarter of the horizon; also if events are up to 1 h late."""
    times = active_times(events, RULES)
    signals, examples = both(process_events(Person("u"), shuffle_events(events, seed), NIGHTS, end_of(events))[1])
    assert [(signal.time, signal.back) for signal in signals] == [(example.time, example.back) for example in examples]
    assert all(signal.treated <= example.treated for signal, example in zip(signals, examples, strict=True))
    for signal in signals:
        assert signal.until == signal.time + RULES.horizon / 4
        assert signal.back == any(signal.time < time <= signal.until for time in times)


@given(histories(max_gap_days=60))
@settings(max_examples=60, deadline=None)
def test_it_is_published_when_it_is_known(events: list[ev.Event]) -> None:
    """At a quarter of the horizon plus the lateness, whether the person came back or not."""
    person = Person("u")
    for event in [*events, None]:
        until = event.time if event is not None else end_of(events)
        while (due := next_due(person, RULES)) < until:
            transition = retention.wake(person, due, NIGHTS)
            person, outputs = transition.person, transition.outputs
            assert [signal_due(signal.time, RULES) for signal in both(list(outputs))[0]] in ([], [due])
            assert next_due(person, RULES) > due
        if event is not None:
            transition = retention.step(person, event, NIGHTS)
            person, outputs = transition.person, transition.outputs
            assert both(list(outputs))[0] == []


def test_it_has_the_raw_probability() -> None:
    """That is the probability before drift correction. The pending row has the published one."""
    ledger = record_score(
        Ledger(), Score(make_model().mean.astype("float32"), 0.4, 0.3), NOON, make_context(), keep_row=True
    )
    (signal,) = early_signals(Person("u", ledger=ledger), NOON, NOON + 4 * DAY, RULES)
    assert (signal.probability, ledger.pending_labels[0].probability, signal.back) == (0.3, 0.4, False)
    due = NOON + 3.5 * DAY + HOUR
    person = Person("u", ledger=ledger)
    spans = ((NOON, due - 1), (due - 1, due), (due, due + DAY))
    assert [len(early_signals(person, *span, RULES)) for span in spans] == [0, 1, 0]
