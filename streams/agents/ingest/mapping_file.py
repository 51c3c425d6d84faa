"""Mapping files: TOML files that say how a platform's own JSON objects become events.

    otherwise = "skip"                          # objects of a type not named below: "skip", or "bury" (the default)

    [only]                                      # objects that do not meet all of these conditions are skipped
    type = "track"                              # the expected value, or a list of values

    [type]                                      # which event an object becomes
    from = "event"
    table = { "Order Completed" = "purchase", "Course Viewed" = "course_view" }

    [fields]                                    # fields of every event
    id = "messageId"
    user_id = ["userId", "anonymousId"]         # the first path that leads to a value
    time = { from = "timestamp", format = "iso", zone = "Europe/Berlin" }

    [purchase]                                  # fields of this type of event; they override those above
    amount = { from = "properties.total", scale = 0.01 }
    currency = { value = "EUR" }
    course_id = "properties.products[0].product_id"

With `otherwise = "bury"`, an object of a type that the file does not name becomes a dead letter.

A field is a path, a list of paths, or a table with these keys:

- `from`: a path, or a list of paths, of which the first that leads to a value counts. An empty text and null are no
  value. A path consists of names with points between them. `[0]` is the first item of a list, `[-1]` the last one. A
  name in single quotes may contain points itself: `data.'a.b'`.
- `value`: a constant. Nothing is read from the object. A field has either `from` or `value`.
- `table`: translates each value, looked up as text. A value that is not in the table counts as absent, so it becomes
  the `default` if there is one.
- `default`: the value to use if none is found.
- `prefix`: is put before a text.
- `scale`: multiplies a number, for example 0.01 for cents.
- `format`, only for `time`: `iso` (the default; a date alone is allowed), `seconds`, `milliseconds` or `microseconds`
  since 1970, or a pattern of strptime such as `%d/%m/%Y %H:%M`.
- `zone`, only for `time`: the time zone of times that name none, such as `Asia/Shanghai`. Without it, such times are
  refused.

Types are converted: if an event expects a text, a number is written out; if it expects a number, a text is parsed. A
field that is not found is left out. Whether the event is valid without it is decided when the event is validated.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, get_args, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.schema import events as ev
from streams.agents.ingest.mapping import (
    EPOCH_FORMATS,
    EventMapping,
    FieldMapping,
    FieldSpec,
    JsonPath,
    Target,
    Values,
    parse_path,
)
from streams.errors import OperatorError
from streams.kafka.topics import name as full_name
from streams.settings import Settings

KINDS = {kind: struct for kind, struct in ev.KINDS.items() if struct not in ev.INTERNAL_KINDS}
"""The types of event that an object may become. Ticks and the log's other own records are excluded."""
OWN_KEYS = ("otherwise", "only", "type", "fields")


def load_mapping(file: Path) -> EventMapping:
    """Read and check a mapping file.

    Raises:
        OperatorError: it cannot be read, or something in it is wrong; the message names the file and the key.
    """
    try:
        content = tomllib.loads(file.read_text())
        return _Parser(str(file), content).parse()
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise OperatorError(f"{file}: {error}") from None


def load_mappings(settings: Settings) -> dict[str, EventMapping]:
    """Return the mapping of each input topic that has one, by the topic's full name.

    Raises:
        OperatorError: a file is wrong, or there is no such input.
    """
    mappings: dict[str, EventMapping] = {}
    for entry in settings.mapping:
        topic, equals, file = entry.rpartition("=")
        if equals and topic not in settings.inputs:
            raise OperatorError(f"mapping: {topic} is none of the inputs ({', '.join(settings.inputs)})")
        mapping = load_mapping(Path(file))
        mappings |= {full_name(settings, name): mapping for name in ([topic] if equals else settings.inputs)}
    return mappings


