"""Bytes and types: each reason for which a record is none of ours, origins, and where every output goes."""

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


def refused(raw: bytes | None, max_record_bytes: int = 10_000, skew: float = 300.0) -> InvalidEvent:
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
def test_each_reason_has_its_record(raw: bytes | None, reason: str, field: str | None) -> None:
    """What cannot be read says why, and which field is at fault."""
    bad = refused(raw)
    assert (bad.reason, bad.field) == (reason, field)
    assert reason in REASONS


def test_bounds_are_within() -> None:
    """As large as may be and as far ahead as may be are taken."""
    event = ev.Login(id="1", user_id="u1", time=NOW + 300.0)
    raw = event_codec.encode(event)
    assert codec.decode_event(raw, NOW, len(raw), 300.0) == event
    assert refused(raw, len(raw) - 1).reason == "oversize"
    assert refused(raw, skew=299.0).reason == "far_future"


def of(event: ev.AnyEvent, key: bytes | None, partition: int) -> ev.Event | ev.Tick:
    return codec.check_log_record(event, key, partition, 8)


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
def test_a_record_that_stands_in_the_wrong_place_is_refused(
    event: ev.AnyEvent, key: bytes | None, partition: int, reason: str
) -> None:
    """It is about a person, under their id, in their partition, or it is not applied."""
    with pytest.raises(InvalidEvent) as caught:
        of(event, key, partition)
    assert caught.value.reason == reason


def test_people_and_ticks_stand_right() -> None:
    """A person's record in their partition, a tick in any."""
    assert of(LOGIN, b"u1", HERE) == LOGIN
    assert [of(ev.Tick(time=NOW), None, place) for place in range(8)] == [ev.Tick(time=NOW)] * 8


def carrying(*headers: tuple[str, Any]) -> Record:
    return Record("events", 0, 7, 0, b"k", b"v", headers)


@given(
    st.text(st.characters(categories=["L", "N"], include_characters="._-/"), min_size=1, max_size=40),
    st.integers(0, 999),
    st.integers(0, 2**63 - 1),
)
def test_an_origin_comes_back_as_it_was_written(topic: str, partition: int, offset: int) -> None:
    """Whatever the topic's name is, slashes too."""
    headers = codec.origin_header(topic, partition, offset)
    assert codec.origin_of(carrying(("x", b"y"), *headers), frozenset([topic])) == (f"{topic}/{partition}", offset)
    assert codec.origin_of(carrying(*headers), frozenset([topic + "2"])) is None


@given(st.binary(max_size=30) | st.from_regex(r"\A[a-z]*/\d*/\w{0,30}\Z").map(str.encode))
@example(b"in/0/\xc2\xb2")
@example(b"in/0/" + b"9" * 5_000)
@example(b"in/0/" + b"9" * 19)
@example(b"in/0/-1")
@example(b"in/x/1")
@example(b"/0")
def test_any_bytes_for_an_origin_are_one_or_none(value: bytes) -> None:
    """A direct writer may put anything there: it is an offset that a value can hold, or no origin."""
    origin = codec.origin_of(carrying((codec.ORIGIN_HEADER, value)), frozenset(["in", ""]))
    if origin is not None:
        topic, _, partition = origin[0].rpartition("/")
        assert topic in ("in", "") or topic.startswith(codec.HISTORY_PREFIX)
        assert partition.isdecimal() and 0 <= origin[1] < 2**64


def test_a_place_longer_than_any_topic_s_name_is_no_origin() -> None:
    """Places are kept in memory: nobody is to fill it with them."""
    assert codec.origin_of(carrying((codec.ORIGIN_HEADER, b"history:%s/0/7" % (b"x" * 300))), frozenset()) is None


def test_history_that_was_sent_is_an_origin_of_its_own() -> None:
    """It stands on no topic, and no topic can have its name."""
    headers = codec.origin_header(codec.HISTORY_PREFIX + "5f2a", 0, 7)
    assert codec.origin_of(carrying(*headers), frozenset()) == ("history:5f2a/0", 7)


def test_a_header_without_a_value_is_no_origin() -> None:
    """Kafka lets a header have none; nor is a record without headers from anywhere."""
    assert codec.origin_of(carrying(), frozenset([""])) is None
    assert codec.origin_of(carrying((codec.ORIGIN_HEADER, None)), frozenset([""])) is None


def filled(kind: type[Output]) -> Output:
    """An output with some value of the right type in every field."""
    plain: dict[Any, Any] = {str: "u1", float: 1.0, int: 1, bool: True}
    values = {
        field.name: plain.get(field.type, ())
        for field in msgspec.structs.fields(kind)
        if (field.required and field.type in plain) or field.name in {"x", "courses", "people"}
    }
    chosen = {"about": "risk", "action": "none", "candidate": "coupon", "outcome": "expired"}
    return kind(**values, **{name: text for name, text in chosen.items() if name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", [*OUTPUTS, Tombstone])
def test_every_output_has_its_address(kind: type[Output]) -> None:
    """A topic of ours, keyed by the person, their pseudonym or the course, so that a person's outputs stay in order."""
    topic, key = codec.address(filled(kind))
    assert topic in {
        topics.ALERTS, topics.TRIGGERS, topics.PROFILES, topics.EXAMPLES, topics.DECISIONS, topics.RECOMMENDATIONS,
        topics.AUDIENCES,
    }  # fmt: skip
    assert key == b"u1"


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_can_be_read_by_its_type(kind: type[Output]) -> None:
    """What is written is JSON of the type that it says."""
    output = filled(kind)
    assert msgspec.json.decode(codec.encode_output(output) or b"", type=kind) == output


def test_who_is_forgotten_is_taken_back() -> None:
    """A profile that is withdrawn has no value, on the topic of profiles."""
    gone = Tombstone(id="e", user_id="u1")
    assert (codec.address(gone), codec.encode_output(gone)) == ((topics.PROFILES, b"u1"), None)


def test_what_has_no_topic_is_a_defect() -> None:
    """An output of a kind that nobody thought of does not vanish."""
    with pytest.raises(TypeError):
        codec.address(Output(id="1"))


def test_only_lessons_are_lessons() -> None:
    """What another writer put on the topic is not learned."""
    for lesson in (filled(Example), filled(EarlySignal)):
        assert codec.decode_example(codec.encode_output(lesson) or b"") == lesson
    for raw in (b"", b"{}", codec.encode_output(filled(Decision)) or b"", b"\xff"):
        with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
            codec.decode_example(raw)
