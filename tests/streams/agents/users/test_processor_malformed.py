"""Malformed input: nothing crashes the log processor, and every record is accounted for."""

import string
from random import Random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import events as ev
from streams.kafka import codec
from tests.models.people import HOUR, START, make_event
from tests.streams.doubles import Record
from tests.streams.processor_harness import ProcessorHarness, decode_all, record, unerased_keys

INPUTS = 100_000
SKEW = 300.0
UNUSUAL_VALUES: list[Any] = [
    None, True, -1, 0, 1e308, -1e308, 1e-320, 2**63, 2**64, 10**400, 1_760_000_000_000, "", "x" * 129, "\0", "\ud7ff",
    "\U0010ffff", "\u2028", "NaN", [], {}, [[]], {"type": "login"}, "2026-01-05T08:00:00+01:00", "2026-01-05T08:00:00",
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "login", "tick", "erasure_requested", "course_published",
]  # fmt: skip
HEADERS: list[tuple[tuple[str, Any], ...]] = [
    ((codec.ORIGIN_HEADER, None),), ((codec.ORIGIN_HEADER, b""),), ((codec.ORIGIN_HEADER, b"in/0/-1"),),
    ((codec.ORIGIN_HEADER, "in/0/²".encode()),), ((codec.ORIGIN_HEADER, b"in/0/" + b"9" * 5_000),),
    ((codec.ORIGIN_HEADER, b"in/0/" + b"9" * 25),), ((codec.ORIGIN_HEADER, b"in/\xff/1"),),
    ((codec.ORIGIN_HEADER, b"in/0/7"), (codec.ORIGIN_HEADER, b"other/0/7")), (("other", b"x"),), (("", b""),),
]  # fmt: skip


def valid_event(dice: Random, number: int) -> ev.AnyEvent:
    """A valid event of any kind, of one of nine users, over three months."""
    time, user = START + number * 80.0, f"user-{dice.randrange(9)}"
    base: dict[str, Any] = {"id": f"e{number}", "user_id": user, "time": time}
    others = [
        ev.ErasureRequested(**base),
        ev.CouponRedeemed(**base, offer_id="o"),
        ev.ConsentWithdrawn(**base),
        ev.CoursePublished(id=f"e{number}", course_id="c", time=time, title="Go"),
        ev.Tick(time=time),
    ]
    kind = dice.randrange(40)
    return others[kind] if kind < len(others) else make_event(number, time, kind % 17, dice.random(), user)


def mutate(raw: bytes, dice: Random) -> bytes:
    """Change bytes, cut, repeat, or replace a field."""
    how = dice.randrange(8)
    at = dice.randrange(len(raw))
    if how == 0:
        return raw[:at]
    if how == 1:
        return raw[:at] + dice.randbytes(dice.randrange(1, 5)) + raw[at:]
    if how == 2:
        return raw[:at] + bytes((dice.choice(string.printable.encode()),)) + raw[at + 1 :]
    if how == 3:
        return raw[:at] + bytes((raw[at] ^ 1 << dice.randrange(8),)) + raw[at + 1 :]
    if how == 4:
        return raw + raw[at:]
    fields = orjson.loads(raw)
    name = dice.choice([*fields, "type", "extra"])
    if how == 5:
        fields.pop(name, None)
        return orjson.dumps(fields)
    if how == 6 and isinstance(fields.get("time"), float):
        fields["time"] += dice.choice([-1e9, -1e5, -HOUR, 200.0, SKEW, 400.0, 1e5, 1e9, 1e12])
        return orjson.dumps(fields)
    value = dice.choice(UNUSUAL_VALUES)
    plain = orjson.dumps(fields | {name: 0})
    return plain.replace(f'"{name}":0'.encode(), f'"{name}":{as_json(value)}'.encode("utf-8", "surrogatepass"))


