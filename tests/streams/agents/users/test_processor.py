"""The log processor: applied records, duplicates, timers, and records that are not applied."""

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
"""All users are at high risk: the first event gives a decision, an alert, a trigger and a profile."""
CALM = make_context(model=make_model(0.0, -9.0))


def login(number: int, user: str = "Ada", at: float = NOON) -> ev.Login:
    return ev.Login(id=f"{user}-{number}", user_id=user, time=at + number)


def reasons(harness: ProcessorHarness) -> list[str]:
    """The reasons of the dead letters, in order."""
    letters = [Record(put.topic, 0, 0, 0, put.key, put.value, tuple(put.headers or ())) for put in harness.sink.all]
    return [parse_dead_letter(letter).reason for letter in letters if letter.topic == topics.DEAD_LETTERS]


@pytest.mark.parametrize("event", [login(0), ev.Tick(time=NOON)])
def test_an_event_from_the_future_is_a_dead_letter_and_does_not_move_the_clock(event: ev.AnyEvent) -> None:
    """An event or tick that is ahead of the log's time by more than the skew. Exactly at the skew it is accepted."""
    harness = ProcessorHarness()
    harness.process(record(event, 0, timestamp=int((NOON - 300.001) * 1_000)))
    assert (reasons(harness), harness.clock.now) == (["far_future"], float("-inf"))
    harness.process(record(event, 1, timestamp=int((NOON - 300) * 1_000)))
    assert (len(reasons(harness)), harness.clock.now) == (1, NOON)


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
def test_an_invalid_record_is_a_dead_letter_and_changes_nothing(changes: dict[str, bytes], reason: str) -> None:
    """Neither the clock nor a user. The next record is applied."""
    harness = ProcessorHarness(context=CALM)
    harness.process(record(login(0), 0, **changes))
    assert (reasons(harness), harness.clock.now, harness.users.hot) == ([reason], float("-inf"), {})
    harness.process(record(login(0), 1))
    assert harness.count("encore_events_total", "applied") == 1


def test_a_record_in_the_wrong_partition_is_a_dead_letter() -> None:
    """The hash function of another client cannot split the state of a user."""
    home = topics.partition_of(b"Ada", 4)
    harnesses = [ProcessorHarness(partition=partition, of=4, context=CALM) for partition in range(4)]
    for partition, harness in enumerate(harnesses):
        harness.process(record(login(0), 0, partition=partition))
        assert reasons(harness) == ([] if partition == home else ["wrong_partition"])
        assert bool(harness.users.hot) == (partition == home)


def test_an_event_with_a_known_id_is_a_duplicate() -> None:
    """Also at another offset."""
    harness = ProcessorHarness(context=CALM)
    harness.process(record(login(0), 0), record(login(0), 1), record(login(1), 2))
    assert harness.users.get(b"Ada").person.activity.events == 2
    assert harness.count("encore_duplicates_total", "id") == 1


def test_a_repeat_of_ingest_is_known_by_its_origin() -> None:
    """Per source partition: an offset up to the highest one is a duplicate."""
    harness = ProcessorHarness(context=CALM)
    origins = [("in", 0, 5), ("in", 0, 6), ("in", 0, 5), ("in", 1, 5), ("in", 0, 6), ("other", 0, 1), ("in", 0, 7)]
    harness.process(*(record(login(n), n, origin) for n, origin in enumerate(origins)))
    envelope = harness.users.get(b"Ada")
    assert (envelope.person.activity.events, envelope.offset) == (5, 6)
    assert envelope.origins == {"in/0": 7, "in/1": 5, "other/0": 1}
    assert harness.count("encore_duplicates_total", "origin") == 2
    harness.commit_all()
    recovered = ProcessorHarness(harness.changelog, context=CALM)
    recovered.process(record(login(9), 7, ("in", 0, 7)))
    assert recovered.count("encore_duplicates_total", "origin") == 1


@pytest.mark.parametrize("header", [("origin", b"in/0/1"), ("encore-origin", b"shop/3/1")])
def test_a_foreign_origin_header_makes_no_duplicates(header: tuple[str, bytes]) -> None:
    """A program that writes to the log directly may use similar headers. They are ignored."""
    harness = ProcessorHarness(context=CALM)
    harness.process(*(record(login(n), n, headers=(header,)) for n in range(10)))
    assert harness.count("encore_events_total", "applied") == 10
    assert harness.users.get(b"Ada").origins == {}


