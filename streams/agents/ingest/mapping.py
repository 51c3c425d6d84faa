"""Mappings at work: convert a platform's own JSON objects into events, field by field.

`streams.agents.ingest.mapping_file` describes, reads and checks mapping files.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, TypeAlias

import orjson
from msgspec import Struct

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent

EPOCH_FORMATS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6}
"""Formats of times that are numbers, with their unit in seconds."""

JsonPath: TypeAlias = tuple[str | int, ...]
Values: TypeAlias = tuple[Any, ...]
Target: TypeAlias = Literal["text", "number", "time", "any"]
"""What an event's field expects."""

_STEP = re.compile(r"(?:^|\.)(?:'([^']+)'|([^.\[\]']+))|\[(-?[0-9]{1,6})\]")


class FieldSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"paths": "from"}):
    """Where a field is found and how it is converted, as written in the file."""

    paths: str | tuple[str, ...] = ()
    value: str | bool | int | float | None = None
    table: dict[str, str | bool | int | float] | None = None
    default: str | bool | int | float | None = None
    prefix: str = ""
    scale: float | None = None
    format: str | None = None
    zone: str | None = None


class FieldMapping(Struct, frozen=True, kw_only=True):
    """Where a field is found and how it is converted, checked and ready for use."""

    spec: FieldSpec
    paths: tuple[JsonPath, ...]
    target: Target
    zone: tzinfo | None = None

    def read(self, source: dict[str, Any]) -> Any:
        """Return the field's value in an object, None if it is absent.

        Raises:
            InvalidEvent: it is a time that cannot be read.
        """
        value = self.spec.value
        if value is None:
            value = next((found for path in self.paths if (found := value_at(source, path)) not in (None, "")), None)
        if self.spec.table is not None and value is not None:
            value = self.spec.table.get(_text(value))
        if value is None:
            value = self.spec.default
        return value if value is None else self._convert(value)

    def _convert(self, value: Any) -> Any:
        if self.target == "time":
            return _seconds(value, self.spec.format or "iso", self.zone)
        if self.target == "number":
            number = _number(value)
            if number is None:
                return value
            return number if self.spec.scale is None else float(f"{number * self.spec.scale:.12g}")
        if self.target == "text" and isinstance(value, str | int | float) and not isinstance(value, bool):
            return self.spec.prefix + _text(value)
        return value


class EventMapping(Struct, frozen=True, kw_only=True):
    """A checked mapping file; `fields` holds the fields of each type of event."""

    file: str
    conditions: tuple[tuple[JsonPath, Values], ...]
    type: FieldMapping
    fields: dict[str, dict[str, FieldMapping]]
    skip_unknown: bool

    def translate(self, raw: bytes) -> bytes | None:
        """Return a foreign object as an encoded event that is not validated yet; None if it is skipped.

        Raises:
            InvalidEvent: it is no JSON object, the file does not name its type, or its time cannot be read.
        """
        source = _decode_object(raw)
        if not all(_is_among(value_at(source, path), values) for path, values in self.conditions):
            return None
        kind = self.type.read(source)
        if not isinstance(kind, str) or kind not in self.fields:
            if self.skip_unknown:
                return None
            raise InvalidEvent("unknown_type", "type", f"{self.file} names no event for {self._show_type(source)}")
        read = {name: field.read(source) for name, field in self.fields[kind].items()}
        return orjson.dumps({"type": kind, **{name: value for name, value in read.items() if value is not None}})

    def decode(self, raw: bytes) -> ev.AnyEvent | None:
        """Return a foreign object as a validated event, None if it is skipped.

        Raises:
            InvalidEvent: it is no valid event, and why.
        """
        translated = self.translate(raw)
        return None if translated is None else event_codec.decode(translated)

    def _show_type(self, source: dict[str, Any]) -> str:
        values = (value_at(source, path) for path in self.type.paths)
        return repr(next((value for value in values if value is not None), None))[:80]


def value_at(source: Any, path: JsonPath) -> Any:
    """Return the value at a path in an object, None if there is none.

    Examples:
        >>> value_at({"products": [{"sku": "c-1"}]}, ("products", 0, "sku"))
        'c-1'
    """
    for step in path:
        if isinstance(step, str):
            source = source.get(step) if isinstance(source, dict) else None
        else:
            source = source[step] if isinstance(source, list) and -len(source) <= step < len(source) else None
    return source


def parse_path(path: str) -> JsonPath:
    """Return the steps of a written path.

    Raises:
        ValueError: it is no path.

    Examples:
        >>> parse_path("data.'order.lines'[0].sku")
        ('data', 'order.lines', 0, 'sku')
    """
    steps: list[str | int] = []
    end = 0
    while found := _STEP.match(path, end):
        quoted, plain, index = found.groups()
        steps.append(int(index) if index is not None else quoted or plain)
        end = found.end()
    if path.startswith(".") or end < len(path) or not steps or isinstance(steps[0], int):
        raise ValueError(f"{path!r} is no path: expected one like data.order.lines[0].sku")
    return tuple(steps)


def _decode_object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent("malformed", None, str(error)) from None
    if not isinstance(found, dict):
        raise InvalidEvent("malformed", None, "Expected an object")
    return found


def _is_among(found: Any, values: Values) -> bool:
    """Return whether a value is one of some values; true is not 1."""
    return any(found == value and isinstance(found, bool) == isinstance(value, bool) for value in values)


def _text(value: Any) -> str:
    """Return a value as text; a whole number without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _number(value: Any) -> float | int | None:
    """Return a finite number, also one written as text; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _seconds(value: Any, form: str, zone: tzinfo | None) -> float:
    """Return a time in seconds since 1970."""
    try:
        if form in EPOCH_FORMATS:
            number = _number(value)
            if number is None:
                raise InvalidEvent("wrong_type", "time", f"Expected {form} since 1970, got {str(value)[:50]!r}")
            return round(number * EPOCH_FORMATS[form], 6)
        if not isinstance(value, str):
            raise InvalidEvent("wrong_type", "time", f"Expected a text, got {str(value)[:50]!r}")
        moment = datetime.fromisoformat(value.strip()) if form == "iso" else datetime.strptime(value.strip(), form)
        if moment.tzinfo is None and zone is None:
            raise InvalidEvent(
                "impossible_value", "time", f"{value[:50]!r} says no zone, and the mapping file names none"
            )
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        expected = "RFC 3339" if form == "iso" else form
        raise InvalidEvent("impossible_value", "time", f"Expected {expected}, got {str(value)[:50]!r}") from None
