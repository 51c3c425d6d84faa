"""The fold: what is applied, what is known already, what is due, and what is not applied."""

from collections import deque

import msgspec
import pytest

from models.person.activity import DAY
from models.person.rules import Rules
from models.schema import event_codec
from models.schema import events as ev
from streams.agents.users.processor import SCORE_BATCH, WRITE_BATCH
from streams.delivery.dead_letters import parse_dead_letter
from streams.kafka import topics
from tests.models.people import HOUR, NOON, make_campaign, make_context, make_model
from tests.streams.doubles import CountedBudget, Record
from tests.streams.processor_harness import CHANGELOG, ProcessorHarness, record

RISKY = make_context(model=make_model(0.0, 3.0))
"""Everybody is at high risk: the first event says a decision, an alert, a trigger and a profile."""
CALM = make_context(model=make_model(0.0, -9.0))


def login(number: int, user: str = "Ada", at: float = NOON) -> ev.Login:
    return ev.Login(id=f"{user}-{number}", user_id=user, time=at + number)


def reasons(station: ProcessorHarness) -> list[str]:
    """Why records were buried, in order."""
    letters = [Record(put.topic, 0, 0, 0, put.key, put.value, tuple(put.headers or ())) for put in station.sink.all]
    return [parse_dead_letter(letter).reason for letter in letters if letter.topic == topics.DEAD_LETTERS]


@pytest.mark.parametrize("event", [login(0), ev.Tick(time=NOON)])
def test_the_far_future_is_buried_and_never_moves_the_clock(event: ev.AnyEvent) -> None:
    """An event or tick beyond the skew over the log's time; exactly at the skew it is taken."""
    station = ProcessorHarness()
    station.process(record(event, 0, timestamp=int((NOON - 300.001) * 1_000)))
    assert (reasons(station), station.clock.now) == (["far_future"], float("-inf"))
    station.process(record(event, 1, timestamp=int((NOON - 300) * 1_000)))
    assert (len(reasons(station)), station.clock.now) == (1, NOON)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": b"Eve"}, "wrong_key"),
        ({"key": None}, "wrong_key"),
        ({"value": b"{}"}, "missing_field"),
        ({"value": None}, "malformed"),
        ({"value": event_codec.encode(ev.CourseWithdrawn(id="1", course_id="c", time=NOON))}, "not_a_person"),
    ],
)
def test_what_is_not_of_its_place_is_buried_and_changes_nothing(changes: dict[str, bytes], reason: str) -> None:
    """Neither the clock nor anybody; the record behind it is applied."""
    station = ProcessorHarness(context=CALM)
    station.process(record(login(0), 0, **changes))
    assert (reasons(station), station.clock.now, station.users.hot) == ([reason], float("-inf"), {})
    station.process(record(login(0), 1))
    assert station.count("encore_events_total", "applied") == 1


def test_a_person_in_another_partition_is_buried() -> None:
    """Another client's hash cannot split a person in two."""
    home = topics.partition_of(b"Ada", 4)
    stations = [ProcessorHarness(partition=partition, of=4, context=CALM) for partition in range(4)]
    for partition, station in enumerate(stations):
        station.process(record(login(0), 0, partition=partition))
        assert reasons(station) == ([] if partition == home else ["wrong_partition"])
        assert bool(station.users.hot) == (partition == home)


def test_an_event_whose_id_was_applied_is_known() -> None:
    """At another offset, too."""
    station = ProcessorHarness(context=CALM)
    station.process(record(login(0), 0), record(login(0), 1), record(login(1), 2))
    assert station.users.get(b"Ada").person.activity.events == 2
    assert station.count("encore_duplicates_total", "id") == 1


def test_what_ingest_repeats_is_known_by_its_origin() -> None:
    """Per source partition: at or before the highest; other partitions have offsets of their own."""
    station = ProcessorHarness(context=CALM)
    origins = [("in", 0, 5), ("in", 0, 6), ("in", 0, 5), ("in", 1, 5), ("in", 0, 6), ("other", 0, 1), ("in", 0, 7)]
    station.process(*(record(login(n), n, origin) for n, origin in enumerate(origins)))
    envelope = station.users.get(b"Ada")
    assert (envelope.person.activity.events, envelope.offset) == (5, 6)
    assert envelope.origins == {"in/0": 7, "in/1": 5, "other/0": 1}
    assert station.count("encore_duplicates_total", "origin") == 2
    station.commit_all()
    again = ProcessorHarness(station.changelog, context=CALM)
    again.process(record(login(9), 7, ("in", 0, 7)))
    assert again.count("encore_duplicates_total", "origin") == 1


