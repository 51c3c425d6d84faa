"""Timers of the users of a partition: by the minute, rebuilt from the prefixes of the values, run in small slices."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import isfinite

MINUTE = 60.0


class TimerQueue:
    """Keys ordered by the time of their next timer.

    Exact times are kept for the current minute only. A later minute is a list of keys, which takes a quarter of the
    memory of one entry with a time per key. A timer can move, so a key may be in several minutes. When a key comes up,
    the queue asks `due_of` for its time, and schedules the key again if that is later.

    Args:
        due_of: returns the time of a key's next timer; infinity if it has none.
    """

    def __init__(self, due_of: Callable[[bytes], float]) -> None:
        self._due_of = due_of
        self._current: list[tuple[float, bytes]] = []
        self._minute = float("-inf")
        self._later: dict[float, list[bytes]] = {}
        self._minutes: list[float] = []

    def schedule(self, key: bytes, due: float) -> None:
        """Schedule the timer of a key that is new or whose time has changed; infinity schedules nothing."""
        minute = due // MINUTE
        if minute <= self._minute:
            heapq.heappush(self._current, (due, key))
        elif (keys := self._later.get(minute)) is not None:
            keys.append(key)
        elif isfinite(due):
            self._later[minute] = [key]
            heapq.heappush(self._minutes, minute)

    def earliest(self) -> float:
        """Return a time before which no timer is due; infinity if there is no timer."""
        if self._current:
            return self._current[0][0]
        return self._minutes[0] * MINUTE if self._minutes else float("inf")

    def pop_due(self, until: float, limit: int = 1) -> list[bytes]:
        """Remove and return at most `limit` keys that are due at or before a time, the earliest first."""
        due_keys: list[bytes] = []
        while len(due_keys) < limit and self.earliest() <= until:
            if not self._current:
                self._start_next_minute()
                continue
            entry_due, key = heapq.heappop(self._current)
            due = self._due_of(key)
            if due > entry_due:
                self.schedule(key, due)
            elif due == entry_due and (not due_keys or due_keys[-1] != key):
                due_keys.append(key)
        return due_keys

    def __len__(self) -> int:
        return len(self._current) + sum(map(len, self._later.values()))

    def _start_next_minute(self) -> None:
        self._minute = heapq.heappop(self._minutes)
        for key in set(self._later.pop(self._minute)):
            if (due := self._due_of(key)) >= self._minute * MINUTE:
                self.schedule(key, due)
