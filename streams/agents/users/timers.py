"""Who is due when: people by the minute, rebuilt from the values' prefixes, drained in small slices."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import isfinite

MINUTE = 60.0


class TimerQueue:
    """People by the time at which something is to be done for them.

    Only the minute that is being drained knows exact times; a later one is a set of keys, a quarter of what an entry
    each with its time would take. A person's due time changes as they go on, so they may stand in several minutes: when
    one comes up, `due_of` is asked, and whoever is due later is put there.

    Args:
        due_of: tells when a person is due; infinity for nobody, or never.
    """

    def __init__(self, due_of: Callable[[bytes], float]) -> None:
        self._due_of = due_of
        self._now: list[tuple[float, bytes]] = []
        self._minute = float("-inf")
        self._later: dict[float, list[bytes]] = {}
        self._minutes: list[float] = []

    def enter(self, key: bytes, due: float) -> None:
        """Note that a person's due time has changed, or that they came: they are due then, or (infinity) never."""
        minute = due // MINUTE
        if minute <= self._minute:
            heapq.heappush(self._now, (due, key))
        elif (keys := self._later.get(minute)) is not None:
            keys.append(key)
        elif isfinite(due):
            self._later[minute] = [key]
            heapq.heappush(self._minutes, minute)

    def earliest(self) -> float:
        """Return a time before which nobody is due; infinity if nobody is."""
        if self._now:
            return self._now[0][0]
        return self._minutes[0] * MINUTE if self._minutes else float("inf")

    def take(self, until: float, most: int = 1) -> list[bytes]:
        """Return people who are due at or before a time, earliest first, at most so many; their entries go."""
        taken: list[bytes] = []
        while len(taken) < most and self.earliest() <= until:
            if not self._now:
                self._turn()
                continue
            due, key = heapq.heappop(self._now)
            really = self._due_of(key)
            if really > due:
                self.enter(key, really)
            elif really == due and (not taken or taken[-1] != key):
                taken.append(key)
        return taken

    def __len__(self) -> int:
        return len(self._now) + sum(map(len, self._later.values()))

    def _turn(self) -> None:
        """Go on to the next minute."""
        self._minute = heapq.heappop(self._minutes)
        for key in set(self._later.pop(self._minute)):
            if (due := self._due_of(key)) >= self._minute * MINUTE:
                self.enter(key, due)