@pytest.mark.parametrize("header", [("origin", b"in/0/1"), ("encore-origin", b"shop/3/1")])
def test_a_header_of_somebody_else_makes_no_repeats(header: tuple[str, bytes]) -> None:
    """A direct writer may say where things come from in its own way: that is no word of ingest's."""
    station = ProcessorHarness(context=CALM)
    station.process(*(record(login(n), n, headers=(header,)) for n in range(10)))
    assert station.count("encore_events_total", "applied") == 10
    assert station.users.get(b"Ada").origins == {}


def test_catching_up_at_night_sends_nobody_the_coupons_of_the_afternoon() -> None:
    """What was decided by day is said to be undelivered, from the beginning of the quiet hours on."""
    state = make_context(model=make_model(0.0, 3.0), campaign=make_campaign(quiet_from=22.0, quiet_until=8.0))
    for hour, sent in ((21.9, 1), (22.1, 0), (27.0, 0)):
        station = ProcessorHarness(context=state)
        station.clock.at = NOON + (hour - 12) * HOUR
        station.process(record(login(0, at=NOON + 3 * HOUR), 0))
        station.commit_all()
        assert (len(station.sink.on(topics.TRIGGERS)), len(station.sink.on(topics.ALERTS))) == (sent, sent)
        assert station.count("encore_undelivered_total") == 2 * (1 - sent)


def test_a_record_that_is_in_the_state_is_written_again() -> None:
    """Whoever recovers may hold more than the changelog says it holds: the value becomes dirty, and nothing else."""
    first = ProcessorHarness(context=CALM)
    first.process(record(login(0), 3), record(login(1), 7))
    first.commit_all()
    second = ProcessorHarness(first.changelog, context=CALM)
    second.process(record(login(0), 3), record(login(1), 7))
    assert second.users.dirty == {b"Ada"}
    assert second.count("encore_duplicates_total", "offset") == 2
    second.commit_all()
    assert second.envelopes == first.envelopes


def test_outputs_that_nobody_knows_to_have_arrived_leave_before_new_events() -> None:
    """Recovery delivers the outboxes; a record that is given again delivers what is still there, once."""
    first = ProcessorHarness(context=RISKY)
    first.process(record(login(0), 0))
    first.sink.acknowledge(first.sink.open(CHANGELOG))
    waiting = {each.id for each in first.outputs}
    assert len(waiting) == 4
    second = ProcessorHarness(first.changelog, context=RISKY)
    assert {each.id for each in second.outputs} == waiting
    second.process(record(login(0), 0))
    second.commit_all()
    assert len(second.outputs) == 4
    assert second.users.get(b"Ada").outbox == ()


def test_what_is_urgent_is_written_through_and_the_rest_waits_for_the_commit() -> None:
    """Alerts, triggers and decisions do not wait; state leads."""
    station = ProcessorHarness(context=RISKY)
    station.process(record(login(0, "Ada"), 0), record(ev.Search(id="s", user_id="Bob", time=NOON - 9 * DAY), 1))
    assert [put.key for put in station.sink.on(CHANGELOG)][1:] == [b"Ada", b"Bob"]
    station = ProcessorHarness(context=CALM)
    station.process(record(login(0), 0))
    assert (station.outputs, station.users.dirty, len(station.sink.on(CHANGELOG))) == ([], {b"Ada"}, 1)
    station.processor.flush()
    assert [put.key for put in station.sink.on(CHANGELOG)][1:] == [b"Ada"]
    assert station.outputs == []
    station.sink.settle()
    assert [each.topic for each in station.outputs] == [topics.PROFILES]


def test_what_follows_from_the_log_alone_is_with_kafka_before_the_state_that_holds_it() -> None:
    """What the person's course hears, though the same event says something urgent; it stands in nobody's outbox."""
    station = ProcessorHarness(context=RISKY)
    station.processor.process([record(ev.CourseView(id="view", user_id="Ada", time=NOON, course_id="c"), 0)])
    said = [put.topic for put in station.sink.all[1:]]
    assert said == [topics.INTERACTIONS, CHANGELOG]
    waiting = {parcel.topic for parcel in station.users.get(b"Ada").outbox}
    assert topics.ALERTS in waiting
    assert topics.INTERACTIONS not in waiting
    station.commit_all()
    assert station.count("encore_outputs_total", topics.INTERACTIONS) == 1


def test_due_work_waits_for_the_clock_to_pass_by_the_lateness() -> None:
    """A tick a lateness after the grid time does it, one before that does not; whoever else is active, does too."""
    station, rules = ProcessorHarness(context=CALM), Rules()
    station.process(record(login(0), 0))
    due = station.users.get(b"Ada").person.ledger.grid
    station.process(record(ev.Tick(time=due + rules.lateness - 1), 1))
    station.run_timers()
    assert station.users.get(b"Ada").person.ledger.done_until < due
    station.process(record(login(0, "Bob", due + rules.lateness), 2))
    station.run_timers()
    assert station.users.get(b"Ada").person.ledger.done_until == due
    assert station.count("encore_ticks_total") == 1


