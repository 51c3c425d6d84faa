"""The newest people and their newest courses, as far as rows tell of them: what user-based filtering looks in.

A bounded number of people is remembered, whoever came last; each under a slot that the lists of courses refer to. The
index of VMIS-kNN (Kersbergen et al. 2022) has this shape: newest sessions by item, items by session.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEWEST = 8
"""Newest people of a row that are given a slot if they have none."""


class NeighbourIndex:
    """Newest people by course, and newest courses by person.

    Args:
        posted: people remembered for a course.
        most: people remembered in all.
        courses: courses remembered for a person.
    """

    def __init__(self, posted: int = 200, most: int = 20_000, courses: int = 50) -> None:
        self.posts = np.full((0, posted), -1, np.int32)
        self.rings = np.full((most, courses), -1, np.int32)
        self.mark = np.zeros(most, np.int64)
        self.slots: dict[int, int] = {}
        self._ends = np.zeros(most, np.int64)
        self._keys: list[int] = []
        self._next = 0

    def grow(self, courses: int) -> None:
        """Make room for course numbers below a bound."""
        grown = np.full((courses, self.posts.shape[1]), -1, np.int32)
        grown[: len(self.posts)] = self.posts
        self.posts = grown

    def put(self, course: int, people: Sequence[int]) -> None:
        """Take the people of a course's row, newest last; of more than there is room for, the newest."""
        people = people[-self.posts.shape[1] :]
        for key in people[-NEWEST:]:
            if key not in self.slots:
                self._enter(key)
        slots = self.slots
        known = np.array([slot for slot in map(slots.get, people) if slot is not None], np.int64)
        post = self.posts[course]
        post[: len(known)] = known
        post[len(known) :] = -1
        newest = known[-NEWEST:]
        for slot in newest[~(self.rings[newest] == course).any(1)]:
            ring, end = self.rings[slot], self._ends[slot]
            ring[end % len(ring)] = course
            self._ends[slot] = end + 1

    def _enter(self, key: int) -> None:
        """Give somebody a slot; if all are taken, that of whoever has had theirs longest."""
        slot = self._next % len(self.rings)
        if self._next >= len(self.rings):
            del self.slots[self._keys[slot]]
            courses = self.rings[slot]
            courses = courses[courses >= 0]
            posts = self.posts[courses]
            self.posts[courses] = np.where(posts == slot, -1, posts)
            self.rings[slot] = -1
            self._ends[slot] = 0
            self._keys[slot] = key
        else:
            self._keys.append(key)
        self.slots[key] = slot
        self._next += 1

    def like(
        self, seeds: NDArray[np.int64], weights: NDArray[np.float64], own: int | None, most: int = 100
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the slots of the people most like somebody, with their likeness.

        Args:
            seeds: the person's courses.
            weights: what each of them counts.
            own: the person's own key, who is not their own neighbour.
            most: neighbours wanted.
        """
        slots = self.posts[seeds]
        held = slots >= 0
        flat = slots[held].astype(np.int64)
        if not len(flat):
            return flat, np.zeros(0)
        self.mark[flat] = np.arange(len(flat))
        unique = flat[self.mark[flat] == np.arange(len(flat))]
        self.mark[unique] = np.arange(len(unique))
        shared = np.bincount(self.mark[flat], np.broadcast_to(weights[:, None], slots.shape)[held], len(unique))
        likeness = shared / np.sqrt(np.minimum(self._ends[unique], self.rings.shape[1]) + 5.0)
        slot = None if own is None else self.slots.get(own)
        if slot is not None:
            likeness[unique == slot] = 0.0
        if len(unique) > most:
            best = np.argpartition(-likeness, most)[:most]
            unique, likeness = unique[best], likeness[best]
        return unique, likeness