def as_json(value: Any) -> str:
    """Encode a value as JSON, also numbers of any size."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else orjson.dumps(value).decode()


def key_of(raw: bytes, key: bytes | None) -> bytes | None:
    """The key that a writer would use: the user id in the value, as it is now."""
    try:
        user = orjson.loads(raw)["user_id"]
        return user.encode() if isinstance(user, str) else key
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return key


def malformed_record(number: int, dice: Random) -> Record:
    """A valid record with none, one or two defects."""
    event = valid_event(dice, number)
    good = record(event, number, ("in", dice.randrange(3), number) if dice.random() < 0.3 else None)
    raw = good.value or b""
    for _ in range(dice.choice([0, 0, 1, 1, 1, 2])):
        raw = mutate(raw, dice) if raw[:1] == b"{" and raw[-1:] == b"}" and len(raw) < 5_000 else raw
        try:
            orjson.loads(raw)
        except orjson.JSONDecodeError:
            break
    key = key_of(raw, good.key) if dice.random() < 0.8 else dice.choice([good.key, None, b"", b"\xff", b"user-1"])
    headers = dice.choice(HEADERS) if dice.random() < 0.05 else good.headers
    value = dice.choice([None, b"", dice.randbytes(20)]) if dice.random() < 0.01 else raw
    return good._replace(key=key, value=value, headers=headers)


def test_a_hundred_thousand_malformed_records_crash_nothing_and_are_all_accounted_for() -> None:
    """Input = applied + late + erased + duplicates + dead letters + ticks. The resulting state can be decoded."""
    dice, harness, latest = Random(42), ProcessorHarness(max_record_bytes=10_000), 0.0
    for start in range(0, INPUTS, 500):
        records = [malformed_record(number, dice) for number in range(start, start + 500)]
        harness.process(*records)
        harness.run_timers()
        harness.commit_all()
        latest = max(latest, *(each.timestamp / 1_000 for each in records))
        assert harness.accounted_records() == start + 500
        assert harness.clock.now <= latest + SKEW
    reasons = {labels[0] for name, labels, _ in harness.metrics.samples() if name == "encore_dead_letters_total"}
    assert reasons == {
        "malformed", "unknown_type", "missing_field", "wrong_type", "impossible_value", "wrong_key", "far_future",
        "not_a_person",
    }  # fmt: skip
    results = {labels[0] for name, labels, _ in harness.metrics.samples() if name == "encore_events_total"}
    assert results == {"applied", "late", "erased"}
    assert harness.count("encore_failures_total") == 0
    again = ProcessorHarness(harness.changelog)
    assert decode_all(again.users.cold) == harness.envelopes
    assert {f"user-{n}".encode() for n in range(9)} & set(unerased_keys(harness.users.cold))


@given(st.lists(st.tuples(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=60)), max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_bytes_become_dead_letters_unchanged(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    """Each is a dead letter with its key and bytes, in order. No user is created."""
    harness = ProcessorHarness()
    harness.process(*(Record("events", 0, offset, 0, key, value) for offset, (key, value) in enumerate(pairs)))
    dead_letters = harness.sink.on("dead-letters")
    assert [(put.key, put.value) for put in dead_letters] == [
        (b"events/0/%d" % offset, value or b"") for offset, (_, value) in enumerate(pairs)
    ]
    assert harness.accounted_records() == len(pairs) == harness.count("encore_dead_letters_total")
    assert harness.users.hot == {}


NAMES = ["\0fence", "\0erased/0123456789abcdef0123456789abcdef", "\0", "a/b", " ", "\u2028", "x" * 128, "é" * 128]


def test_a_user_with_any_id_is_stored_or_refused() -> None:
    """An id that looks like a key of Encore is a dead letter. Any other id is stored and survives a restart."""
    for name in NAMES:
        first = ProcessorHarness()
        first.process(record(ev.Login(id="1", user_id=name, time=START), 0))
        first.commit_all()
        second = ProcessorHarness(first.changelog)
        second.process(record(ev.Login(id="1", user_id=name, time=START), 0))
        assert (first.count("encore_dead_letters_total"), second.count("encore_dead_letters_total")) in {(0, 0), (1, 1)}
        assert (
            first.count("encore_dead_letters_total")
            or second.users.get(name.encode()).person.activity.events
            == second.count("encore_duplicates_total", "offset")
            == 1
        ), name
        assert second.users.fence == 2
