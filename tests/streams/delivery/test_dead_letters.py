"""Dead letters keep the original bytes, the source and the reason of a record."""

from hypothesis import given
from hypothesis import strategies as st

from models.schema.errors import REASONS, InvalidEvent
from streams.delivery.dead_letters import MAX_VALUE_BYTES, DeadLetter, DeadLetterQueue, dead_letter, parse_dead_letter
from streams.kafka import topics
from streams.metrics import Metrics
from tests.streams.doubles import ManualSink, Put, Record

TOPICS = st.from_regex(r"\A[A-Za-z0-9._-]{1,40}\Z")
RECORDS = st.builds(
    Record,
    TOPICS,
    st.integers(0, 999),
    st.integers(0, 2**63 - 1),
    st.integers(0, 32_503_680_000_000),
    st.none() | st.binary(max_size=50),
    st.none() | st.binary(max_size=200),
)
BAD = st.builds(
    InvalidEvent, st.sampled_from(sorted(REASONS)), st.none() | st.text(max_size=9), st.text(max_size=2_000)
)


def read_back(put: Put) -> DeadLetter:
    """Return the dead letter as a reader of the topic parses it."""
    headers = tuple((name, bytes(value)) for name, value in put.headers or ())
    return parse_dead_letter(Record(put.topic, 0, 0, 0, put.key, put.value, headers))


@given(RECORDS, BAD)
def test_a_dead_letter_survives_the_round_trip(record: Record, bad: InvalidEvent) -> None:
    """Bytes, keys, reasons and details are unchanged after encoding and parsing."""
    sink = ManualSink()
    letter = dead_letter(record, bad)
    DeadLetterQueue(sink, "p-", Metrics()).write(letter)
    (put,) = sink.all
    assert put.topic == "p-dead-letters"
    assert put.key == letter.id.encode()
    assert read_back(put) == letter


@given(RECORDS, BAD)
def test_a_dead_letter_holds_the_record_and_the_reason(record: Record, bad: InvalidEvent) -> None:
    """It has the source, the log time, the key, the bytes and the error."""
    letter = dead_letter(record, bad)
    assert (letter.topic, letter.partition, letter.offset) == (record.topic, record.partition, record.offset)
    assert (letter.key, letter.value, letter.cut_from) == (record.key, record.value or b"", 0)
    assert (letter.reason, letter.field) == (bad.reason, bad.field or "")
    assert bad.detail.startswith(letter.detail)
    assert (letter.log_time, letter.replayed) == (record.timestamp / 1_000, "")


def test_a_repeat_has_the_same_key() -> None:
    """A crash may send a record twice. Both have the same key; another record has another key."""
    sink, metrics = ManualSink(), Metrics()
    dead_letters = DeadLetterQueue(sink, "", metrics)
    for offset in (1, 1, 2):
        dead_letters.send(Record("events", 3, offset, 0, b"k", b"v"), InvalidEvent("malformed", None, "no"))
    assert [put.key for put in sink.on(topics.DEAD_LETTERS)] == [b"events/3/1", b"events/3/1", b"events/3/2"]
    assert sink.all[0][:6] == sink.all[1][:6]
    assert metrics.value("encore_dead_letters_total", "malformed") == 3


def test_a_value_that_is_too_large_is_cut_and_its_size_noted() -> None:
    """The beginning is kept, with the original size. A value of exactly the limit is kept whole."""
    whole, cut = (
        dead_letter(Record("t", 0, 0, 0, b"k" * 2_000, bytes(size)), InvalidEvent("oversize", None, "d"))
        for size in (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)
    )
    assert (len(whole.value), whole.cut_from) == (MAX_VALUE_BYTES, 0)
    assert (len(cut.value), cut.cut_from) == (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)
    assert len(cut.key or b"") == 1_000


def test_a_failed_timer_is_a_dead_letter() -> None:
    """Its id has the user's pseudonym. It carries the key, the due time and the error."""
    sink, metrics = ManualSink(), Metrics()
    DeadLetterQueue(sink, "", metrics).send_timer_failure("a1b2", b"u1", 3, 1_000.5, "ZeroDivisionError()" * 99)
    letter = read_back(sink.all[0])
    assert letter.id == "people-changelog/a1b2/3/1000"
    assert (letter.reason, letter.key, letter.log_time) == ("due_failed", b"u1", 1_000.5)
    assert (len(letter.detail), letter.value) == (1_000, b"")
    assert metrics.value("encore_dead_letters_total", "due_failed") == 1
