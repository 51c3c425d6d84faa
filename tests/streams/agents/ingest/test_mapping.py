"""Mappings: foreign objects become events, are skipped, or are refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as settings_
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest.mapping import parse_path, value_at
from tests.streams.agents.ingest.mapping_files import BASE, LOGIN, PURCHASE, mapped, mapping, refused

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


# -- any object ---------------------------------------------------------------------------------------------------

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
