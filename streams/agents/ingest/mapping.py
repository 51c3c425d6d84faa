"""Mappings at work: a platform's own JSON object becomes an event of ours, field by field.

What a mapping file may say stands in `streams.agents.ingest.mapping_file`, which reads and checks it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, TypeAlias

import orjson
from msgspec import Struct

from models.schema import events as ev
from models.schema.errors import InvalidEvent

EPOCHS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6}
"""Formats of times that are numbers, with their unit in seconds."""

Path_: TypeAlias = tuple[str | int, ...]
Values: TypeAlias = tuple[Any, ...]

_STEP = re.compile(r"(?:^|\.)(?:'([^']+)'|([^.\[\]']+))|\[(-?[0-9]{1,6})\]")


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"paths": "from"}):
    """Where a field is and what is done to it, as the file says."""

    paths: str | tuple[str, ...] = ()
    value: str | bool | int | float | None = None
    table: dict[str, str | bool | int | float] | None = None
    default: str | bool | int | float | None = None
    prefix: str = ""
    scale: float | None = None
    format: str | None = None
    zone: str | None = None


class Field(Struct, frozen=True, kw_only=True):
    """Where a field is and what is done to it, ready for use."""

    spec: Spec
    paths: tuple[Path_, ...]
    wants: Literal["text", "number", "time", "any"]
    zone: tzinfo | None = None

    def read(self, found: dict[str, Any]) -> Any:
        """Return the field's value in an object, None if it is absent.

        Raises:
            InvalidEvent: it is a time that cannot be read.
        """
        value = self.spec.value
        if value is None:
            value = next((there for path in self.paths if (there := at(found, path)) not in (None, "")), None)
        if self.spec.table is not None and value is not None:
            value = self.spec.table.get(_text(value))
        if value is None:
            value = self.spec.default
        return value if value is None else self._shaped(value)

    def _shaped(self, value: Any) -> Any:
        if self.wants == "time":
            return _seconds(value, self.spec.format or "iso", self.zone)
        if self.wants == "number":
            number = _number(value)
            if number is None:
                return value
            return number if self.spec.scale is None else float(f"{number * self.spec.scale:.12g}")
        if self.wants == "text" and isinstance(value, str | int | float) and not isinstance(value, bool):
            return self.spec.prefix + _text(value)
        return value


class Mapping(Struct, frozen=True, kw_only=True):
    """A mapping file, checked; `fields` are those of each type of event."""

    file: str
    only: tuple[tuple[Path_, Values], ...]
    type: Field
    fields: dict[str, dict[str, Field]]
    skips: bool

    def translate(self, raw: bytes) -> bytes | None:
        """Return a foreign object as an event of ours, encoded but not yet validated; None if it is skipped.

        Raises:
            InvalidEvent: it is no JSON object, of no kind that the file names, or its time cannot be read.
        """
        found = _object(raw)
        if not all(_among(at(found, path), values) for path, values in self.only):
            return None
        kind = self.type.read(found)
        if not isinstance(kind, str) or kind not in self.fields:
            if self.skips:
                return None
            raise InvalidEvent("unknown_type", "type", f"{self.file} names no event for {self._said(found)}")
        read = {field: rule.read(found) for field, rule in self.fields[kind].items()}
        return orjson.dumps({"type": kind, **{field: value for field, value in read.items() if value is not None}})

    def event(self, raw: bytes) -> ev.AnyEvent | None:
        """Return a foreign object as an event, None if it is skipped.

        Raises:
            InvalidEvent: it is none, and why.
        """
        translated = self.translate(raw)
        return None if translated is None else ev.decode(translated)

    def _said(self, found: dict[str, Any]) -> str:
        return repr(next((there for path in self.type.paths if (there := at(found, path)) is not None), None))[:80]


def at(found: Any, path: Path_) -> Any:
    """Return what stands at a path in an object, None where there is nothing.

    Examples:
        >>> at({"products": [{"sku": "c-1"}]}, ("products", 0, "sku"))
        'c-1'
    """
    for step in path:
        if isinstance(step, str):
            found = found.get(step) if isinstance(found, dict) else None
        else:
            found = found[step] if isinstance(found, list) and -len(found) <= step < len(found) else None
    return found


def steps(path: str) -> Path_:
    """Return the steps of a path as it is written.

    Raises:
        ValueError: it is no path.

    Examples:
        >>> steps("data.'order.lines'[0].sku")
        ('data', 'order.lines', 0, 'sku')
    """
    taken: list[str | int] = []
    end = 0
    while found := _STEP.match(path, end):
        quoted, plain, index = found.groups()
        taken.append(int(index) if index is not None else quoted or plain)
        end = found.end()
    if path.startswith(".") or end < len(path) or not taken or isinstance(taken[0], int):
        raise ValueError(f"{path!r} is no path: expected such as data.order.lines[0].sku")
    return tuple(taken)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent("malformed", None, str(error)) from None
    if not isinstance(found, dict):
        raise InvalidEvent("malformed", None, "Expected an object")
    return found


def _among(there: Any, values: Values) -> bool:
    return any(there == value and isinstance(there, bool) == isinstance(value, bool) for value in values)


def _text(value: Any) -> str:
    """Return a value as text; a whole number without a point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _number(value: Any) -> float | int | None:
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
    try:
        if form in EPOCHS:
            number = _number(value)
            if number is None:
                raise InvalidEvent("wrong_type", "time", f"Expected {form} since 1970, got {str(value)[:50]!r}")
            return round(number * EPOCHS[form], 6)
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
