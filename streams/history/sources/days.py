"""Moments of the day for data that has none: where only a day is known, events still need an order within it.

A person's day begins at a moment between 07:00 and 20:30 UTC, and all that they do on it lies within 90 minutes of
that. Both come from hashes of numbers, so they are the same whenever and wherever the data is read. They mean nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY

EARLIEST = 7 * 3_600
WIDTH = 13 * 3_600 + 1_801
SESSION = 5_400
"""Seconds within which all events of a person's day lie."""

Numbers = NDArray[np.float64] | NDArray[np.int64]


def begins(people: Numbers, days: Numbers) -> NDArray[np.float64]:
    """Return when these people begin these days.

    Args:
        people: a number for each person.
        days: days since 1970.

    Returns:
        Seconds since 1970 UTC.
    """
    hashed = mixed(_unsigned(people) ^ mixed(_unsigned(days)))
    return days.astype(np.float64) * DAY + EARLIEST + (hashed % np.uint64(WIDTH)).astype(np.float64)


def within(people: Numbers, rows: Numbers) -> NDArray[np.float64]:
    """Return how many seconds after the beginning of the person's day lies what stands in these rows."""
    return (mixed(_unsigned(rows) ^ mixed(_unsigned(people))) % np.uint64(SESSION + 1)).astype(np.float64)


def mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the numbers hashed (the finalizer of splitmix64: Steele, Lea and Flood, OOPSLA 2014)."""
    mixing = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixing = (mixing ^ (mixing >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixing = (mixing ^ (mixing >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixing ^ (mixing >> np.uint64(31))


def _unsigned(numbers: Numbers) -> NDArray[np.uint64]:
    return numbers.astype(np.int64).view(np.uint64)
