"""The rows of all courses as a reader holds them: numbered, symmetric, in flat arrays, so that a query is arithmetic.

A row tells only of pairs in which other courses came before its own. Putting a row writes its half of every pair on
both sides: in its own line as `in`, in its neighbours' lines as `out`. Values are written, never added, so that a row
may come twice, or again after a restart. A line holds a fixed number of neighbours; the weakest gives way.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY
from models.person.preferences import course_key
from models.recommend.neighbours import NeighbourIndex
from models.recommend.similarity import POPULAR_DAYS, CooccurrenceRow, CountingWindow
from models.recommend.top_k import TopK

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

IN, IN_ORDER, IN_FADING, OUT, OUT_ORDER, OUT_FADING = range(6)
"""What a neighbour weighs in a line, side by side: a row's half of a pair is written in one place of every line."""
LIVES = (*POPULAR_DAYS, POPULAR_DAYS[2])
"""Half-lives, in days, of the four popularities: a day, a week, a month, and newcomers' month."""
WEEK, MONTH, EARLY = 1, 2, 3
MOST_DAYS = 60.0
"""How far a landmark may lie back, in half-lives of a day, before it moves."""


LINES = 1_000
"""Lines that are moved at once: those that hold nothing are not touched, and take no memory."""


class Index:
    """All courses of which a row or a catalogue entry has come, under numbers from 0.

    Args:
        window: the one that the rows were counted with.
        width: neighbours a line holds.
        charted: courses that a chart of the most popular ones holds.
    """

    def __init__(self, window: CountingWindow = CountingWindow(), width: int = 256, charted: int = 200) -> None:  # noqa: B008 - frozen
        self.window = window
        self.width = width
        self.numbers: dict[str, int] = {}
        self.names: list[str] = []
        self.people = NeighbourIndex(window.people)
        self.charts = {kind: TopK(charted) for kind in (WEEK, MONTH, EARLY)}
        self.landmark = -inf
        self._room = 0
        self.near = np.full((0, width), -1, np.int32)
        self.weight = np.zeros((0, width, 6), np.float32)
        self.back = np.zeros((0, width), np.int16)
        self.filled = np.zeros(0, np.int64)
        self.popular = np.zeros((0, len(LIVES)))
        self.mass = np.zeros(0)
        self.uses = np.zeros(0)
        self.audience = np.zeros(0)
        self.first = np.zeros(0)
        self.last = np.zeros(0)
        self.keys = np.zeros(0, np.uint32)
        self.gone = np.zeros(0, np.bool_)
        self.mark = np.zeros(0, np.int64)
        self.path: dict[int, dict[int, float]] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, course: str) -> int:
        """Return the number of a course, giving it one if it has none."""
        number = self.numbers.get(course)
        if number is None:
            number = self.numbers[course] = len(self.names)
            self.names.append(course)
            if number >= self._room:
                self._grow()
            self.keys[number] = int.from_bytes(course_key(course), "little")
        return number

    def put(self, row: CooccurrenceRow, changed: Iterable[str] | None = None) -> None:
        """Take a row as it now stands.

        Args:
            row: the newest of its course.
            changed: neighbours whose pairs differ from the row put before; without it all are written.
        """
        self._move(row.last)
        own = self.number(row.course)
        others, pairs = self._paired(row, changed)
        if changed is None and len(lapsed := self._lapsed(own, others)):
            self._write(own, lapsed, np.zeros((len(lapsed), 3)))
        if len(others):
            self._write(own, others, pairs)
        age = row.last - self.landmark
        for kind, (count, life) in enumerate(zip(row.popular, LIVES, strict=True)):
            self.popular[own, kind] = count * 2.0 ** (age / DAY / life)
        for kind, chart in self.charts.items():
            chart.put(own, self.popular[own, kind] if not self.gone[own] else 0.0)
        self.mass[own] = row.mass * 2.0 ** ((row.landmark - self.landmark) / self.window.half_life)
        self.uses[own], self.audience[own] = row.uses, row.audience
        self.first[own], self.last[own] = row.first, row.last
        self.people.put(own, row.people)
        for course, weight in row.path.items():
            scale = 2.0 ** ((row.landmark - self.landmark) / self.window.half_life)
            self.path.setdefault(self.number(course), {})[own] = weight * scale

    def withdraw(self, course: str, gone: bool = True) -> None:
        """Recommend a course no more, from now on; or again."""
        number = self.number(course)
        self.gone[number] = gone
        for kind, chart in self.charts.items():
            chart.put(number, 0.0 if gone else self.popular[number, kind])

    def popularity(self, numbers: Ints, kind: int, now: float) -> Floats:
        """Return the decayed uses of courses as of a moment."""
        scale = 2.0 ** ((self.landmark - now) / DAY / LIVES[kind])
        decayed: Floats = self.popular[numbers, kind] * scale
        return decayed

    def newest(self, most: int) -> Ints:
        """Return the courses that were heard of last, the newest first."""
        return np.arange(len(self) - 1, max(-1, len(self) - 1 - most), -1)

    def masses(self, numbers: Ints, now: float) -> Floats:
        """Return the decayed masses of courses as of a moment."""
        masses: Floats = self.mass[numbers] * self.scales(now)[0]
        return masses

    def scales(self, now: float) -> tuple[float, float]:
        """Return what brings stored weights to a moment: lasting and fading ones."""
        if self.landmark == -inf:  # nothing is stored yet
            return 1.0, 1.0
        age = self.landmark - now
        return float(2.0 ** (age / self.window.half_life)), float(2.0 ** (age / self.window.fading))

    def _paired(self, row: CooccurrenceRow, changed: Iterable[str] | None) -> tuple[Ints, Floats]:
        """Return the neighbours to write, as many as a line holds, and their pairs as of the landmark, (others, 3)."""
        if changed is None:
            names, said = list(row.near), list(row.near.values())
        else:
            names = [name for name in changed if name in row.near]
            said = [row.near[name] for name in names]
        if len(names) > self.width:
            together = np.array([pair.together for pair in said])
            kept = np.argpartition(-together, self.width)[: self.width].tolist()
            names, said = [names[place] for place in kept], [said[place] for place in kept]
        pairs = np.array([[p.together for p in said], [p.order for p in said], [p.fading for p in said]])
        numbers = self.numbers
        others = [numbers[name] if name in numbers else self.number(name) for name in names]
        age = row.landmark - self.landmark
        slow, fast = 2.0 ** (age / self.window.half_life), 2.0 ** (age / self.window.fading)
        return np.array(others, np.int64), pairs.T * (slow, slow, fast)

    def _lapsed(self, own: int, others: Ints) -> Ints:
        """Return the neighbours of a line that its row once had and has no more."""
        line = self.near[own]
        held = line[(line >= 0) & (self.weight[own, :, IN] > 0)].astype(np.int64)
        self.mark[held] = 0
        self.mark[others] = 1
        lapsed: Ints = held[self.mark[held] == 0]
        return lapsed

    def _write(self, own: int, others: Ints, pairs: Floats) -> None:
        """Write one row's half of its pairs, (others, 3), into its own line and into those of the others.

        Of a row that comes whole, most pairs stand already; a line that let one of those go does not get it back.
        """
        slots = self._slots(own, others)
        now = pairs.astype(np.float32)
        news = np.flatnonzero((self.weight[own, slots, :OUT] != now).any(1))
        others, slots, now = others[news], slots[news], now[news]
        self.weight[own, slots, :OUT] = now
        places = self.back[own, slots].astype(np.int64)
        moved = np.flatnonzero(self.near[others, places] != own)
        if len(moved):
            places[moved] = self._places(own, others[moved])
            self.back[own, slots] = places
        self.weight[others, places, OUT:] = now

    def _places(self, own: int, lines: Ints) -> Ints:
        """Return the places of a course in the lines of others, letting it in where it is not."""
        places: Ints = (self.near[lines] == own).argmax(1)
        missing = self.near[lines, places] != own
        if missing.any():
            places[missing] = self._enter(own, lines[missing])
        return places

    def _slots(self, own: int, others: Ints) -> Ints:
        """Return the places of others in a line, letting them in where they are not."""
        line, count = self.near[own], int(self.filled[own])
        self.mark[others] = -1
        self.mark[line[:count]] = np.arange(count)
        slots: Ints = self.mark[others]
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
        line[places] = others[missing]
        self.filled[own] = count + free
        return slots

    def _enter(self, own: int, lines: Ints) -> Ints:
        """Let a course into lines it is not in; return its places there."""
        places: Ints = self.filled[lines]
        full = np.flatnonzero(places == self.width)
        if len(full):
            crowded = lines[full]
            weakest = (self.weight[crowded, :, IN] + self.weight[crowded, :, OUT]).argmin(1)
            self.weight[crowded, weakest] = 0.0
            places[full] = weakest
        self.near[lines, places] = own
        self.filled[lines] = np.maximum(self.filled[lines], places + 1)
        return places

    def _move(self, time: float) -> None:
        """Bring the landmark to a moment once what is stored would grow large."""
        if self.landmark == -inf:
            self.landmark = time
        age = time - self.landmark
        if age <= MOST_DAYS * DAY and age <= MOST_DAYS * min(self.window.half_life, self.window.fading):
            return
        slow, fast = 2.0 ** (-age / self.window.half_life), 2.0 ** (-age / self.window.fading)
        for lines in np.array_split(np.flatnonzero(self.filled), 1 + len(self) // LINES):
            self.weight[lines] *= np.array([slow, slow, fast, slow, slow, fast], np.float32)
        self.mass *= slow
        lives = 2.0 ** (-age / DAY / np.array(LIVES))
        self.popular *= lives
        for kind, chart in self.charts.items():
            chart.scale(float(lives[kind]))
        for steps in self.path.values():
            for course in steps:
                steps[course] *= slow
        self.landmark = time

    def _grow(self) -> None:
        self._room = max(64, 2 * self._room)
        self.people.grow(self._room)
        paired = np.flatnonzero(self.filled)
        for name in ("near", "weight", "back", "filled", "popular", "mass", "uses", "audience", "first", "last", "keys",
                     "gone", "mark"):  # fmt: skip
            old = getattr(self, name)
            # Zeros cost no memory before they are written; most courses of a large catalogue have no pair.
            grown = np.zeros((self._room, *old.shape[1:]), old.dtype)
            if name == "weight":
                grown[paired] = old[paired]
            else:
                grown[: len(old)] = old
            if name == "near":
                grown[len(old) :] = -1
            setattr(self, name, grown)
