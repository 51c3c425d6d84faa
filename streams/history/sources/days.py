"""Times of day for data that has only days: events still need an order within a day.

A user's day starts between 07:00 and 20:30 UTC, and all events of that day lie within the next 90 minutes. Both times
come from hashes of numbers, so they are the same in every reading. They have no meaning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY

EARLIEST = 7 * 3_600
WIDTH = 13 * 3_600 + 1_801
SESSION = 5_400
"""Seconds in which all events of a user's day lie."""

Numbers = NDArray[np.float64] | NDArray[np.int64]


def day_starts(users: Numbers, days: Numbers) -> NDArray[np.float64]:
    """Return when users start their days.

    Args:
        users: a number for each user.
        days: days since 1970.

    Returns:
        Seconds since 1970 UTC.
    """
    hashes = splitmix64(_unsigned(users) ^ splitmix64(_unsigned(days)))
    return days.astype(np.float64) * DAY + EARLIEST + (hashes % np.uint64(WIDTH)).astype(np.float64)


def seconds_in_day(users: Numbers, rows: Numbers) -> NDArray[np.float64]:
    """Return how many seconds after the start of the user's day the events of these rows are."""
    return (splitmix64(_unsigned(rows) ^ splitmix64(_unsigned(users))) % np.uint64(SESSION + 1)).astype(np.float64)


def splitmix64(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes of numbers (the finalizer of splitmix64: Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _unsigned(numbers: Numbers) -> NDArray[np.uint64]:
    return numbers.astype(np.int64).view(np.uint64)