class _Parser:
    """Turns a mapping file's content into a mapping; its ValueErrors name the key."""

    def __init__(self, file: str, content: dict[str, Any]) -> None:
        self._file = file
        self._content = content

    def parse(self) -> EventMapping:
        for key in self._content:
            _check_known(key, [*OWN_KEYS, *KINDS], key)
        if self._content.get("otherwise", "bury") not in ("bury", "skip"):
            raise ValueError(f"otherwise: {self._content['otherwise']!r} is neither bury nor skip")
        if "type" not in self._content:
            raise ValueError("type: nothing says which event an object becomes")
        type_field = self._field("type", self._content["type"], "text")
        named = self._named_kinds(type_field)
        return EventMapping(
            file=self._file,
            conditions=tuple(self._conditions()),
            type=type_field,
            fields={kind: self._fields(kind, kind in named) for kind in (named or KINDS)},
            skip_unknown=self._content.get("otherwise") == "skip",
        )

    def _named_kinds(self, type_field: FieldMapping) -> list[str]:
        """Return the types of event that the file names; none if they are read from the objects themselves."""
        spec = type_field.spec
        found = [*(spec.table or {}).values(), *(value for value in (spec.value, spec.default) if value is not None)]
        for kind in found:
            _check_known(str(kind), KINDS, "type")
        for kind in set(KINDS) & set(self._content):
            if found and kind not in found:
                raise ValueError(f"{kind}: nothing in `type` becomes that")
        return [str(kind) for kind in found] if spec.table is not None or spec.value is not None else []

    def _conditions(self) -> Iterable[tuple[JsonPath, Values]]:
        for path, expected in self._table("only").items():
            values = expected if isinstance(expected, list) else [expected]
            if not all(isinstance(value, str | int | float) for value in values):
                raise ValueError(f"only.{path}: expected a value, or a list of values")
            yield self._path(f"only.{path}", path), tuple(values)

    def _fields(self, kind: str, strict: bool) -> dict[str, FieldMapping]:
        """Return the fields of a type of event.

        Args:
            kind: the type.
            strict: whether the file names the type. Then no field may be missing that the event requires.
        """
        fields = {}
        shared, own = self._table("fields"), self._table(kind)
        known = {field.name: field for field in msgspec.structs.fields(KINDS[kind])}
        any_kind = {field for struct in KINDS.values() for field in struct.__struct_fields__}
        for name in shared:
            _check_known(name, any_kind, f"fields.{name}")
        for name in own:
            _check_known(name, known, f"{kind}.{name}")
        for name, field in known.items():
            if name in own:
                fields[name] = self._field(f"{kind}.{name}", own[name], _target(KINDS[kind], name))
            elif name in shared:
                fields[name] = self._field(f"fields.{name}", shared[name], _target(KINDS[kind], name))
            elif field.required and strict:
                raise ValueError(f"{kind}.{name}: the event needs it, and nothing says where it is")
        return fields

    def _field(self, key: str, content: Any, target: Target) -> FieldMapping:
        try:
            spec = msgspec.convert(content if isinstance(content, dict) else {"from": content}, FieldSpec)
        except msgspec.ValidationError as error:
            raise ValueError(f"{key}: {error}") from None
        paths = (spec.paths,) if isinstance(spec.paths, str) else spec.paths
        if bool(paths) == (spec.value is not None):
            raise ValueError(f"{key}: expected either `from` or `value`")
        if (spec.format or spec.zone) and target != "time":
            raise ValueError(f"{key}: `format` and `zone` are for times")
        if (spec.scale is not None and target != "number") or (spec.prefix and target != "text"):
            raise ValueError(f"{key}: `scale` is for numbers and `prefix` for texts")
        if spec.format:
            _check_format(key, spec.format)
        field = FieldMapping(spec=spec, paths=tuple(self._path(key, path) for path in paths), target=target)
        return replace(field, zone=_zone(key, spec.zone)) if spec.zone else field

    def _table(self, key: str) -> dict[str, Any]:
        table = self._content.get(key, {})
        if not isinstance(table, dict):
            raise ValueError(f"{key}: expected a table")
        return table

    def _path(self, key: str, path: str) -> JsonPath:
        try:
            return parse_path(path)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None


def _check_known(name: str, known: Iterable[str], key: str) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise ValueError(f"{key}: {name!r} is not known" + (f"; did you mean {near[0]}?" if near else ""))


def _target(kind: type[Struct], name: str) -> Target:
    """Return what an event's field expects."""
    if name == "time":
        return "time"
    hint = get_type_hints(kind)[name]
    types = set(get_args(hint)) or {hint}
    return "text" if str in types else "number" if types & {int, float} else "any"


def _check_format(key: str, form: str) -> None:
    """Refuse a format that can never parse anything."""
    if form == "iso" or form in EPOCH_FORMATS:
        return
    try:
        assert "%" in form
        datetime.strptime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(form), form)
    except (AssertionError, ValueError):
        known = ", ".join(EPOCH_FORMATS)
        raise ValueError(f"{key}: format {form!r} is none of iso, {known}, nor one of strptime") from None


def _zone(key: str, name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{key}: {name!r} is no time zone that this machine knows") from None
