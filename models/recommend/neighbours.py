"""The newest people and their newest courses, taken from course rows, for user-based filtering.

A bounded number of people is kept: those who were added last. Each person has a slot that the posting lists of courses
refer to. The index of VMIS-kNN has this form: newest sessions by item, items by session (Kersbergen et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_NEW_PEOPLE = 8
"""Newest people of a row who get a slot if they have none."""


class NeighbourIndex:
    """Newest people by course, and newest courses by person.

    Args:
        people_per_course: people kept for a course.
        max_people: people kept in total.
        courses_per_person: courses kept for a person.
    """

    def __init__(self, people_per_course: int = 200, max_people: int = 20_000, courses_per_person: int = 50) -> None:
        self.postings = np.full((0, people_per_course), -1, np.int32)
        self.courses = np.full((max_people, courses_per_person), -1, np.int32)
        self.scratch = np.zeros(max_people, np.int64)
        self.slots: dict[int, int] = {}
        self._course_counts = np.zeros(max_people, np.int64)
        self._keys: list[int] = []
        self._next = 0

    def grow(self, courses: int) -> None:
        """Make room for course numbers below a bound."""
        grown = np.full((courses, self.postings.shape[1]), -1, np.int32)
        grown[: len(self.postings)] = self.postings
        self.postings = grown

    def update(self, course: int, people: Sequence[int]) -> None:
        """Set the people of a course, newest last. If there are too many, the newest are kept."""
        people = people[-self.postings.shape[1] :]
        for key in people[-MAX_NEW_PEOPLE:]:
            if key not in self.slots:
                self._assign_slot(key)
        slots = self.slots
        known = np.array([slot for slot in map(slots.get, people) if slot is not None], np.int64)
        posting = self.postings[course]
        posting[: len(known)] = known
        posting[len(known) :] = -1
        newest = known[-MAX_NEW_PEOPLE:]
        for slot in newest[~(self.courses[newest] == course).any(1)]:
            ring, count = self.courses[slot], self._course_counts[slot]
            ring[count % len(ring)] = course
            self._course_counts[slot] = count + 1

    def _assign_slot(self, key: int) -> None:
        """Give a person a slot. If all are in use, the oldest assignment is replaced."""
        slot = self._next % len(self.courses)
        if self._next >= len(self.courses):
            del self.slots[self._keys[slot]]
            courses = self.courses[slot]
            courses = courses[courses >= 0]
            postings = self.postings[courses]
            self.postings[courses] = np.where(postings == slot, -1, postings)
            self.courses[slot] = -1
            self._course_counts[slot] = 0
            self._keys[slot] = key
        else:
            self._keys.append(key)
        self.slots[key] = slot
        self._next += 1

    def nearest(
        self, seeds: NDArray[np.int64], weights: NDArray[np.float64], own: int | None, limit: int = 100
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the slots of the most similar people, with their similarity.

        Args:
            seeds: the person's courses.
            weights: weight of each of them.
            own: the person's own key, which is not a neighbour.
            limit: number of neighbours.
        """
        slots = self.postings[seeds]
        held = slots >= 0
        flat = slots[held].astype(np.int64)
        if not len(flat):
            return flat, np.zeros(0)
        self.scratch[flat] = np.arange(len(flat))
        unique = flat[self.scratch[flat] == np.arange(len(flat))]
        self.scratch[unique] = np.arange(len(unique))
        shared = np.bincount(self.scratch[flat], np.broadcast_to(weights[:, None], slots.shape)[held], len(unique))
        similarity = shared / np.sqrt(np.minimum(self._course_counts[unique], self.courses.shape[1]) + 5.0)
        slot = None if own is None else self.slots.get(own)
        if slot is not None:
            similarity[unique == slot] = 0.0
        if len(unique) > limit:
            best = np.argpartition(-similarity, limit)[:limit]
            unique, similarity = unique[best], similarity[best]
        return unique, similarity
