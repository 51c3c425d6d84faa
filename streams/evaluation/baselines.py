"""Baselines for recommendations: popularity, and the cosine over a window of uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

WEEK = 7 * DAY
MAX_COURSES, MAX_SEEDS, SEED_DECAY = 50, 20, 0.9


class Popularity:
    """Counts uses, with a half-life of a week.

    Examples:
        >>> popular = Popularity(3)
        >>> for number, days in [(0, 0), (0, 0), (0, 0), (2, 14)]:
        ...     popular.add(number, days * DAY)
        >>> popular.scores().tolist()
        [0.75, 0.0, 1.0]
    """

    def __init__(self, courses: int) -> None:
        self._counts = np.zeros(courses)
        self._now = 0.0

    def add(self, number: int, time: float) -> None:
        """Count a use."""
        self._counts *= 2.0 ** ((self._now - time) / WEEK)
        self._now = time
        self._counts[number] += 1.0

    def scores(self) -> Floats:
        """Return a score for every course."""
        return self._counts.copy()


class WindowCosine:
    """Item-based filtering with the incremental cosine (Miranda & Jorge 2009) over a user's last 50 different courses.

    Every use counts 1 with each of these courses. A user gets the courses that are most similar to their newest twenty;
    each older course counts .9 of the one after it. All pairs are stored, which only a small catalogue allows.

    Examples:
        >>> cosine = WindowCosine(3)
        >>> for user, number in [("ann", 0), ("ann", 1), ("bob", 0), ("bob", 1), ("bob", 2), ("cem", 0)]:
        ...     cosine.add(user, number)
        >>> cosine.scores("cem").round(2).tolist()
        [0.0, 0.82, 0.58]
    """

    def __init__(self, courses: int) -> None:
        self._pairs = np.zeros((courses, courses), np.float32)
        self._counts = np.zeros(courses)
        self._recent: dict[str, list[int]] = {}

    def add(self, user: str, number: int) -> None:
        """Count a use."""
        recent = self._recent.setdefault(user, [])
        if number in recent:
            recent.remove(number)
        self._counts[number] += 1.0
        self._pairs[number, recent] += 1.0
        self._pairs[recent, number] += 1.0
        recent.insert(0, number)
        del recent[MAX_COURSES:]

    def scores(self, user: str) -> Floats:
        """Return a score for every course."""
        seeds = self._recent.get(user, [])[:MAX_SEEDS]
        weights = SEED_DECAY ** np.arange(len(seeds)) / np.sqrt(self._counts[seeds])
        scores: Floats = weights @ self._pairs[seeds] / np.sqrt(np.maximum(self._counts, 1.0))
        return scores


def top(scores: Floats, count: int) -> Ints:
    """Return the courses with the highest scores above 0, best first."""
    positive = np.flatnonzero(scores > 0)
    if len(positive) > count:
        positive = positive[np.argpartition(-scores[positive], count)[:count]]
    order: Ints = positive[np.argsort(-scores[positive], kind="stable")]
    return order
