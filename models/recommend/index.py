"""The index of all course rows: numbered and symmetric, in flat arrays, so that a query is array arithmetic.

A row knows only the pairs in which other courses came before its own course. `update` writes the row's half of each
pair to both sides: as `in` in its own neighbour list, and as `out` in the neighbours' lists. Values are set, never
added, so a row may arrive twice, or again after a restart. A neighbour list has a fixed size; the weakest neighbour is
replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY
from models.person.preferences import course_key
from models.recommend.cooccurrence import POPULAR_DAYS, CooccurrenceRow, CountingWindow
from models.recommend.neighbours import NeighbourIndex
from models.recommend.top_k import TopK

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

IN, IN_ORDER, IN_FADING, OUT, OUT_ORDER, OUT_FADING = range(6)
"""The six weights of a neighbour. The three of `in` and the three of `out` are adjacent: each half is one write."""
HALF_LIVES = (*POPULAR_DAYS, POPULAR_DAYS[2])
"""Half-lives in days of the four popularity counts: a day, a week, a month, and a month for uses by newcomers."""
WEEK, MONTH, NEWCOMERS = 1, 2, 3
MAX_LANDMARK_DAYS = 60.0
"""Maximum age of the landmark, in half-lives of a day, before it moves."""
ROWS_PER_BLOCK = 1_000
"""Neighbour lists that are scaled at once. Empty lists are not touched, so they use no memory."""


class Index:
    """All courses with a row or a catalogue entry, numbered from 0.

    Args:
        window: the window that the rows were counted with.
        width: size of a neighbour list.
        top: number of most popular courses kept per popularity count.
    """

    def __init__(self, window: CountingWindow = CountingWindow(), width: int = 256, top: int = 200) -> None:  # noqa: B008 - frozen
        self.window = window
        self.width = width
        self.numbers: dict[str, int] = {}
        self.names: list[str] = []
        self.people = NeighbourIndex(window.people)
        self.top_courses = {kind: TopK(top) for kind in (WEEK, MONTH, NEWCOMERS)}
        self.landmark = -inf
        self._capacity = 0
        self.near = np.full((0, width), -1, np.int32)
        self.weight = np.zeros((0, width, 6), np.float32)
        self.back = np.zeros((0, width), np.int16)
        self.filled = np.zeros(0, np.int64)
        self.popular = np.zeros((0, len(HALF_LIVES)))
        self.mass = np.zeros(0)
        self.uses = np.zeros(0)
        self.audience = np.zeros(0)
        self.first = np.zeros(0)
        self.last = np.zeros(0)
        self.keys = np.zeros(0, np.uint32)
        self.withdrawn = np.zeros(0, np.bool_)
        self.scratch = np.zeros(0, np.int64)
        self.path: dict[int, dict[int, float]] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, course: str) -> int:
        """Return the number of a course; assign one if it has none."""
        number = self.numbers.get(course)
        if number is None:
            number = self.numbers[course] = len(self.names)
            self.names.append(course)
            if number >= self._capacity:
                self._grow()
            self.keys[number] = int.from_bytes(course_key(course), "little")
        return number

    def update(self, row: CooccurrenceRow, changed: Iterable[str] | None = None) -> None:
        """Write a row.

        Args:
            row: the newest row of its course.
            changed: neighbours whose pairs differ from the previous row. Without it, all pairs are written.
        """
        self._move_landmark(row.last)
        own = self.number(row.course)
        others, pairs = self._pairs_to_write(row, changed)
        if changed is None and len(removed := self._removed_neighbours(own, others)):
            self._write_pairs(own, removed, np.zeros((len(removed), 3)))
        if len(others):
            self._write_pairs(own, others, pairs)
        age = row.last - self.landmark
        for kind, (count, life) in enumerate(zip(row.popular, HALF_LIVES, strict=True)):
            self.popular[own, kind] = count * 2.0 ** (age / DAY / life)
        for kind, top in self.top_courses.items():
            top.update(own, self.popular[own, kind] if not self.withdrawn[own] else 0.0)
        self.mass[own] = row.mass * 2.0 ** ((row.landmark - self.landmark) / self.window.half_life)
        self.uses[own], self.audience[own] = row.uses, row.audience
        self.first[own], self.last[own] = row.first, row.last
        self.people.update(own, row.people)
        for course, weight in row.path.items():
            scale = 2.0 ** ((row.landmark - self.landmark) / self.window.half_life)
            self.path.setdefault(self.number(course), {})[own] = weight * scale

    def withdraw(self, course: str, withdrawn: bool = True) -> None:
        """Exclude a course from recommendations, or include it again."""
        number = self.number(course)
        self.withdrawn[number] = withdrawn
        for kind, top in self.top_courses.items():
            top.update(number, 0.0 if withdrawn else self.popular[number, kind])

    def popularity(self, numbers: Ints, kind: int, now: float) -> Floats:
        """Return one popularity count of courses, decayed to a moment."""
        scale = 2.0 ** ((self.landmark - now) / DAY / HALF_LIVES[kind])
        decayed: Floats = self.popular[numbers, kind] * scale
        return decayed

    def newest(self, limit: int) -> Ints:
        """Return the courses that were added last, newest first."""
        return np.arange(len(self) - 1, max(-1, len(self) - 1 - limit), -1)

    def decayed_masses(self, numbers: Ints, now: float) -> Floats:
        """Return the masses of courses, decayed to a moment."""
        masses: Floats = self.mass[numbers] * self.scales(now)[0]
        return masses

    def scales(self, now: float) -> tuple[float, float]:
        """Return the factors that decay stored weights to a moment: for the slow and for the fading weights."""
        if self.landmark == -inf:  # nothing is stored yet
            return 1.0, 1.0
        age = self.landmark - now
        return float(2.0 ** (age / self.window.half_life)), float(2.0 ** (age / self.window.fading))

    def _pairs_to_write(self, row: CooccurrenceRow, changed: Iterable[str] | None) -> tuple[Ints, Floats]:
        """Return the neighbours to write, at most `width`, and their pairs as of the landmark, shape (others, 3)."""
        if changed is None:
            names, weights = list(row.near), list(row.near.values())
        else:
            names = [name for name in changed if name in row.near]
            weights = [row.near[name] for name in names]
        if len(names) > self.width:
            together = np.array([pair.together for pair in weights])
            kept = np.argpartition(-together, self.width)[: self.width].tolist()
            names, weights = [names[place] for place in kept], [weights[place] for place in kept]
        pairs = np.array([[p.together for p in weights], [p.order for p in weights], [p.fading for p in weights]])
        numbers = self.numbers
        others = [numbers[name] if name in numbers else self.number(name) for name in names]
        age = row.landmark - self.landmark
        slow, fast = 2.0 ** (age / self.window.half_life), 2.0 ** (age / self.window.fading)
        return np.array(others, np.int64), pairs.T * (slow, slow, fast)

    def _removed_neighbours(self, own: int, others: Ints) -> Ints:
        """Return the neighbours that an earlier version of the row had, and this one has not."""
        own_list = self.near[own]
        held = own_list[(own_list >= 0) & (self.weight[own, :, IN] > 0)].astype(np.int64)
        self.scratch[held] = 0
        self.scratch[others] = 1
        removed: Ints = held[self.scratch[held] == 0]
        return removed

    def _write_pairs(self, own: int, others: Ints, pairs: Floats) -> None:
        """Write a row's half of its pairs, shape (others, 3), to its own neighbour list and to those of the others.

        When a whole row is written, most pairs have not changed; those are skipped. So a list that replaced such a
        neighbour does not get it back.
        """
        slots = self._places_in_own_list(own, others)
        new = pairs.astype(np.float32)
        differing = np.flatnonzero((self.weight[own, slots, :OUT] != new).any(1))
        others, slots, new = others[differing], slots[differing], new[differing]
        self.weight[own, slots, :OUT] = new
        places = self.back[own, slots].astype(np.int64)
        moved = np.flatnonzero(self.near[others, places] != own)
        if len(moved):
            places[moved] = self._places_in_lists(own, others[moved])
            self.back[own, slots] = places
        self.weight[others, places, OUT:] = new

    def _places_in_lists(self, own: int, lists: Ints) -> Ints:
        """Return the places of a course in the lists of others. It is inserted where it is missing."""
        places: Ints = (self.near[lists] == own).argmax(1)
        missing = self.near[lists, places] != own
        if missing.any():
            places[missing] = self._insert(own, lists[missing])
        return places

    def _places_in_own_list(self, own: int, others: Ints) -> Ints:
        """Return the places of others in a course's own list. They are inserted where they are missing."""
        own_list, count = self.near[own], int(self.filled[own])
        self.scratch[others] = -1
        self.scratch[own_list[:count]] = np.arange(count)
        slots: Ints = self.scratch[others]
        missing = slots < 0
        new = int(missing.sum())
        free = min(new, self.width - count)
        places = np.arange(count, count + free)
        if new > free:
            held = self.weight[own, :, IN] + self.weight[own, :, OUT]
            held[slots[~missing]] = held[places] = inf
            places = np.append(places, np.argpartition(held, new - free - 1)[: new - free])
            self.weight[own, places] = 0.0
        slots[missing] = places
        own_list[places] = others[missing]
        self.filled[own] = count + free
        return slots

    def _insert(self, own: int, lists: Ints) -> Ints:
        """Insert a course into the lists of others, and return its places there. A full list drops its weakest."""
        places: Ints = self.filled[lists]
        full = np.flatnonzero(places == self.width)
        if len(full):
            crowded = lists[full]
            weakest = (self.weight[crowded, :, IN] + self.weight[crowded, :, OUT]).argmin(1)
            self.weight[crowded, weakest] = 0.0
            places[full] = weakest
        self.near[lists, places] = own
        self.filled[lists] = np.maximum(self.filled[lists], places + 1)
        return places

    def _move_landmark(self, time: float) -> None:
        """Move the landmark to a moment before stored values grow too large."""
        if self.landmark == -inf:
            self.landmark = time
        age = time - self.landmark
        if age <= MAX_LANDMARK_DAYS * DAY and age <= MAX_LANDMARK_DAYS * min(self.window.half_life, self.window.fading):
            return
        slow, fast = 2.0 ** (-age / self.window.half_life), 2.0 ** (-age / self.window.fading)
        for rows in np.array_split(np.flatnonzero(self.filled), 1 + len(self) // ROWS_PER_BLOCK):
            self.weight[rows] *= np.array([slow, slow, fast, slow, slow, fast], np.float32)
        self.mass *= slow
        lives = 2.0 ** (-age / DAY / np.array(HALF_LIVES))
        self.popular *= lives
        for kind, top in self.top_courses.items():
            top.scale(float(lives[kind]))
        for steps in self.path.values():
            for course in steps:
                steps[course] *= slow
        self.landmark = time

    def _grow(self) -> None:
        self._capacity = max(64, 2 * self._capacity)
        self.people.grow(self._capacity)
        paired = np.flatnonzero(self.filled)
        for name in ("near", "weight", "back", "filled", "popular", "mass", "uses", "audience", "first", "last", "keys",
                     "withdrawn", "scratch"):  # fmt: skip
            old = getattr(self, name)
            # Zeros use no memory until they are written. Most courses of a large catalogue have no pair.
            grown = np.zeros((self._capacity, *old.shape[1:]), old.dtype)
            if name == "weight":
                grown[paired] = old[paired]
            else:
                grown[: len(old)] = old
            if name == "near":
                grown[len(old) :] = -1
            setattr(self, name, grown)
