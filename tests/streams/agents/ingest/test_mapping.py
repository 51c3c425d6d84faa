"""Mapping files: foreign objects become events. An error in a file is reported with its key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as settings_
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest.mapping import EventMapping, parse_path, value_at
from streams.agents.ingest.mapping_file import load_mapping, load_mappings
from streams.delivery.dead_letters import DeadLetter
from streams.errors import OperatorError
from streams.history.sources import open_source
from streams.operation.dead_letters import repair
from streams.settings import Settings

EXAMPLES = Path(__file__).parents[4] / "deploy" / "mappings"
BASE = '[fields]\nid = "n"\nuser_id = "u"\ntime = { from = "t", format = "seconds" }\n'
LOGIN = '[type]\nvalue = "login"\n' + BASE
PURCHASE = '[type]\nvalue = "purchase"\n' + BASE


def mapping(folder: Path, text: str) -> EventMapping:
    file = folder / "own.toml"
    file.write_text(text)
    return load_mapping(file)


def mapped(folder: Path, text: str, **found: object) -> ev.AnyEvent | None:
    return mapping(folder, text).decode(orjson.dumps({"n": 1, "u": 2, "t": 3, **found}))


def refused(folder: Path, text: str, **found: object) -> tuple[str, str | None]:
    with pytest.raises(InvalidEvent) as bad:
        mapped(folder, text, **found)
    return bad.value.reason, bad.value.field


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


# -- fields -------------------------------------------------------------------------------------------------------


def test_texts_and_numbers_are_turned_into_each_other(tmp_path):
    """As the event expects them; a whole number is written without a point."""
    text = PURCHASE + 'amount = "a"\ncourse_id = { from = "c", prefix = "c-" }\n'

    assert mapped(tmp_path, text, a=" 12.50 ", c=7.0, u=17850.0) == ev.Purchase(
        id="1", user_id="17850", time=3.0, amount=12.5, course_id="c-7"
    )
    assert mapped(tmp_path, text, a=7).amount == 7.0
    assert refused(tmp_path, text, a="seven") == ("wrong_type", "amount")
    assert refused(tmp_path, text, a=True) == ("wrong_type", "amount")
    assert refused(tmp_path, text, a="inf") == ("wrong_type", "amount")
    assert refused(tmp_path, text, a=-1) == ("impossible_value", "amount")
    assert refused(tmp_path, text) == ("missing_field", "amount")
    assert refused(tmp_path, text, a=1, u=["x"]) == ("wrong_type", "user_id")


def test_the_first_path_that_leads_to_a_value_counts(tmp_path):
    """An empty text and null are no value; the default is used if none is found."""
    text = LOGIN + 'course_id = { from = ["a.b[0]", "a.b[-1].c", "d"], default = "none" }\n'

    def course(**found):
        return mapped(tmp_path, text, **found).course_id

    assert course(a={"b": ["x", "y"]}) == "x"
    assert course(a={"b": [None, {"c": "y"}]}, d="z") == "y"
    assert course(a={"b": []}, d="z") == "z"
    assert course(a={"b": ""}, d="") == "none"
    assert course(a=[1]) == "none"


def test_a_table_of_values(tmp_path):
    """A value that is not in the table is absent; numbers and booleans are looked up as text."""
    text = PURCHASE + 'amount = { from = "plan", table = { m = 9.5, "2" = 99, true = 1 } }\n'

    assert [mapped(tmp_path, text, plan=plan).amount for plan in ("m", 2, 2.0, True)] == [9.5, 99.0, 99.0, 1.0]
    assert refused(tmp_path, text, plan="w") == ("missing_field", "amount")
    with_default = text.replace("true = 1 }", "true = 1 }, default = 0")
    assert mapped(tmp_path, with_default, plan="w").amount == 0.0


def test_numbers_are_scaled_without_rounding_errors(tmp_path):
    """1999 cents are 19.99."""
    text = PURCHASE + 'amount = { from = "cents", scale = 0.01 }\n'

    assert [mapped(tmp_path, text, cents=cents).amount for cents in (1999, "1999", 0)] == [19.99, 19.99, 0.0]


MOMENT = 1_767_596_400.0
"""5 January 2026, 08:00 in Berlin."""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ('{ from = "t" }', "2026-01-05T08:00:00+01:00"),
        ('{ from = "t" }', "2026-01-05T07:00:00.000Z"),
        ('{ from = "t", zone = "Europe/Berlin" }', "2026-01-05 08:00:00"),
        ('{ from = "t", zone = "Europe/Berlin" }', "2026-01-05T07:00:00Z"),
        ('{ from = "t", format = "seconds" }', MOMENT),
        ('{ from = "t", format = "seconds" }', str(MOMENT)),
        ('{ from = "t", format = "milliseconds" }', int(MOMENT * 1e3)),
        ('{ from = "t", format = "microseconds" }', int(MOMENT * 1e6)),
        ('{ from = "t", format = "%d.%m.%Y %H:%M", zone = "Europe/Berlin" }', "5.1.2026 08:00"),
        ('{ from = "t", format = "%d.%m.%Y %H:%M %z", zone = "Asia/Tokyo" }', "5.1.2026 08:00 +0100"),
    ],
)
def test_times_in_every_format(tmp_path, field, value):
    """All of them are the same moment."""
    text = LOGIN.replace('{ from = "t", format = "seconds" }', field)

    assert mapped(tmp_path, text, t=value).time == MOMENT


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ('{ from = "t" }', "2026-01-05T08:00:00", "impossible_value"),
        ('{ from = "t" }', "noon", "impossible_value"),
        ('{ from = "t" }', 5, "wrong_type"),
        ('{ from = "t", zone = "Asia/Tokyo" }', "0001-01-01", "impossible_value"),
        ('{ from = "t", format = "seconds" }', "soon", "wrong_type"),
        ('{ from = "t", format = "seconds" }', MOMENT * 1e3, "impossible_value"),
        ('{ from = "t", format = "%Y", zone = "UTC" }', "26", "impossible_value"),
        ('{ from = "t" }', None, "missing_field"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused(tmp_path, field, value, reason):
    """With the reason; a time without a zone is refused if the file names no zone."""
    text = LOGIN.replace('{ from = "t", format = "seconds" }', field)

    assert refused(tmp_path, text, t=value) == (reason, "time")


@given(
    st.datetimes(datetime(1971, 1, 2), datetime(2500, 1, 1)), st.sampled_from(["Europe/Berlin", "Asia/Shanghai", "UTC"])
)
def test_a_time_without_a_zone_is_read_in_the_files_zone(tmp_path_factory, moment, zone):
    """Also during daylight saving time."""
    moment = moment.replace(microsecond=0)
    text = LOGIN.replace('{ from = "t", format = "seconds" }', f'{{ from = "t", zone = "{zone}" }}')
    event = mapped(tmp_path_factory.mktemp("zone"), text, t=moment.isoformat())

    assert event.time == moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp()


# -- which objects ------------------------------------------------------------------------------------------------


def test_objects_that_do_not_meet_the_conditions_are_skipped(tmp_path):
    """All conditions of `only` must hold; true is not the number 1."""
    text = LOGIN + '[only]\n"meta.kind" = ["in", "back"]\nv = 1\n'

    assert mapped(tmp_path, text, meta={"kind": "back"}, v=1) is not None
    assert mapped(tmp_path, text, meta={"kind": "out"}, v=1) is None
    assert mapped(tmp_path, text, meta={"kind": "in"}, v=True) is None
    assert mapped(tmp_path, text, v=1) is None


def test_a_type_that_the_file_does_not_name(tmp_path):
    """It is refused, unless the file says to skip it."""
    text = '[type]\nfrom = "e"\ntable = { in = "login" }\n' + BASE

    assert refused(tmp_path, text, e="out") == ("unknown_type", "type")
    assert refused(tmp_path, text) == ("unknown_type", "type")
    assert mapped(tmp_path, 'otherwise = "skip"\n' + text, e="out") is None
    assert isinstance(mapped(tmp_path, text, e="in"), ev.Login)


def test_objects_may_name_the_event_type_themselves(tmp_path):
    """Without a table, the object's own value is the type; a tick is refused."""
    text = '[type]\nfrom = "e"\n' + BASE + '[purchase]\namount = "a"\n'

    assert mapped(tmp_path, text, e="purchase", a=5).amount == 5.0
    assert isinstance(mapped(tmp_path, text, e="like"), ev.Like)
    assert refused(tmp_path, text, e="tick") == ("unknown_type", "type")


