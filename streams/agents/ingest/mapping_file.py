"""Mapping files: how a platform's own JSON objects become events of ours, said in TOML.

    otherwise = "skip"                          # an object of an unnamed kind: skip it, or bury it (the default)

    [only]                                      # objects of which this does not hold are skipped
    type = "track"                              # a value, or a list of values

    [type]                                      # which event it becomes
    from = "event"
    table = { "Order Completed" = "purchase", "Course Viewed" = "course_view" }

    [fields]                                    # fields of every event
    id = "messageId"
    user_id = ["userId", "anonymousId"]         # the first that is there
    time = { from = "timestamp", format = "iso", zone = "Europe/Berlin" }

    [purchase]                                  # fields of this type of event; they win over those above
    amount = { from = "properties.total", scale = 0.01 }
    currency = { value = "EUR" }
    course_id = "properties.products[0].product_id"

A field is a path, a list of paths, or a table of:

- `from`: a path or a list of them. A path is names with points between them; `[0]` is the first of a list, `[-1]` the
  last; a name in single quotes may hold points itself (`data.'a.b'`).
- `value`: always this; nothing is read.
- `table`: what each value (as text) becomes; one that is not in it counts as absent, or with `default` as that.
- `default`: what it is where nothing is found.
- `prefix`: put before a text.
- `scale`: what a number is multiplied by, such as 0.01 for cents.
- `format`, of `time` alone: `iso` (the default; also a date alone), `seconds`, `milliseconds`, `microseconds` since
  1970, or a pattern of strptime such as `%d/%m/%Y %H:%M`.
- `zone`, of `time` alone: where clocks stood that say no zone, such as `Asia/Shanghai`; without it they are refused.

Where an event wants a text a number is written out, and where it wants a number a text is read as one. A field that is
not found is left out, and whether the event can do without it is for the event to say.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.schema import events as ev
from streams.agents.ingest.mapping import EPOCHS, Field, Mapping, Path_, Spec, Values, steps
from streams.errors import OperatorError
from streams.kafka.topics import name as full_name
from streams.settings import Settings

KINDS = {kind: struct for kind, struct in ev.KINDS.items() if struct not in ev.LOG_KINDS}
"""What an object may become; ticks are nobody's to send through a mapping."""
OWN_KEYS = ("otherwise", "only", "type", "fields")


def load(file: Path) -> Mapping:
    """Read and check a mapping file.

    Raises:
        OperatorError: it cannot be read, or something in it is wrong; the message names the file and the key.
    """
    try:
        said = tomllib.loads(file.read_text())
        return _Reader(str(file), said).mapping()
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise OperatorError(f"{file}: {error}") from None


def of_topics(settings: Settings) -> dict[str, Mapping]:
    """Return the mapping of each input topic that has one, by the topic's full name.

    Raises:
        OperatorError: a file is wrong, or there is no such input.
    """
    mappings: dict[str, Mapping] = {}
    for entry in settings.mapping:
        topic, equals, file = entry.rpartition("=")
        if equals and topic not in settings.inputs:
            raise OperatorError(f"mapping: {topic} is none of the inputs ({', '.join(settings.inputs)})")
        loaded = load(Path(file))
        mappings |= {full_name(settings, name): loaded for name in ([topic] if equals else settings.inputs)}
    return mappings