def test_coupons_expire_at_the_start_of_the_quiet_hours() -> None:
    """A worker that catches up at night reports the decisions of the day as undelivered."""
    state = make_context(model=make_model(0.0, 3.0), campaign=make_campaign(quiet_from=22.0, quiet_until=8.0))
    for hour, sent in ((21.9, 1), (22.1, 0), (27.0, 0)):
        harness = ProcessorHarness(context=state)
        harness.clock.at = NOON + (hour - 12) * HOUR
        harness.process(record(login(0, at=NOON + 3 * HOUR), 0))
        harness.commit_all()
        assert (len(harness.sink.on(topics.TRIGGERS)), len(harness.sink.on(topics.ALERTS))) == (sent, sent)
        assert harness.count("encore_undelivered_total") == 2 * (1 - sent)


def test_the_state_of_a_duplicate_record_is_written_again() -> None:
    """The recovered state may be ahead of the changelog. The value becomes dirty, and nothing else happens."""
    first = ProcessorHarness(context=CALM)
    first.process(record(login(0), 3), record(login(1), 7))
    first.commit_all()
    second = ProcessorHarness(first.changelog, context=CALM)
    second.process(record(login(0), 3), record(login(1), 7))
    assert second.users.dirty == {b"Ada"}
    assert second.count("encore_duplicates_total", "offset") == 2
    second.commit_all()
    assert second.envelopes == first.envelopes


def test_outputs_without_acknowledgement_are_sent_after_a_recovery() -> None:
    """Recovery sends the outboxes. A duplicate record sends what is still there, once."""
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


def test_urgent_outputs_are_written_at_once_and_others_with_the_commit() -> None:
    """Alerts, triggers and decisions do not wait. The state is written first."""
    harness = ProcessorHarness(context=RISKY)
    harness.process(record(login(0, "Ada"), 0), record(ev.Search(id="s", user_id="Bob", time=NOON - 9 * DAY), 1))
    assert [put.key for put in harness.sink.on(CHANGELOG)][1:] == [b"Ada", b"Bob"]
    harness = ProcessorHarness(context=CALM)
    harness.process(record(login(0), 0))
    assert (harness.outputs, harness.users.dirty, len(harness.sink.on(CHANGELOG))) == ([], {b"Ada"}, 1)
    harness.processor.flush()
    assert [put.key for put in harness.sink.on(CHANGELOG)][1:] == [b"Ada"]
    assert harness.outputs == []
    harness.sink.settle()
    assert [each.topic for each in harness.outputs] == [topics.PROFILES]


def test_a_reproducible_output_is_sent_before_its_state() -> None:
    """The interaction for the course, even if the same event has an urgent output. It is in no outbox."""
    harness = ProcessorHarness(context=RISKY)
    harness.processor.process([record(ev.CourseView(id="view", user_id="Ada", time=NOON, course_id="c"), 0)])
    sent = [put.topic for put in harness.sink.all[1:]]
    assert sent == [topics.INTERACTIONS, CHANGELOG]
    waiting = {message.topic for message in harness.users.get(b"Ada").outbox}
    assert topics.ALERTS in waiting
    assert topics.INTERACTIONS not in waiting
    harness.commit_all()
    assert harness.count("encore_outputs_total", topics.INTERACTIONS) == 1


def test_a_timer_waits_for_the_lateness() -> None:
    """A tick or another user's event at the grid time plus the lateness runs it. An earlier tick does not."""
    harness, rules = ProcessorHarness(context=CALM), Rules()
    harness.process(record(login(0), 0))
    due = harness.users.get(b"Ada").person.ledger.grid
    harness.process(record(ev.Tick(time=due + rules.lateness - 1), 1))
    harness.run_timers()
    assert harness.users.get(b"Ada").person.ledger.done_until < due
    harness.process(record(login(0, "Bob", due + rules.lateness), 2))
    harness.run_timers()
    assert harness.users.get(b"Ada").person.ledger.done_until == due
    assert harness.count("encore_ticks_total") == 1


def test_an_event_at_the_time_of_a_timer_comes_before_it() -> None:
    """A timer includes all events up to its time. The event is not late."""
    harness = ProcessorHarness(context=CALM)
    harness.process(record(login(0), 0))
    due = harness.users.get(b"Ada").person.ledger.grid
    at_due, later = login(0, at=due), login(0, at=due + 0.001)
    harness.process(record(msgspec.structs.replace(at_due, id="at"), 1))
    assert harness.users.get(b"Ada").person.ledger.done_until < due
    harness.process(record(msgspec.structs.replace(later, id="later"), 2))
    assert harness.users.get(b"Ada").person.ledger.done_until == due
    assert harness.count("encore_events_total", "applied") == 3


