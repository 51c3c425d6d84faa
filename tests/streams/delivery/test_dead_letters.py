"""Dead letters: whatever was buried comes back byte for byte, with where it came from and why."""

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
    """A letter as the next reader of the topic sees it."""
    headers = tuple((name, bytes(value)) for name, value in put.headers or ())
    return parse_dead_letter(Record(put.topic, 0, 0, 0, put.key, put.value, headers))


@given(RECORDS, BAD)
def test_a_letter_comes_back_as_it_was_written(record: Record, bad: InvalidEvent) -> None:
    """Any bytes, keys, reasons and details survive the way through the topic."""
    sink = ManualSink()
    letter = dead_letter(record, bad)
    DeadLetterQueue(sink, "p-", Metrics()).write(letter)
    (put,) = sink.all
    assert put.topic == "p-dead-letters"
    assert put.key == letter.id.encode()
    assert read_back(put) == letter


@given(RECORDS, BAD)
def test_a_letter_holds_the_record_and_the_reason(record: Record, bad: InvalidEvent) -> None:
    """Where it stood, when the log took it, its key and its bytes, and what was wrong."""
    letter = dead_letter(record, bad)
    assert (letter.topic, letter.partition, letter.offset) == (record.topic, record.partition, record.offset)
    assert (letter.key, letter.value, letter.cut_from) == (record.key, record.value or b"", 0)
    assert (letter.reason, letter.field) == (bad.reason, bad.field or "")
    assert bad.detail.startswith(letter.detail)
    assert (letter.log_time, letter.replayed) == (record.timestamp / 1_000, "")


def test_burying_again_is_the_same_letter() -> None:
    """After a crash the record is buried once more, under the same key; another record has another."""
    sink, metrics = ManualSink(), Metrics()
    dead_letters = DeadLetterQueue(sink, "", metrics)
    for offset in (1, 1, 2):
        dead_letters.send(Record("events", 3, offset, 0, b"k", b"v"), InvalidEvent("malformed", None, "no"))
    assert [put.key for put in sink.on(topics.DEAD_LETTERS)] == [b"events/3/1", b"events/3/1", b"events/3/2"]
    assert sink.all[0][:6] == sink.all[1][:6]
    assert metrics.value("encore_dead_letters_total", "malformed") == 3


def test_what_is_too_large_is_cut_and_says_so() -> None:
    """The beginning is kept, with how long it was; exactly what may be kept is whole."""
    whole, cut = (
        dead_letter(Record("t", 0, 0, 0, b"k" * 2_000, bytes(size)), InvalidEvent("oversize", None, "d"))
        for size in (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)
    )
    assert (len(whole.value), whole.cut_from) == (MAX_VALUE_BYTES, 0)
    assert (len(cut.value), cut.cut_from) == (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1)
    assert len(cut.key or b"") == 1_000


def test_due_work_that_failed_has_a_letter_of_its_own() -> None:
    """It names the person by pseudonym in its id, and carries key, moment and error."""
    sink, metrics = ManualSink(), Metrics()
    DeadLetterQueue(sink, "", metrics).send_timer_failure("a1b2", b"u1", 3, 1_000.5, "ZeroDivisionError()" * 99)
    letter = read_back(sink.all[0])
    assert letter.id == "people-changelog/a1b2/3/1000"
    assert (letter.reason, letter.key, letter.log_time) == ("due_failed", b"u1", 1_000.5)
    assert (len(letter.detail), letter.value) == (1_000, b"")
    assert metrics.value("encore_dead_letters_total", "due_failed") == 1