class _Reader:
    """Reads what a mapping file says; ValueErrors name the key."""

    def __init__(self, file: str, said: dict[str, Any]) -> None:
        self._file = file
        self._said = said

    def mapping(self) -> Mapping:
        for key in self._said:
            _known(key, [*OWN_KEYS, *KINDS], key)
        if self._said.get("otherwise", "bury") not in ("bury", "skip"):
            raise ValueError(f"otherwise: {self._said['otherwise']!r} is neither bury nor skip")
        if "type" not in self._said:
            raise ValueError("type: nothing says which event an object becomes")
        kind = self._field("type", "type", self._said["type"], "text")
        named = self._named(kind)
        return Mapping(
            file=self._file,
            only=tuple(self._only()),
            type=kind,
            fields={name: self._fields(name, name in named) for name in (named or KINDS)},
            skips=self._said.get("otherwise") == "skip",
        )

    def _named(self, kind: Field) -> list[str]:
        """Return the types of event that objects can become, as far as the file says."""
        spec = kind.spec
        found = [*(spec.table or {}).values(), *(value for value in (spec.value, spec.default) if value is not None)]
        for name in found:
            _known(str(name), KINDS, "type")
        for name in set(KINDS) & set(self._said):
            if found and name not in found:
                raise ValueError(f"{name}: nothing in `type` becomes that")
        return [str(name) for name in found] if spec.table is not None or spec.value is not None else []

    def _only(self) -> Iterable[tuple[Path_, Values]]:
        for path, wanted in self._table("only").items():
            values = wanted if isinstance(wanted, list) else [wanted]
            if not all(isinstance(value, str | int | float) for value in values):
                raise ValueError(f"only.{path}: expected a value, or a list of values")
            yield self._steps(f"only.{path}", path), tuple(values)

    def _fields(self, kind: str, strict: bool) -> dict[str, Field]:
        """Return the fields of a type of event; where it is sure to be meant, none that it needs may be missing."""
        fields = {}
        shared, own = self._table("fields"), self._table(kind)
        known = {field.name: field for field in msgspec.structs.fields(KINDS[kind])}
        for name in shared:
            _known(name, {field for struct in KINDS.values() for field in struct.__struct_fields__}, f"fields.{name}")
        for name in own:
            _known(name, known, f"{kind}.{name}")
        for name, field in known.items():
            if name in own:
                fields[name] = self._field(f"{kind}.{name}", name, own[name], _wants(KINDS[kind], name))
            elif name in shared:
                fields[name] = self._field(f"fields.{name}", name, shared[name], _wants(KINDS[kind], name))
            elif field.required and strict:
                raise ValueError(f"{kind}.{name}: the event needs it, and nothing says where it is")
        return fields

    def _field(self, key: str, name: str, said: Any, wants: Literal["text", "number", "time", "any"]) -> Field:
        try:
            spec = msgspec.convert(said if isinstance(said, dict) else {"from": said}, Spec)
        except msgspec.ValidationError as error:
            raise ValueError(f"{key}: {error}") from None
        paths = (spec.paths,) if isinstance(spec.paths, str) else spec.paths
        if bool(paths) == (spec.value is not None):
            raise ValueError(f"{key}: expected either `from` or `value`")
        if (spec.format or spec.zone) and wants != "time":
            raise ValueError(f"{key}: `format` and `zone` are for times")
        if (spec.scale is not None and wants != "number") or (spec.prefix and wants != "text"):
            raise ValueError(f"{key}: `scale` is for numbers and `prefix` for texts")
        if spec.format:
            _checked(key, spec.format)
        field = Field(spec=spec, paths=tuple(self._steps(key, path) for path in paths), wants=wants)
        return replace(field, zone=_zone(key, spec.zone)) if spec.zone else field

    def _table(self, key: str) -> dict[str, Any]:
        table = self._said.get(key, {})
        if not isinstance(table, dict):
            raise ValueError(f"{key}: expected a table")
        return table

    def _steps(self, key: str, path: str) -> Path_:
        try:
            return steps(path)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None


def _known(name: str, names: Iterable[str], key: str) -> None:
    known = list(names)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise ValueError(f"{key}: {name!r} is not known" + (f"; did you mean {near[0]}?" if near else ""))


def _wants(kind: type[Struct], name: str) -> Literal["text", "number", "time", "any"]:
    if name == "time":
        return "time"
    hint = get_type_hints(kind)[name]
    types = set(get_args(hint)) or {hint}
    return "text" if str in types else "number" if types & {int, float} else "any"


def _checked(key: str, form: str) -> None:
    """Refuse a format that could never read anything."""
    if form == "iso" or form in EPOCHS:
        return
    try:
        assert "%" in form
        datetime.strptime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(form), form)
    except (AssertionError, ValueError):
        raise ValueError(f"{key}: format {form!r} is none of iso, {', '.join(EPOCHS)}, nor one of strptime") from None


def _zone(key: str, name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{key}: {name!r} is no time zone that this machine knows") from None
