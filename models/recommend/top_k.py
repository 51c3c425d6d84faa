"""The most popular courses, maintained incrementally.

All counts decay at the same rate, so the order of unused courses does not change. A course that dropped out can only
come back by a use of its own. The top k are therefore exact without a scan of the catalogue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class TopK:
    """The `size` courses with the largest counts.

    Examples:
        >>> top = TopK(2)
        >>> for course, count in [(7, 1.0), (8, 3.0), (9, 2.0)]:
        ...     top.update(course, count)
        >>> top.ranked().tolist()
        [8, 9]
    """

    def __init__(self, size: int) -> None:
        self.courses = np.full(size, -1, np.int64)
        self.counts = np.zeros(size)
        self._slots: dict[int, int] = {}

    def update(self, course: int, count: float) -> None:
        """Set a course's count; 0 removes the course."""
        slot = self._slots.get(course)
        if slot is None:
            slot = int(self.counts.argmin())
            if count <= self.counts[slot]:
                return
            self._slots.pop(int(self.courses[slot]), None)
            self._slots[course] = slot
        self.courses[slot], self.counts[slot] = course, count
        if not count:
            self.courses[slot] = -1
            del self._slots[course]

    def ranked(self) -> NDArray[np.int64]:
        """Return the courses, most popular first."""
        order = np.argsort(-self.counts, kind="stable")
        ranked: NDArray[np.int64] = self.courses[order]
        return ranked[ranked >= 0]

    def scale(self, factor: float) -> None:
        """Multiply all counts, as is needed when the landmark moves."""
        self.counts *= factor
