"""Mapping files: the shipped examples, errors that are reported with their key, and where files are used."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest.mapping_file import load_mapping, load_mappings
from streams.delivery.dead_letters import DeadLetter
from streams.errors import OperatorError
from streams.history.sources import open_source
from streams.operation.dead_letters import repair
from streams.settings import Settings
from tests.streams.agents.ingest.mapping_files import BASE, LOGIN, PURCHASE, mapping

EXAMPLES = Path(__file__).parents[4] / "deploy" / "mappings"

# -- the examples -------------------------------------------------------------------------------------------------


def test_segments_calls_become_events():
    """The shipped example, applied to calls from Segment's documentation."""
    segment = load_mapping(EXAMPLES / "segment.toml")
    call = {
        "type": "track", "event": "Order Completed", "messageId": "m1", "userId": None, "anonymousId": 77,
        "timestamp": "2026-01-05T08:00:00.000Z",
        "properties": {"total": "27.50", "currency": "USD", "products": [{"product_id": 5}]},
    }  # fmt: skip
    lesson = {
        **call,
        "event": "Lesson Viewed",
        "userId": "u",
        "properties": {"course_id": "c", "percent": 40, "seconds": 90},
    }

    assert segment.decode(orjson.dumps(call)) == ev.Purchase(
        id="m1", user_id="77", time=1_767_600_000.0, amount=27.5, currency="USD", course_id="5"
    )
    progress = segment.decode(orjson.dumps(lesson))
    assert isinstance(progress, ev.LessonProgress)
    assert (progress.progress, progress.minutes) == (0.4, pytest.approx(1.5))
    assert segment.decode(orjson.dumps({**call, "type": "page"})) is None
    assert segment.decode(orjson.dumps({**call, "event": "Cart Viewed"})) is None


def test_cloudevents_become_events():
    """The other example: a type that it does not name is refused."""
    cloud = load_mapping(EXAMPLES / "cloudevents.toml")
    order = {
        "specversion": "1.0", "type": "com.example.order.paid", "source": "/shop", "id": "A-1", "subject": "u1",
        "time": "2026-01-05T08:00:00", "data": {"cents": 1999, "lines": [{"course": "c-9"}]},
    }  # fmt: skip

    assert cloud.decode(orjson.dumps(order)) == ev.Purchase(
        id="A-1", user_id="u1", time=1_767_600_000.0, amount=19.99, currency="EUR", course_id="c-9"
    )
    with pytest.raises(
        InvalidEvent, match=r"unknown_type \(type\): .*cloudevents.toml names no event for 'com.example.x'"
    ):
        cloud.decode(orjson.dumps({**order, "type": "com.example.x"}))


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda file: file.stem)
def test_an_example_names_fields_that_events_have(file):
    """It can be read, and every type that it names has all required fields."""
    assert load_mapping(file).fields


# -- files with errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type = ", "Invalid value"),
        (BASE, "type: nothing says which event an object becomes"),
        (LOGIN + "[feilds]\n", "feilds: 'feilds' is not known; did you mean fields?"),
        (LOGIN.replace("login", "logn"), "type: 'logn' is not known; did you mean login?"),
        (LOGIN + 'course = "c"\n', "fields.course: 'course' is not known; did you mean course_id?"),
        (LOGIN + '[login]\namount = "c"\n', "login.amount: 'amount' is not known"),
        (LOGIN + '[purchase]\namount = "c"\n', "purchase: nothing in `type` becomes that"),
        (PURCHASE, "purchase.amount: the event needs it, and nothing says where it is"),
        (LOGIN.replace('user_id = "u"\n', ""), "login.user_id: the event needs it, and nothing says where it is"),
        (LOGIN + "course_id = 5\n", "fields.course_id: "),
        (LOGIN + 'course_id = { form = "c" }\n', "fields.course_id: Object contains unknown field `form`"),
        (LOGIN + 'course_id = { from = "c", value = "d" }\n', "fields.course_id: expected either `from` or `value`"),
        (LOGIN + 'course_id = { default = "d" }\n', "fields.course_id: expected either `from` or `value`"),
        (LOGIN + 'course_id = "a..b"\n', "fields.course_id: 'a..b' is no path"),
        (LOGIN + 'course_id = { from = "c", zone = "UTC" }\n', "fields.course_id: `format` and `zone` are for times"),
        (LOGIN + 'course_id = { from = "c", scale = 2 }\n', "fields.course_id: `scale` is for numbers"),
        (LOGIN.replace('"seconds"', '"second"'), "fields.time: format 'second' is none of iso, seconds"),
        (LOGIN.replace('"seconds"', '"%Q"'), "fields.time: format '%Q' is none of"),
        (LOGIN.replace('format = "seconds"', 'zone = "Berlin"'), "fields.time: 'Berlin' is no time zone"),
        (LOGIN + "[only]\nx = { y = 1 }\n", "only.x: expected a value, or a list of values"),
        ('otherwise = "drop"\n' + LOGIN, "otherwise: 'drop' is neither bury nor skip"),
        ("login = 5\n" + LOGIN, "login: expected a table"),
    ],
)  # fmt: skip
def test_an_error_in_a_file_is_reported_with_its_key(tmp_path, text, message):
    """The message is one line and contains the file's name."""
    with pytest.raises(OperatorError) as wrong:
        mapping(tmp_path, text)
    assert str(wrong.value).startswith(f"{tmp_path / 'own.toml'}: {message}")
    assert "\n" not in str(wrong.value)


