"""Codec: every reason for which a record is rejected, origins, and the topic and key of every output."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import REASONS, InvalidEvent
from models.schema.outputs import OUTPUTS, Decision, EarlySignal, Example, Output, Tombstone
from streams.kafka import codec, topics
from tests.streams.doubles import Record

NOW = 1_760_000_000.0
LOGIN = ev.Login(id="1", user_id="u1", time=NOW)
COURSE = ev.CoursePublished(id="1", course_id="c", time=NOW, title="Go")
HERE = topics.partition_of(b"u1", 8)


def rejected(raw: bytes | None, max_record_bytes: int = 10_000, skew: float = 300.0) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        codec.decode_event(raw, NOW, max_record_bytes, skew)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (None, "malformed", None),
        (b"", "malformed", None),
        (b"{", "malformed", None),
        (b"[]", "malformed", None),
        (b"\xff\xfe", "malformed", None),
        (b'{"type":"login","id":"1","user_id":"\xff","time":1}', "malformed", None),
        (b'{"type":"login","id":"1","user_id":"\\ud800","time":1}', "malformed", None),
        (b"[" * 9_000, "malformed", None),
        (b'{"type":"log in","id":"1","user_id":"u","time":1}', "unknown_type", "type"),
        (b'{"type":"login","id":"1","time":1}', "missing_field", "user_id"),
        (b'{"type":"login","id":1,"user_id":"u","time":1}', "wrong_type", "id"),
        (b'{"type":"login","id":"1","user_id":"","time":1}', "impossible_value", "user_id"),
        (b'{"type":"login","id":"1","user_id":"u","time":1760000000000}', "impossible_value", "time"),
        (b'{"type":"login","id":"1","user_id":"u","time":1760000300.001}', "far_future", "time"),
        (b'{"type":"login","id":"1","user_id":"u","time":1}' + b" " * 9_999, "oversize", None),
    ],
)
def test_an_invalid_record_has_a_reason_and_a_field(raw: bytes | None, reason: str, field: str | None) -> None:
    """An invalid record has a reason and the name of the invalid field."""
    bad = rejected(raw)
    assert (bad.reason, bad.field) == (reason, field)
    assert reason in REASONS


def test_limits_are_inclusive() -> None:
    """An event of exactly the maximum size or exactly at the skew is accepted."""
    event = ev.Login(id="1", user_id="u1", time=NOW + 300.0)
    raw = event_codec.encode(event)
    assert codec.decode_event(raw, NOW, len(raw), 300.0) == event
    assert rejected(raw, len(raw) - 1).reason == "oversize"
    assert rejected(raw, skew=299.0).reason == "far_future"


def decode(event: ev.AnyEvent, key: bytes | None, partition: int) -> ev.Event | ev.Tick | ev.Announced:
    decoder = codec.LogDecoder(partition, 8, frozenset(), 900_000, 300.0)
    return decoder.decode(Record("events", partition, 0, int(NOW * 1_000), key, event_codec.encode(event)))[0]


@pytest.mark.parametrize(
    ("event", "key", "partition", "reason"),
    [
        (COURSE, b"c", HERE, "not_a_person"),
        (LOGIN, None, HERE, "wrong_key"),
        (LOGIN, b"", HERE, "wrong_key"),
        (LOGIN, b"u2", HERE, "wrong_key"),
        (LOGIN, b"\xff", HERE, "wrong_key"),
        (LOGIN, b"u1", (HERE + 1) % 8, "wrong_partition"),
    ],
)
def test_a_record_with_the_wrong_key_or_partition_is_rejected(
    event: ev.AnyEvent, key: bytes | None, partition: int, reason: str
) -> None:
    """A record of `events` is about a user, has the user id as its key, and is in the user's partition."""
    with pytest.raises(InvalidEvent) as caught:
        decode(event, key, partition)
    assert caught.value.reason == reason


def test_a_correct_record_and_a_tick_are_accepted() -> None:
    """A user's record in the user's partition is accepted, and a tick in every partition."""
    assert decode(LOGIN, b"u1", HERE) == LOGIN
    assert [decode(ev.Tick(time=NOW), None, place) for place in range(8)] == [ev.Tick(time=NOW)] * 8


def record_with(*headers: tuple[str, Any]) -> Record:
    return Record("events", 0, 7, 0, b"k", b"v", headers)


