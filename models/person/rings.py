"""Ring buffers of byte counters: slot `i % size` counts what happened on day or week `i`."""

from __future__ import annotations


def advance(ring: bytes, newest: int, index: int) -> bytes:
    """Return the ring with every slot after `newest` up to `index` cleared, so that `index` is the newest."""
    size = len(ring)
    if index - newest >= size:
        return bytes(size)
    cleared = bytearray(ring)
    for number in range(newest + 1, index + 1):
        cleared[number % size] = 0
    return bytes(cleared)


def increment(ring: bytes, slot: int) -> bytes:
    """Return the ring with one more in a slot; a counter stops at 255."""
    if ring[slot] == 255:
        return ring
    counters = bytearray(ring)
    counters[slot] += 1
    return bytes(counters)
