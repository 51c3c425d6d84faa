"""A course's value in the table: its row, which record is in it, and the audience that is being gathered for it.

The table's changelog is what every worker reads of courses. The bytes begin as all values do: version, flags, fence.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from models.recommend.audience import AudienceMerge
from models.recommend.similarity import CooccurrenceRow
from streams.state.header import HEADER, InvalidValue

VERSION = 1
_WAITS = 1


class CourseState(Struct, frozen=True, array_like=True):
    """A row with the offset of the last record applied, and the audience of its announcement, until that is told."""

    row: CooccurrenceRow
    offset: int = -1
    gathering: AudienceMerge | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CourseState)


def seal(course: CourseState, fence: int) -> bytes:
    """Write a course."""
    waits = course.gathering is not None and course.gathering.waits
    return HEADER.pack(VERSION, _WAITS if waits else 0, fence) + _encoder.encode(course)


def waits(value: bytes) -> bool:
    """Return whether a course has an audience that is complete and not told yet, decoding nothing."""
    return len(value) >= HEADER.size and bool(value[1] & _WAITS)


def unseal(value: bytes) -> CourseState:
    """Read what `seal` wrote.

    Raises:
        InvalidValue: the value is of another version, or broken.
    """
    if len(value) < HEADER.size or value[0] != VERSION:
        found = value[0] if value else "nothing"
        raise InvalidValue(f"a course's value of version {found}, but this version of Encore reads {VERSION}")
    try:
        return _decoder.decode(memoryview(value)[HEADER.size :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidValue(f"a course's value is broken: {error}") from None
