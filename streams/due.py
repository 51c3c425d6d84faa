"""Who is due when: one heap a partition, rebuilt from the values' prefixes, drained in small slices."""

from __future__ import annotations

import heapq
from math import isfinite


class DueQueue:
    """People by the time at which something is to be done for them.

    An entry may be outdated, since a person's due time changes with every event: whoever takes a key asks the person
    again. A person is entered only when their due time moves forward, so the heap holds few such entries.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, bytes]] = []
        self._entered: dict[bytes, float] = {}

    def enter(self, key: bytes, due: float) -> None:
        """Note that a person is due at a time, or (infinity) never."""
        entered = self._entered.get(key)
        if entered is not None and entered <= due:
            return
        if isfinite(due):
            self._entered[key] = due
            heapq.heappush(self._heap, (due, key))

    def earliest(self) -> float:
        """Return a time before which nobody is due; infinity if nobody is."""
        return self._heap[0][0] if self._heap else float("inf")

    def take(self, until: float, most: int = 1) -> list[bytes]:
        """Return people whose entries are at or before a time, earliest first, at most so many; their entries go."""
        taken: list[bytes] = []
        while self._heap and self._heap[0][0] <= until and len(taken) < most:
            due, key = heapq.heappop(self._heap)
            if self._entered.get(key) == due:
                del self._entered[key]
                taken.append(key)
        return taken

    def __len__(self) -> int:
        return len(self._entered)
