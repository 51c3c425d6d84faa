"""Decodes events from JSON with validation in one pass, and encodes them.

Every invalid input raises `InvalidEvent` with a reason code, and nothing else.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from models.schema.errors import InvalidEvent
from models.schema.events import KINDS, LAST_TIME, AnyEvent

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(functools.reduce(operator.or_, KINDS.values()))
_encoder = msgspec.json.Encoder()
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_FIELD_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def decode(raw: bytes) -> AnyEvent:
    """Decode and validate one event.

    Args:
        raw: UTF-8 JSON, one object.

    Returns:
        The typed event. Its `time` is in seconds since 1970 UTC, whatever form it had.

    Raises:
        InvalidEvent: with a reason code and the invalid field. Nothing else is raised, whatever the bytes are.

    Examples:
        >>> decode(b'{"type": "login", "id": "e1", "user_id": "u1", "time": "2026-01-05T08:00:00+01:00"}')
        Login(id='e1', user_id='u1', time=1767596400.0, course_id=None)
        >>> decode(b'{"type": "live_session", "id": "e1", "user_id": "u1", "time": 5, "minutes": -1}')
        Traceback (most recent call last):
        ...
        models.schema.errors.InvalidEvent: impossible_value (minutes): Expected `float` >= 0.0
    """
    try:
        event = _decoder.decode(raw)
    except _DECODE_ERRORS as error:
        raise _invalid_event(error) from None
    return event if event.time.__class__ is float else _convert_time(event)


def decode_all(raws: Iterable[bytes]) -> list[AnyEvent]:
    """Decode and validate many events, each as `decode` does.

    Raises:
        InvalidEvent: for the first invalid event. Its position is not given.
    """
    try:
        events = list(map(_decoder.decode, raws))
    except _DECODE_ERRORS as error:
        raise _invalid_event(error) from None
    return [event if event.time.__class__ is float else _convert_time(event) for event in events]


def encode(event: AnyEvent) -> bytes:
    """Encode an event for `decode`; fields with their default value are left out."""
    return _encoder.encode(event)


def _convert_time(event: AnyEvent) -> AnyEvent:
    """Replace the date by seconds in place: the event is new and has no other reference yet."""
    moment: object = event.time
    assert isinstance(moment, datetime)
    seconds = moment.timestamp()
    if not 0 <= seconds <= LAST_TIME:
        raise InvalidEvent("impossible_value", "time", "Expected a time between 1970 and 3000")
    msgspec.structs.force_setattr(event, "time", seconds)
    return event


def _invalid_event(error: Exception) -> InvalidEvent:
    """Derive reason code and field from an error message of msgspec."""
    if not isinstance(error, msgspec.ValidationError):
        return InvalidEvent("malformed", None, str(error))
    message = str(error)
    found = _FIELD_PATH.search(message)
    field = found.group(1) or None if found else None
    text = message[: found.start()] if found else message
    if text.startswith("Invalid value") and field == "type":
        return InvalidEvent("unknown_type", field, text)
    if text.startswith("Object missing required field"):
        return InvalidEvent("missing_field", text.split("`")[1], text)
    if field is None:
        return InvalidEvent("malformed", None, text)
    if " got `" in text or "Invalid" in text or text == "Expected `str`":
        return InvalidEvent("wrong_type", field, text)
    return InvalidEvent("impossible_value", field, text)
