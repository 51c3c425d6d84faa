"""What recommendations are measured against: popularity, and the plain cosine over a window of uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

WEEK = 7 * DAY
WINDOW, SEEDS, RHO = 50, 20, 0.9


class Popularity:
    """Uses with a half-life of a week.

    Examples:
        >>> popular = Popularity(3)
        >>> for number, days in [(0, 0), (0, 0), (0, 0), (2, 14)]:
        ...     popular.use(number, days * DAY)
        >>> popular.scores().tolist()
        [0.75, 0.0, 1.0]
    """

    def __init__(self, courses: int) -> None:
        self._counts = np.zeros(courses)
        self._now = 0.0

    def use(self, number: int, time: float) -> None:
        """Count a use."""
        self._counts *= 2.0 ** ((self._now - time) / WEEK)
        self._now = time
        self._counts[number] += 1.0

    def scores(self) -> Floats:
        """Return a score for every course."""
        return self._counts.copy()


class WindowCosine:
    """Item-based filtering by the incremental cosine (Miranda & Jorge 2009) over a person's last 50 different courses.

    Every use counts 1 with each of them; a person's courses are those that go best with their newest twenty, the next
    older one counting .9 of the one before. All pairs are kept, which only a small catalogue allows.

    Examples:
        >>> cosine = WindowCosine(3)
        >>> for person, number in [("ann", 0), ("ann", 1), ("bob", 0), ("bob", 1), ("bob", 2), ("cem", 0)]:
        ...     cosine.use(person, number)
        >>> cosine.scores("cem").round(2).tolist()
        [0.0, 0.82, 0.58]
    """

    def __init__(self, courses: int) -> None:
        self._pairs = np.zeros((courses, courses), np.float32)
        self._counts = np.zeros(courses)
        self._recent: dict[str, list[int]] = {}

    def use(self, user: str, number: int) -> None:
        """Count a use."""
        recent = self._recent.setdefault(user, [])
        if number in recent:
            recent.remove(number)
        self._counts[number] += 1.0
        self._pairs[number, recent] += 1.0
        self._pairs[recent, number] += 1.0
        recent.insert(0, number)
        del recent[WINDOW:]

    def scores(self, user: str) -> Floats:
        """Return a score for every course."""
        seeds = self._recent.get(user, [])[:SEEDS]
        weights = RHO ** np.arange(len(seeds)) / np.sqrt(self._counts[seeds])
        scores: Floats = weights @ self._pairs[seeds] / np.sqrt(np.maximum(self._counts, 1.0))
        return scores


def best(scores: Floats, most: int) -> Ints:
    """Return the courses of the highest scores above 0, best first."""
    spoken = np.flatnonzero(scores > 0)
    if len(spoken) > most:
        spoken = spoken[np.argpartition(-scores[spoken], most)[:most]]
    order: Ints = spoken[np.argsort(-scores[spoken], kind="stable")]
    return order
