"""The fold is exact: whoever crashes, wherever, and reads again, ends with the same people and the same outputs."""

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
CROWDS = st.tuples(*(histories(max_events=10, max_gap_days=20, user=name) for name in NAMES))
CRASHES = st.lists(st.integers(0, 60), max_size=4)
SEEDS = st.integers(0, 2**32)
UNHURRIED = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def log_of(crowd: tuple[list[ev.Event], ...], seed: int, repeats: bool = False) -> list[Record]:
    """One log of everybody's events, a little out of order, with ticks, and a long silence in the end.

    Half the people come through ingest, so that their records have an origin; with `repeats`, ingest wrote some of
    these twice.
    """
    dice = Random(seed)
    events: list[ev.Event | ev.Tick] = list(
        shuffle_events([event for told in crowd for event in told], seed, Rules().lateness * 0.99)
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


def people_of(station: ProcessorHarness) -> dict[bytes, Person]:
    return {key: envelope.person for key, envelope in station.envelopes.items()}


@given(CROWDS, CRASHES, SEEDS)
@UNHURRIED
def test_crashes_change_nothing(crowd: tuple[list[ev.Event], ...], crashes: list[int], seed: int) -> None:
    """Final people are those of a run that nothing disturbed, outputs too: same ids, same contents, none lost."""
    log = log_of(crowd, seed, repeats=True)
    calm, once = run_with_crashes(log, [], seed + 1)
    survivor, told = run_with_crashes(log, crashes, seed + 2)
    assert survivor.envelopes == calm.envelopes
    assert set(outputs_of(told)) == set(outputs_of(once))
    assert len(outputs_of(once)) == len(set(outputs_of(once)))


@given(CROWDS, SEEDS)
@UNHURRIED
def test_the_fold_is_what_the_models_say(crowd: tuple[list[ev.Event], ...], seed: int) -> None:
    """Each person stands as if their events had been stepped through alone, whatever the others did meanwhile."""
    station, _ = run_with_crashes(log_of(crowd, seed), [], seed)
    end = max(event.time for told in crowd for event in told) + 60 * DAY - HOUR
    in_log = [event_codec.decode(each.value or b"") for each in log_of(crowd, seed)]
    for name in NAMES:
        told = [event for event in in_log if isinstance(event, ev.Event) and event.user_id == name]
        person, _ = process_events(Person(name), told, DEFAULT_CONTEXT, end + 1e-3)
        assert people_of(station)[name.encode()] == person


@given(CROWDS, SEEDS, st.integers(0, 40), st.booleans())
@UNHURRIED
def test_a_suffix_of_the_log_again_changes_nothing(
    crowd: tuple[list[ev.Event], ...], seed: int, back: int, restarted: bool
) -> None:
    """Records that are in the state are known, at the same worker and at the next one; nothing is said twice."""
    log = log_of(crowd, seed)
    station, durable = run_with_crashes(log, [], seed)
    before, heard = station.envelopes, len(outputs_of(durable))
    again = ProcessorHarness([(put.key or b"", put.value) for put in durable if put.topic == "people-changelog"])
    again = again if restarted else station
    again.process(*log[max(0, len(log) - back) :])
    again.run_timers()
    again.commit_all()
    assert again.envelopes == before
    assert len(again.outputs) == (0 if restarted else heard)


@given(CROWDS, SEEDS)
@UNHURRIED
def test_due_work_early_or_late_is_the_same(crowd: tuple[list[ev.Event], ...], seed: int) -> None:
    """Done after every record in the background, or only when an event or the end asks for it."""
    log = log_of(crowd, seed)
    early, late = ProcessorHarness(), ProcessorHarness()
    for each in log:
        early.process(each)
        early.run_timers()
    late.process(*log)
    late.run_timers()
    for station in (early, late):
        station.commit_all()
    assert early.envelopes == late.envelopes
    assert sorted_by_id(early.outputs) == sorted_by_id(late.outputs)


def sorted_by_id(outputs: list[SentOutput]) -> list[SentOutput]:
    return sorted(outputs, key=lambda output: (output.topic, output.id))


@given(CROWDS, SEEDS, CRASHES)
@UNHURRIED
def test_who_is_erased_stays_erased(crowd: tuple[list[ev.Event], ...], seed: int, crashes: list[int]) -> None:
    """Whatever crashes on the way and whatever is read again: no name stands in what is left, nobody rises."""
    end = max(event.time for told in crowd for event in told) + 2 * HOUR
    log = log_of(crowd, seed)
    asked = [ev.ErasureRequested(id=f"gone {name}", user_id=name, time=end) for name in NAMES]
    log += [record(event, len(log) + n) for n, event in enumerate(asked)]
    log = [each for each in log if b'"tick"' not in (each.value or b"")]
    log = [each._replace(offset=offset) for offset, each in enumerate(log)]
    station, durable = run_with_crashes(log, crashes, seed)
    station.process(*log)
    station.commit_all()
    assert unerased_keys(station.users.cold) == []
    assert len(station.envelopes) == len(NAMES)
    last = decode_all(station.users.cold)
    assert all(envelope.outbox == () and envelope.person.id == "" for envelope in last.values())
    assert not any(name.encode() in value for name in NAMES for value in station.users.cold.values())
    taken_back = {each.id for each in outputs_of(durable) if each.topic == "user-profiles" and each.value is None}
    assert taken_back == set(NAMES)