def test_timers_run_in_slices() -> None:
    """A slice runs at least one batch of users, and returns whether more may be due."""
    harness, count = ProcessorHarness(context=CALM), 2 * SCORE_BATCH + 1
    harness.process(*(record(login(0, f"u{n}"), n) for n in range(count)))
    harness.process(record(ev.Tick(time=NOON + DAY + 2 * HOUR), count))
    left = [harness.processor.run_timers(CountedBudget(1)) for _ in range(4)]
    assert left == [True, True, True, False]
    assert all(harness.users.get(b"u%d" % n).person.ledger.done_until > NOON for n in range(count))


def test_a_log_is_busy_with_many_events_in_a_day() -> None:
    """After a recovery this is known from the users. Duplicates do not count."""
    harness = ProcessorHarness(context=CALM)
    assert (harness.processor.reader.busy, harness.processor.reader.last_event) == (False, 0.0)
    harness.process(*(record(login(n, f"u{n}"), n) for n in range(23)))
    assert not harness.processor.reader.busy
    harness.process(record(login(23, "u23"), 23))
    assert (harness.processor.reader.busy, harness.processor.reader.last_event) == (True, NOON + 23)
    harness.commit_all()
    recovered = ProcessorHarness(harness.changelog, context=CALM)
    assert (recovered.processor.reader.busy, recovered.processor.reader.last_event) == (True, NOON + 23)
    slow = ProcessorHarness(context=CALM)
    slow.process(*(record(login(n, f"u{n % 3}", at=NOON + n * HOUR * 2), n) for n in range(24)))
    assert not slow.processor.reader.busy
    slow.process(*(record(login(23, "u2", at=NOON + 23 * HOUR * 2), 24 + n, ("in", 0, 5)) for n in range(30)))
    assert slow.count("encore_duplicates_total") == 30
    assert not slow.processor.reader.busy


def test_timers_alone_do_not_fill_the_cache() -> None:
    """A night without events scores all users. Written users are evicted, although no record comes."""
    harness = ProcessorHarness(context=CALM, cached_users=2)
    harness.process(*(record(login(n, f"u{n}"), n) for n in range(9)))
    harness.commit_all()
    harness.clock.advance(NOON + 2 * DAY)
    harness.run_timers()
    assert len(harness.users.hot) == len(harness.users.dirty) == 9
    harness.processor.flush()
    assert len(harness.users.hot) == 2


def test_users_beyond_the_cache_limit_are_evicted() -> None:
    """After they are written. Memory does not grow with the number of all users."""
    harness = ProcessorHarness(context=CALM, cached_users=2)
    for n in range(9):
        harness.process(record(login(n, f"u{n}"), n))
        harness.commit_all()
    harness.process()
    assert len(harness.users.hot) == 2
    assert len(harness.envelopes) == 9


def test_late_events_are_counted_as_such() -> None:
    """An event older than a timer that has run."""
    harness = ProcessorHarness(context=CALM)
    harness.process(record(login(0), 0), record(ev.Tick(time=NOON + 3 * DAY), 1))
    harness.run_timers()
    harness.process(record(ev.Login(id="late", user_id="Ada", time=NOON + HOUR), 2))
    assert harness.count("encore_events_total", "late") == 1
    assert harness.accounted_records() == 3


def test_users_are_written_in_batches_before_a_commit() -> None:
    """Each once, until the budget is spent. A user who was written meanwhile is not written recovered."""
    harness, users = ProcessorHarness(context=CALM), [f"user {number:03}" for number in range(WRITE_BATCH + 2)]
    harness.process(*(record(login(0, user), offset) for offset, user in enumerate(users)))
    harness.sink.settle()
    before, keys = len(harness.sink.on(CHANGELOG)), [user.encode() for user in users]
    left = deque(sorted(harness.users.dirty))
    harness.processor.write_some(left, CountedBudget(2))
    assert [put.key for put in harness.sink.on(CHANGELOG)][before:] == keys[:WRITE_BATCH]
    assert list(left) == keys[WRITE_BATCH:]
    harness.processor.outbox.write_then_send((keys[WRITE_BATCH],))
    harness.processor.write_some(left, CountedBudget(9))
    assert [put.key for put in harness.sink.on(CHANGELOG)][before:] == keys
    assert not harness.users.dirty
