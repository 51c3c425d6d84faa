"""The header of every value in a table: version, flags and fence, six bytes.

All tables share it, so that recovery can compare fences without knowing what a value holds.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("<BBI")
"""Version (u8), flags (u8) and fence (u32), little-endian."""
MIN_SIZE = 30
"""Bytes. A shorter value is not one of ours: a user's prefix has this size, and a course's value is longer."""
_FENCE = slice(2, HEADER.size)


class InvalidValue(Exception):
    """A table's value that this version cannot read; the message says why."""


def fence_of(value: bytes) -> int:
    """Return the fence under which a value was written; 0 if it is not a value of a table."""
    return int.from_bytes(value[_FENCE], "little") if len(value) >= MIN_SIZE else 0