@given(
    st.text(st.characters(categories=["L", "N"], include_characters="._-/"), min_size=1, max_size=40),
    st.integers(0, 999),
    st.integers(0, 2**63 - 1),
)
def test_an_origin_comes_back_as_it_was_written(topic: str, partition: int, offset: int) -> None:
    """For any topic name, also with slashes."""
    headers = codec.origin_header(topic, partition, offset)
    assert codec.origin_of(record_with(("x", b"y"), *headers), frozenset([topic])) == (f"{topic}/{partition}", offset)
    assert codec.origin_of(record_with(*headers), frozenset([topic + "2"])) is None


@given(st.binary(max_size=30) | st.from_regex(r"\A[a-z]*/\d*/\w{0,30}\Z").map(str.encode))
@example(b"in/0/\xc2\xb2")
@example(b"in/0/" + b"9" * 5_000)
@example(b"in/0/" + b"9" * 19)
@example(b"in/0/-1")
@example(b"in/x/1")
@example(b"/0")
def test_any_bytes_are_a_valid_origin_or_none(value: bytes) -> None:
    """Other writers may put anything there: the result is a valid origin with an offset below 2**64, or None."""
    origin = codec.origin_of(record_with((codec.ORIGIN_HEADER, value)), frozenset(["in", ""]))
    if origin is not None:
        topic, _, partition = origin[0].rpartition("/")
        assert topic in ("in", "") or topic.startswith(codec.HISTORY_PREFIX)
        assert partition.isdecimal() and 0 <= origin[1] < 2**64


def test_a_place_longer_than_any_topic_name_is_no_origin() -> None:
    """Valid places are cached, so an invalid header must not fill the memory."""
    assert codec.origin_of(record_with((codec.ORIGIN_HEADER, b"history:%s/0/7" % (b"x" * 300))), frozenset()) is None


def test_a_sent_history_has_its_own_origin() -> None:
    """It is not a topic, and no topic can have this name."""
    headers = codec.origin_header(codec.HISTORY_PREFIX + "5f2a", 0, 7)
    assert codec.origin_of(record_with(*headers), frozenset()) == ("history:5f2a/0", 7)


def test_a_header_without_a_value_is_no_origin() -> None:
    """Kafka allows headers without a value. A record without headers has no origin either."""
    assert codec.origin_of(record_with(), frozenset([""])) is None
    assert codec.origin_of(record_with((codec.ORIGIN_HEADER, None)), frozenset([""])) is None


def filled(kind: type[Output]) -> Output:
    """An output with a value of the right type in every field."""
    plain: dict[Any, Any] = {str: "u1", float: 1.0, int: 1, bool: True}
    values = {
        field.name: plain.get(field.type, ())
        for field in msgspec.structs.fields(kind)
        if (field.required and field.type in plain) or field.name in {"x", "courses", "people"}
    }
    chosen = {"about": "risk", "action": "none", "candidate": "coupon", "outcome": "expired"}
    return kind(**values, **{name: text for name, text in chosen.items() if name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", [*OUTPUTS, Tombstone])
def test_every_output_has_a_topic_and_a_key(kind: type[Output]) -> None:
    """Its topic, and the user id, pseudonym or course id as the key, so that outputs of a user keep their order."""
    topic, key = codec.address(filled(kind))
    assert topic in {
        topics.ALERTS, topics.TRIGGERS, topics.PROFILES, topics.EXAMPLES, topics.DECISIONS, topics.RECOMMENDATIONS,
        topics.AUDIENCES,
    }  # fmt: skip
    assert key == b"u1"


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_decodes_to_itself(kind: type[Output]) -> None:
    """An encoded output is JSON and decodes to the same output."""
    output = filled(kind)
    assert msgspec.json.decode(codec.encode_output(output) or b"", type=kind) == output


def test_an_erased_user_gets_a_tombstone() -> None:
    """The tombstone of a profile has no value and goes to the topic of profiles."""
    gone = Tombstone(id="e", user_id="u1")
    assert (codec.address(gone), codec.encode_output(gone)) == ((topics.PROFILES, b"u1"), None)


def test_an_output_type_without_a_topic_is_an_error() -> None:
    """An output type without a topic raises an error and is not lost silently."""
    with pytest.raises(TypeError):
        codec.address(Output(id="1"))


def test_only_training_data_is_decoded_as_training_data() -> None:
    """Records of other writers on the topic are rejected and not used for training."""
    for training_data in (filled(Example), filled(EarlySignal)):
        assert codec.decode_example(codec.encode_output(training_data) or b"") == training_data
    for raw in (b"", b"{}", codec.encode_output(filled(Decision)) or b"", b"\xff"):
        with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
            codec.decode_example(raw)