def test_courses_can_be_mapped_too(tmp_path):
    """Their tags are a list, their lessons a whole number."""
    text = LOGIN.replace("login", "course_published").replace("user_id", "course_id")
    text += 'title = "n"\ntags = "tags"\nlessons = "l"\n'

    assert mapped(tmp_path, text, tags=["a", "b"], l="12") == ev.CoursePublished(
        id="1", course_id="2", time=3.0, title="1", tags=("a", "b"), lessons=12
    )


# -- paths --------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_characters="'", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.tuples(NAMES), st.lists(st.one_of(NAMES, st.integers(0, 3))))
def test_a_path_leads_to_its_value(first, more):
    """Quoted names may contain anything; an object built along a path has its value there, another one has none."""
    path = (*first, *more)
    written = "".join(f"[{step}]" if isinstance(step, int) else f".'{step}'" for step in path).removeprefix(".")
    value: object = "here"
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [None] * step + [value]

    assert parse_path(written) == path
    assert value_at(value, parse_path(written)) == "here"
    assert value_at({"other": 1}, (*path, "no such")) is None


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a.", "[0]", "a[x]", "a'b'", "a[0]b", "'a", "a b.[1"])
def test_an_invalid_path_is_refused(path):
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is no path"):
        parse_path(path)


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b", "c", "0"]), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["n", "u", "t", "e", "a", "c"]), JSON, max_size=6)
EVERYTHING = (
    '[type]\nfrom = ["e", "a.b"]\ndefault = "lesson_progress"\n[fields]\nid = ["n", "a[0]"]\nuser_id = "u"\n'
    'course_id = { from = "c", prefix = "p-", table = { x = "y" }, default = "z" }\n'
    'minutes = { from = "a.c[1]", scale = 0.1 }\namount = "a"\n'
)


@settings_(deadline=None)
@given(OBJECTS, st.sampled_from(["", ', format = "seconds"', ', zone = "UTC"', ', format = "%Y-%m-%d", zone = "UTC"']))
def test_an_object_has_one_fate(tmp_path_factory, found, form):
    """It is a valid event, or it is refused with a known reason."""
    text = EVERYTHING + f'time = {{ from = "t"{form} }}\n'
    try:
        event = mapping(tmp_path_factory.mktemp("any"), text).decode(orjson.dumps(found))
    except InvalidEvent as bad:
        assert bad.reason in {"unknown_type", "missing_field", "wrong_type", "impossible_value"}
        return
    assert event is not None and event_codec.decode(event_codec.encode(event)) == event


@settings_(deadline=None)
@given(st.binary(max_size=30))
def test_bytes_that_are_no_object_are_malformed(tmp_path_factory, raw):
    """No other exception is raised."""
    with pytest.raises(InvalidEvent, match=r"malformed|missing_field"):
        mapping(tmp_path_factory.mktemp("any"), LOGIN).decode(raw)


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
