"""The most popular courses, kept as uses come.

Every count fades at the same rate, so the order of courses that nobody uses does not change: whoever falls out can
only come back by a use of its own. The chart is therefore exact without ever looking at the whole catalogue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class TopK:
    """The `most` courses of the largest counts.

    Examples:
        >>> chart = TopK(2)
        >>> for course, count in [(7, 1.0), (8, 3.0), (9, 2.0)]:
        ...     chart.put(course, count)
        >>> chart.best().tolist()
        [8, 9]
    """

    def __init__(self, most: int) -> None:
        self.courses = np.full(most, -1, np.int64)
        self.counts = np.zeros(most)
        self._place: dict[int, int] = {}

    def put(self, course: int, count: float) -> None:
        """Take a course's count as it now stands; 0 takes the course off the chart."""
        place = self._place.get(course)
        if place is None:
            place = int(self.counts.argmin())
            if count <= self.counts[place]:
                return
            self._place.pop(int(self.courses[place]), None)
            self._place[course] = place
        self.courses[place], self.counts[place] = course, count
        if not count:
            self.courses[place] = -1
            del self._place[course]

    def best(self) -> NDArray[np.int64]:
        """Return the courses, most popular first."""
        order = np.argsort(-self.counts, kind="stable")
        ranked: NDArray[np.int64] = self.courses[order]
        return ranked[ranked >= 0]

    def scale(self, factor: float) -> None:
        """Multiply all counts, as when a landmark moves."""
        self.counts *= factor
