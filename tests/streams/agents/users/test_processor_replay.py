"""The log processor is exact: crashes anywhere and repeated reads give the same users and outputs."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.person.activity import DAY
from models.person.person import Person
from models.person.rules import Rules
from models.schema import event_codec
from models.schema import events as ev
from tests.models.people import HOUR, histories, process_events, shuffle_events
from tests.streams.doubles import Record
from tests.streams.processor_harness import (
    DEFAULT_CONTEXT,
    ProcessorHarness,
    SentOutput,
    decode_all,
    outputs_of,
    record,
    run_with_crashes,
    unerased_keys,
)

NAMES = ("Ada", "Bob", "Cyd")
HISTORIES = st.tuples(*(histories(max_events=10, max_gap_days=20, user=name) for name in NAMES))
CRASHES = st.lists(st.integers(0, 60), max_size=4)
SEEDS = st.integers(0, 2**32)
UNHURRIED = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def log_of(histories_of: tuple[list[ev.Event], ...], seed: int, repeats: bool = False) -> list[Record]:
    """One log of all users' events, slightly out of order, with ticks, and a long silence at the end.

    Two of the three users come through ingest, so that their records have an origin. With `repeats`, ingest has
    written some of these twice.
    """
    dice = Random(seed)
    events: list[ev.Event | ev.Tick] = list(
        shuffle_events([event for history in histories_of for event in history], seed, Rules().lateness * 0.99)
    )
    end = max(event.time for event in events)
    for _ in range(5):
        at = dice.randrange(len(events) + 1)
        events.insert(at, ev.Tick(time=max((event.time for event in events[:at]), default=0.0)))
    events += [ev.Tick(time=end + days * DAY) for days in (1, 20, 60)]
    log: list[Record] = []
    for number, event in enumerate(events):
        through_ingest = isinstance(event, ev.Event) and event.user_id != "Ada"
        origin = ("in", 1 + (number % 2 if isinstance(event, ev.Event) else 0), number) if through_ingest else None
        log.append(record(event, len(log), origin))
        if repeats and origin and dice.random() < 0.3:
            log.append(record(event, len(log), origin))
    return log


def persons_of(harness: ProcessorHarness) -> dict[bytes, Person]:
    return {key: envelope.person for key, envelope in harness.envelopes.items()}


@given(HISTORIES, CRASHES, SEEDS)
@UNHURRIED
def test_crashes_change_nothing(histories_of: tuple[list[ev.Event], ...], crashes: list[int], seed: int) -> None:
    """Final users and outputs equal those of a run without crashes: same ids and contents, none lost."""
    log = log_of(histories_of, seed, repeats=True)
    undisturbed, once = run_with_crashes(log, [], seed + 1)
    crashed, with_crashes = run_with_crashes(log, crashes, seed + 2)
    assert crashed.envelopes == undisturbed.envelopes
    assert set(outputs_of(with_crashes)) == set(outputs_of(once))
    assert len(outputs_of(once)) == len(set(outputs_of(once)))


@given(HISTORIES, SEEDS)
@UNHURRIED
def test_the_result_equals_stepping_each_user_alone(histories_of: tuple[list[ev.Event], ...], seed: int) -> None:
    """The state of each user does not depend on the events of the others."""
    harness, _ = run_with_crashes(log_of(histories_of, seed), [], seed)
    end = max(event.time for history in histories_of for event in history) + 60 * DAY - HOUR
    in_log = [event_codec.decode(each.value or b"") for each in log_of(histories_of, seed)]
    for name in NAMES:
        events = [event for event in in_log if isinstance(event, ev.Event) and event.user_id == name]
        person, _ = process_events(Person(name), events, DEFAULT_CONTEXT, end + 1e-3)
        assert persons_of(harness)[name.encode()] == person


@given(HISTORIES, SEEDS, st.integers(0, 40), st.booleans())
@UNHURRIED
def test_repeating_the_end_of_the_log_changes_nothing(
    histories_of: tuple[list[ev.Event], ...], seed: int, back: int, restarted: bool
) -> None:
    """The records are duplicates for the same worker and for the next one. No output is sent twice."""
    log = log_of(histories_of, seed)
    harness, durable = run_with_crashes(log, [], seed)
    before, sent_before = harness.envelopes, len(outputs_of(durable))
    again = ProcessorHarness([(put.key or b"", put.value) for put in durable if put.topic == "people-changelog"])
    again = again if restarted else harness
    again.process(*log[max(0, len(log) - back) :])
    again.run_timers()
    again.commit_all()
    assert again.envelopes == before
    assert len(again.outputs) == (0 if restarted else sent_before)


@given(HISTORIES, SEEDS)
@UNHURRIED
def test_timers_run_early_or_late_give_the_same(histories_of: tuple[list[ev.Event], ...], seed: int) -> None:
    """They run after every record, or only before a later event and at the end."""
    log = log_of(histories_of, seed)
    early, late = ProcessorHarness(), ProcessorHarness()
    for each in log:
        early.process(each)
        early.run_timers()
    late.process(*log)
    late.run_timers()
    for harness in (early, late):
        harness.commit_all()
    assert early.envelopes == late.envelopes
    assert sorted_by_id(early.outputs) == sorted_by_id(late.outputs)


def sorted_by_id(outputs: list[SentOutput]) -> list[SentOutput]:
    return sorted(outputs, key=lambda output: (output.topic, output.id))


@given(HISTORIES, SEEDS, CRASHES)
@UNHURRIED
def test_an_erased_user_stays_erased(histories_of: tuple[list[ev.Event], ...], seed: int, crashes: list[int]) -> None:
    """After any crashes and repeated reads, no stored value contains the user id."""
    end = max(event.time for history in histories_of for event in history) + 2 * HOUR
    log = log_of(histories_of, seed)
    asked = [ev.ErasureRequested(id=f"gone {name}", user_id=name, time=end) for name in NAMES]
    log += [record(event, len(log) + n) for n, event in enumerate(asked)]
    log = [each for each in log if b'"tick"' not in (each.value or b"")]
    log = [each._replace(offset=offset) for offset, each in enumerate(log)]
    harness, durable = run_with_crashes(log, crashes, seed)
    harness.process(*log)
    harness.commit_all()
    assert unerased_keys(harness.users.cold) == []
    assert len(harness.envelopes) == len(NAMES)
    last = decode_all(harness.users.cold)
    assert all(envelope.outbox == () and envelope.person.id == "" for envelope in last.values())
    assert not any(name.encode() in value for name in NAMES for value in harness.users.cold.values())
    deleted = {each.id for each in outputs_of(durable) if each.topic == "user-profiles" and each.value is None}
    assert deleted == set(NAMES)