def test_a_missing_file_is_reported(tmp_path):
    """With the operating system's reason."""
    with pytest.raises(OperatorError, match=r"none\.toml: No such file or directory"):
        load_mapping(tmp_path / "none.toml")


# -- where it is used ---------------------------------------------------------------------------------------------


def test_a_file_of_foreign_objects_is_a_source(tmp_path):
    """Skipped lines are counted, invalid ones keep their bytes."""
    text = '[type]\nfrom = "e"\ntable = { in = "login" }\n' + BASE
    (tmp_path / "own.toml").write_text(text + "[only]\nv = 1\n")
    lines = [{"e": "in", "n": 1, "u": 2, "t": 3, "v": 1}, {"v": 2}, {"e": "out", "v": 1}]
    (tmp_path / "history.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    source = open_source(str(tmp_path / "history.jsonl"), mapping=tmp_path / "own.toml")
    good, bad = source

    assert (good.position, good.event) == (0, ev.Login(id="1", user_id="2", time=3.0))
    assert (bad.position, bad.raw, bad.error.reason) == (2, orjson.dumps(lines[2]), "unknown_type")
    assert source.skipped == 1


def test_a_foreign_object_is_mapped_even_if_it_looks_like_an_event(tmp_path):
    """The mapping file decides what the fields mean."""
    time = 'time = { from = "time", format = "seconds" }\n'
    (tmp_path / "own.toml").write_text('[type]\nvalue = "login"\n[fields]\nid = "id"\nuser_id = "id"\n' + time)
    (tmp_path / "history.jsonl").write_bytes(event_codec.encode(ev.Signup(id="n", user_id="u", time=3.0)))
    (entry,) = open_source(str(tmp_path / "history.jsonl"), mapping=tmp_path / "own.toml")
    assert entry.event == ev.Login(id="n", user_id="n", time=3.0)


def test_a_foreign_object_may_be_as_large_as_an_event(tmp_path):
    """A larger object is refused, although the mapped event would be small."""
    mapping(tmp_path, LOGIN)
    large = orjson.dumps({"n": 1, "u": 2, "t": 3, "more": "x" * 300_000})
    (tmp_path / "history.jsonl").write_bytes(large + b"\n" + large.replace(b"x" * 100, b""))
    source = open_source(str(tmp_path / "history.jsonl"), Settings(max_record_bytes=300_000), tmp_path / "own.toml")
    bad, good = source

    assert (bad.error.reason, bad.raw[:300_000]) == ("oversize", large[:300_000])
    assert good.event == ev.Login(id="1", user_id="2", time=3.0)


def test_a_data_set_has_its_own_mapping(tmp_path):
    """A mapping file for it is refused, not ignored."""
    with pytest.raises(OperatorError, match="a mapping file is for JSON Lines and topics; oulad has its own"):
        open_source("oulad:x", mapping=tmp_path / "own.toml")


def test_settings_name_the_mapped_topics(tmp_path):
    """All inputs or the named ones, each by its full name; an unknown one is refused."""
    mapping(tmp_path, LOGIN)
    file = str(tmp_path / "own.toml")
    inputs = ("a", "b")

    assert load_mappings(Settings()) == {}
    assert set(load_mappings(Settings(mapping=(file,), inputs=inputs, prefix="p-"))) == {"p-a", "p-b"}
    assert set(load_mappings(Settings(mapping=(f"b={file}",), inputs=inputs))) == {"b"}
    with pytest.raises(OperatorError, match=r"mapping: c is none of the inputs \(a, b\)"):
        load_mappings(Settings(mapping=(f"c={file}",), inputs=inputs))


def test_a_dead_letter_from_a_mapped_topic_is_mapped_again(tmp_path):
    """With the file as it is now, so repairing the file is enough; fields set on the command line are event fields."""
    mapping(tmp_path, PURCHASE + 'amount = "a"\n')
    settings = Settings(mapping=(f"orders={tmp_path / 'own.toml'}",), inputs=("orders", "events-of-ours"))

    def dead_letter(topic: str, value: bytes) -> DeadLetter:
        return DeadLetter(
            topic=topic, partition=0, offset=0, reason="x", field="", detail="", key=None, value=value, log_time=5.0
        )

    foreign = dead_letter("orders", b'{"n": 1, "u": 2, "t": 3, "a": "5"}')
    without = dead_letter("orders", b'{"n": 1, "u": 2, "t": 3}')
    own = dead_letter("events-of-ours", event_codec.encode(ev.Login(id="1", user_id="2", time=3.0)))

    assert repair(foreign, {}, settings) == ev.Purchase(id="1", user_id="2", time=3.0, amount=5.0)
    assert repair(without, {"amount": 7}, settings) == ev.Purchase(id="1", user_id="2", time=3.0, amount=7.0)
    assert repair(own, {}, settings) == ev.Login(id="1", user_id="2", time=3.0)
    with pytest.raises(OperatorError, match=r"still missing_field \(amount\)"):
        repair(without, {}, settings)
