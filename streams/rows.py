"""A course's value in the table: its row, which record is in it, and the audience that is being gathered for it.

The table's changelog is what every worker reads of courses. The bytes begin as all values do: version, flags, fence.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct

from models.recommend.audience import Gathering
from models.similarity import Row
from streams.envelope import BadEnvelope

VERSION = 1
_PREFIX = struct.Struct("<BBI")
_WAITS = 1


class Course(Struct, frozen=True, array_like=True):
    """A row with the offset of the last record applied, and the audience of its announcement, until that is told."""

    row: Row
    offset: int = -1
    gathering: Gathering | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Course)


def seal(course: Course, fence: int) -> bytes:
    """Write a course."""
    waits = course.gathering is not None and course.gathering.waits
    return _PREFIX.pack(VERSION, _WAITS if waits else 0, fence) + _encoder.encode(course)


def waits(value: bytes) -> bool:
    """Return whether a course has an audience that is complete and not told yet, decoding nothing."""
    return len(value) >= _PREFIX.size and bool(value[1] & _WAITS)


def unseal(value: bytes) -> Course:
    """Read what `seal` wrote.

    Raises:
        BadEnvelope: the value is of another version, or broken.
    """
    if len(value) < _PREFIX.size or value[0] != VERSION:
        found = value[0] if value else "nothing"
        raise BadEnvelope(f"a course's value of version {found}, but this version of Encore reads {VERSION}")
    try:
        return _decoder.decode(memoryview(value)[_PREFIX.size :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadEnvelope(f"a course's value is broken: {error}") from None
