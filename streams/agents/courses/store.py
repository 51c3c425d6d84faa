"""A course's value in the table: its row, the last record applied, and the audience that is being collected for it.

Every worker reads the table's changelog to know the courses. The bytes begin like all values: version, flags, fence.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from models.recommend.audience import AudienceMerge
from models.recommend.cooccurrence import CooccurrenceRow
from streams.state.header import HEADER, InvalidValue

VERSION = 1
_HAS_UNPUBLISHED_AUDIENCE = 1
"""The flag of a course whose audience is complete and not published yet."""


class CourseState(Struct, frozen=True, array_like=True):
    """A course's row, the offset of the last record applied, and the audience of its latest announcement."""

    row: CooccurrenceRow
    offset: int = -1
    audience: AudienceMerge | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CourseState)


def encode_course(course: CourseState, fence: int) -> bytes:
    """Return a course's bytes, under the fence of the partition's owner."""
    flags = _HAS_UNPUBLISHED_AUDIENCE if course.audience is not None and course.audience.is_ready else 0
    return HEADER.pack(VERSION, flags, fence) + _encoder.encode(course)


def has_unpublished_audience(value: bytes) -> bool:
    """Return whether a course's audience is complete and not published yet, without decoding the value."""
    return len(value) >= HEADER.size and bool(value[1] & _HAS_UNPUBLISHED_AUDIENCE)


def decode_course(value: bytes) -> CourseState:
    """Decode what `encode_course` returned.

    Raises:
        InvalidValue: the value has another version, or is broken.
    """
    if len(value) < HEADER.size or value[0] != VERSION:
        found = value[0] if value else "nothing"
        raise InvalidValue(f"a course's value has version {found}, but this version of Encore reads {VERSION}")
    try:
        return _decoder.decode(memoryview(value)[HEADER.size :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidValue(f"a course's value is broken: {error}") from None