def test_an_event_at_the_very_time_of_due_work_comes_before_it() -> None:
    """As of a moment means with all that happened up to it; the event is not late."""
    station = ProcessorHarness(context=CALM)
    station.process(record(login(0), 0))
    due = station.users.get(b"Ada").person.ledger.grid
    at_due, later = login(0, at=due), login(0, at=due + 0.001)
    station.process(record(msgspec.structs.replace(at_due, id="at"), 1))
    assert station.users.get(b"Ada").person.ledger.done_until < due
    station.process(record(msgspec.structs.replace(later, id="later"), 2))
    assert station.users.get(b"Ada").person.ledger.done_until == due
    assert station.count("encore_events_total", "applied") == 3


def test_due_work_is_drained_in_slices() -> None:
    """A slice does at least as many people as are scored at once, and says whether there may be more."""
    station, crowd = ProcessorHarness(context=CALM), 2 * SCORE_BATCH + 1
    station.process(*(record(login(0, f"u{n}"), n) for n in range(crowd)))
    station.process(record(ev.Tick(time=NOON + DAY + 2 * HOUR), crowd))
    left = [station.processor.run_timers(CountedBudget(1)) for _ in range(4)]
    assert left == [True, True, True, False]
    assert all(station.users.get(b"u%d" % n).person.ledger.done_until > NOON for n in range(crowd))


def test_a_busy_log_is_one_with_many_events_in_a_day() -> None:
    """So that silence in it means something; recovery finds that in the people."""
    station = ProcessorHarness(context=CALM)
    assert (station.processor.reader.busy, station.processor.reader.last_event) == (False, 0.0)
    station.process(*(record(login(n, f"u{n}"), n) for n in range(23)))
    assert not station.processor.reader.busy
    station.process(record(login(23, "u23"), 23))
    assert (station.processor.reader.busy, station.processor.reader.last_event) == (True, NOON + 23)
    station.commit_all()
    again = ProcessorHarness(station.changelog, context=CALM)
    assert (again.processor.reader.busy, again.processor.reader.last_event) == (True, NOON + 23)
    slow = ProcessorHarness(context=CALM)
    slow.process(*(record(login(n, f"u{n % 3}", at=NOON + n * HOUR * 2), n) for n in range(24)))
    assert not slow.processor.reader.busy
    slow.process(*(record(login(23, "u2", at=NOON + 23 * HOUR * 2), 24 + n, ("in", 0, 5)) for n in range(30)))
    assert slow.count("encore_duplicates_total") == 30
    assert not slow.processor.reader.busy


def test_due_work_alone_keeps_few_people_decoded() -> None:
    """A night without events scores everybody; what was written is let go of, though no record comes."""
    station = ProcessorHarness(context=CALM, cached_users=2)
    station.process(*(record(login(n, f"u{n}"), n) for n in range(9)))
    station.commit_all()
    station.clock.advance(NOON + 2 * DAY)
    station.run_timers()
    assert len(station.users.hot) == len(station.users.dirty) == 9
    station.processor.flush()
    assert len(station.users.hot) == 2


def test_people_beyond_the_limit_cool_down() -> None:
    """Once written; memory does not grow with everybody who was ever active."""
    station = ProcessorHarness(context=CALM, cached_users=2)
    for n in range(9):
        station.process(record(login(n, f"u{n}"), n))
        station.commit_all()
    station.process()
    assert len(station.users.hot) == 2
    assert len(station.envelopes) == 9


def test_late_events_are_counted_as_such() -> None:
    """Older than what was done already; nothing is said of them."""
    station = ProcessorHarness(context=CALM)
    station.process(record(login(0), 0), record(ev.Tick(time=NOON + 3 * DAY), 1))
    station.run_timers()
    station.process(record(ev.Login(id="late", user_id="Ada", time=NOON + HOUR), 2))
    assert station.count("encore_events_total", "late") == 1
    assert station.accounted_records() == 3


def test_people_are_written_ahead_a_few_at_a_time() -> None:
    """Each once, as long as the slice lasts; whoever was written meanwhile is not written again."""
    station, users = ProcessorHarness(context=CALM), [f"user {number:03}" for number in range(WRITE_BATCH + 2)]
    station.process(*(record(login(0, user), offset) for offset, user in enumerate(users)))
    station.sink.settle()
    before, keys = len(station.sink.on(CHANGELOG)), [user.encode() for user in users]
    left = deque(sorted(station.users.dirty))
    station.processor.write_some(left, CountedBudget(2))
    assert [put.key for put in station.sink.on(CHANGELOG)][before:] == keys[:WRITE_BATCH]
    assert list(left) == keys[WRITE_BATCH:]
    station.processor.outbox.write_then_send((keys[WRITE_BATCH],))
    station.processor.write_some(left, CountedBudget(9))
    assert [put.key for put in station.sink.on(CHANGELOG)][before:] == keys
    assert not station.users.dirty
