"""The input contract: every event type round-trips, and every invalid input has a reason."""

import random
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import REASONS, InvalidEvent

WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)
VALUES = {
    "time": st.floats(0, ev.LAST_TIME),
    "progress": st.floats(0, 1), "score": st.floats(0, 1), "rating": st.floats(0, 1),
    "minutes": st.floats(0, 1_440), "amount": st.floats(0, 1e9),
    "points": st.floats(0, 1e9), "price": st.floats(0, 1e9),
    "currency": st.from_regex("[A-Z]{3}", fullmatch=True), "lessons": st.integers(0, 100_000),
    "tags": st.lists(WORDS, max_size=5).map(tuple), "audience": st.integers(0, ev.MAX_AUDIENCE),
    "course": st.builds(ev.CoursePublished, id=IDS, course_id=IDS, time=st.floats(0, ev.LAST_TIME), title=WORDS),
}  # fmt: skip
LOGIN = {"type": "login", "id": "e1", "user_id": "u1", "time": 5.0}


def valid(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Any valid event of a kind."""
    names = kind.__struct_fields__
    fields = {name: VALUES.get(name, IDS if name.endswith("id") else WORDS) for name in names}
    return st.builds(kind, **fields)


def refused(raw: bytes) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        event_codec.decode(raw)
    return caught.value


def with_login(**changes: object) -> bytes:
    return orjson.dumps({**LOGIN, **changes})


def of_kind(kind: str, **fields: object) -> bytes:
    return with_login(type=kind, **fields)


@pytest.mark.parametrize("kind", sorted(ev.KINDS))
@given(data=st.data())
@settings(max_examples=15)
def test_every_kind_round_trips(kind: str, data: st.DataObject) -> None:
    """Decoding an encoded event gives the same event, and its kind is its `type`."""
    event = data.draw(valid(ev.KINDS[kind]))
    assert event_codec.decode(event_codec.encode(event)) == event
    assert ev.kind_of(event) == orjson.loads(event_codec.encode(event))["type"] == kind


@pytest.mark.parametrize("kind", sorted(set(ev.KINDS) - {"announced"}))
def test_a_sparse_event_round_trips(kind: str) -> None:
    """Missing fields have their defaults, and defaults are left out."""
    fields = {"id": "e", "user_id": "u", "course_id": "c", "offer_id": "o", "title": "t", "amount": 1.0, "points": 2.0}
    needed = {f.name: fields.get(f.name, 5.0) for f in msgspec.structs.fields(ev.KINDS[kind]) if f.required}
    event = ev.KINDS[kind](**needed)
    assert orjson.loads(event_codec.encode(event)) == {"type": kind, **needed}
    assert event_codec.decode(event_codec.encode(event)) == event


@given(st.datetimes(datetime(1970, 1, 3), datetime(2999, 12, 30)), st.integers(-1_439, 1_439))
def test_a_time_with_its_zone_becomes_seconds(moment: datetime, minutes: int) -> None:
    """An RFC 3339 time in any zone becomes the same moment in seconds."""
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert event_codec.decode(with_login(time=moment.isoformat())).time == expected


def test_whole_seconds_become_a_float() -> None:
    """`decode` converts an integer time to a float."""
    time = event_codec.decode(with_login(time=5)).time
    assert (time, type(time)) == (5.0, float)


def test_unknown_fields_are_ignored() -> None:
    """A platform may send more fields than Encore reads."""
    assert event_codec.decode(with_login(browser={"name": "x"})) == ev.Login(id="e1", user_id="u1", time=5.0)


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (b"", "malformed", None),
        (b"{", "malformed", None),
        (b"\xff\xfe", "malformed", None),
        (b'{"type":"login","id":"\xff","user_id":"u","time":5}', "malformed", None),
        (b'{"type":"login","id":"\\ud800","user_id":"u","time":5}', "malformed", None),
        (b'{"type":"login","id":"e","user_id":"u","time":NaN}', "malformed", None),
        (b'{"a":' * 100_000, "malformed", None),
        (with_login() + b"x", "malformed", None),
        (b"[]", "malformed", None),
        (b"null", "malformed", None),
        (b"7", "malformed", None),
        (of_kind("logout"), "unknown_type", "type"),
        (with_login(type=5), "wrong_type", "type"),
        (orjson.dumps({k: v for k, v in LOGIN.items() if k != "type"}), "missing_field", "type"),
        (orjson.dumps({k: v for k, v in LOGIN.items() if k != "time"}), "missing_field", "time"),
        (of_kind("course_view"), "missing_field", "course_id"),
        (with_login(id=7), "wrong_type", "id"),
        (with_login(time=None), "wrong_type", "time"),
        (with_login(time="yesterday"), "wrong_type", "time"),
        (of_kind("course_published", course_id="c", title="t", tags=["a", 1]), "wrong_type", "tags[1]"),
        (with_login(time="2026-01-05T08:00:00"), "impossible_value", "time"),
        (with_login(time="1969-12-31T23:59:59Z"), "impossible_value", "time"),
        (with_login(time="9999-12-31T23:59:59-23:59"), "impossible_value", "time"),
        (with_login(time=-1), "impossible_value", "time"),
        (with_login(time=1767596400000), "impossible_value", "time"),
        (b'{"type":"login","id":"e","user_id":"u","time":1e999}', "impossible_value", "time"),
        (with_login(user_id=""), "impossible_value", "user_id"),
        (with_login(id="x" * 129), "impossible_value", "id"),
        (of_kind("lesson_progress", course_id="c", progress=1.1), "impossible_value", "progress"),
        (of_kind("lesson_progress", course_id="c", minutes=-1), "impossible_value", "minutes"),
        (of_kind("purchase", amount=5, currency="eur"), "impossible_value", "currency"),
        (of_kind("purchase", amount=5, currency="EUR\n"), "impossible_value", "currency"),
        (of_kind("purchase", amount=2e9), "impossible_value", "amount"),
        (of_kind("course_published", course_id="c", title="t", lessons=-5), "impossible_value", "lessons"),
    ],
)
def test_invalid_input_has_its_reason_and_field(raw: bytes, reason: str, field: str | None) -> None:
    """The error gives the reason code and the invalid field."""
    error = refused(raw)
    assert (error.reason, error.field) == (reason, field)


def test_an_invalid_event_has_a_readable_text() -> None:
    """The text contains reason, field and detail."""
    assert str(refused(with_login(time=-1))) == "impossible_value (time): Expected `float` >= 0.0"
    assert str(InvalidEvent("malformed", None, "cut off")) == "malformed: cut off"


def assert_event_or_listed_reason(raw: bytes) -> None:
    """Check that decoding gives a listed reason, or an event that round-trips; other errors propagate."""
    try:
        event = event_codec.decode(raw)
    except InvalidEvent as error:
        assert error.reason in REASONS
        return
    assert event_codec.decode(event_codec.encode(event)) == event
    assert 0 <= event.time <= ev.LAST_TIME


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_raise_nothing_but_invalid_event(raw: bytes) -> None:
    """`decode` gives an event or a listed reason for arbitrary bytes."""
    assert_event_or_listed_reason(raw)


JUNK = (
    None, True, -1, 1.1, 1e308, -0.0, "", "x" * 30_000, [], {}, [[[[]]]], [1] * 101, "2020-02-30T00:00:00Z",
    "0001-01-01T00:00:00+23:59", "EUR\n", "\x00", "\U0001f600", 1e-320,
)  # fmt: skip


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """Damage a valid event in one of several ways."""
    fields = orjson.loads(raw)
    name = rng.choice(sorted(fields))
    how = rng.randrange(5)
    if how == 0:
        del fields[name]
        return orjson.dumps(fields)
    if how == 1:
        return orjson.dumps({**fields, name: str(fields[name])})
    if how == 2:
        number = rng.choice((b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"[" * 5_000, b"0x1", b"01"))
        return orjson.dumps({**fields, name: "@"}).replace(b'"@"', number)
    if how == 3:
        at = rng.randrange(len(raw))
        return raw[:at] + bytes((rng.randrange(256),)) + raw[at + rng.randrange(2) :]
    return orjson.dumps({**fields, name: rng.choice(JUNK)})


@pytest.mark.parametrize("kind", sorted(ev.KINDS))
@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(max_examples=12)
def test_damaged_events_raise_nothing_but_invalid_event(kind: str, data: st.DataObject, seed: int) -> None:
    """A valid event with a dropped, swapped or broken part gives an event or a listed reason."""
    rng = random.Random(seed)
    raw = event_codec.encode(data.draw(valid(ev.KINDS[kind])))
    for _ in range(8):
        assert_event_or_listed_reason(mutate(raw, rng))


def test_no_event_type_has_subclasses() -> None:
    """`type(event) is Kind` then tests for exactly this type."""
    assert not [kind for kind in ev.KINDS.values() if kind.__subclasses__()]
