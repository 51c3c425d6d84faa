"""Candidates from cheap sources: who would have what next, by many simple rules at once.

Each rule scores only the courses it touches, so a query costs the same whatever the catalogue's size. Rules: `cosine`
(what goes with the newest courses), `order` (what comes after them) and `fashion` (the same, fading within weeks),
`session` (what goes with the running visit), `people` (what similar people have), `content` (what the courses are
about), `popular` (this week's uses) and `own` (the person's own, by use).
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.person.activity import DAY
from models.person.preferences import USE_HALF_LIFE_DAYS, Preferences
from models.recommend.content import Content
from models.recommend.index import EARLY, IN, IN_FADING, IN_ORDER, MONTH, OUT, OUT_FADING, OUT_ORDER, WEEK, Index

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NAMES = ("cosine", "order", "fashion", "session", "people", "content", "popular", "own")
COSINE, ORDER, FASHION, SESSION, PEOPLE, CONTENT, POPULAR, OWN = range(len(NAMES))
SEEDS, STEPS, VISIT, LIKED = 20, 10, 20, 10
"""Newest courses that cosine, order, session and people start from."""
NEWEST = 100
"""Courses drawn without anything that speaks for them: where little is used yet, they fill the lists."""
PAUSE = 1_800.0
"""Seconds without a use that end a visit."""


class Query(Struct, frozen=True):
    """A person as their question finds them.

    Attributes:
        recent: numbers of their recent courses, newest first; `times`, `firsts`, `uses` and `heat` (as of now) go with
            it, from their taste.
        visit: how many of them belong to the running visit, at most 20.
        known: courses they have ever had.
        now: the moment asked for.
        person: their key, to leave them out of their own neighbours.
    """

    recent: Ints
    times: Floats
    firsts: Floats
    uses: Floats
    heat: Floats
    visit: int
    known: int
    now: float
    person: int | None

    @property
    def turn(self) -> float:
        """A number from 0 to 1, the same for a person all day, and another one tomorrow and for others."""
        return crc32(f"{self.person}:{int(self.now // DAY)}".encode()) / 2.0**32


class Generated(Struct, frozen=True):
    """Candidates with what the generators say of them.

    Attributes:
        numbers: of the courses, each once.
        scores: (generators, courses), 0 where a generator says nothing.
        last: (2, courses), what the last and the last but one course lead to.
        visit: (3, courses), cosine to the courses of the visit: mean, largest, and share of them that have any.
        profile: the terms that the person's courses are about.
        turn: from 0 to 1, which of the rarely used courses has its day.
    """

    numbers: Ints
    scores: Floats
    last: Floats
    visit: Floats
    profile: tuple[Ints, Floats]
    turn: float


def asked(index: Index, taste: Preferences, now: float, person: int | None = None) -> Query:
    """Put a person's taste into the index's numbers; courses it has not heard of are left out."""
    held = [(index.numbers[recent.course], recent) for recent in taste.recent if recent.course in index.numbers]
    times = np.array([recent.time for _, recent in held])
    visit = 0
    if len(held) and now - times[0] < PAUSE:
        pauses = np.flatnonzero(times[:-1] - times[1:] >= PAUSE)
        visit = min(VISIT, int(pauses[0]) + 1 if len(pauses) else len(held))
    heat = np.array([recent.decayed_uses for _, recent in held]) * 2.0 ** (
        -np.maximum(now - times, 0.0) / DAY / USE_HALF_LIFE_DAYS
    )
    return Query(
        np.array([number for number, _ in held], np.int64),
        times,
        np.array([recent.first for _, recent in held]),
        np.array([float(recent.uses) for _, recent in held]),
        heat,
        visit,
        taste.courses,
        now,
        person,
    )


def draw(index: Index, content: Content, asked: Query) -> Generated:
    """Let every generator speak."""
    seeds = asked.recent[:SEEDS]
    lines = index.near[seeds]
    held = np.flatnonzero(lines >= 0)
    near = lines.take(held).astype(np.int64)
    liked, likeness = index.people.like(*_liked(index, asked), asked.person)
    rings = index.people.rings[liked]
    theirs = rings[rings >= 0].astype(np.int64)
    profile = content.profile(seeds, np.power(0.9, np.arange(len(seeds), dtype=np.float64)))
    about, alike = content.about(profile)
    charts = [index.charts[kind].best() for kind in (WEEK, MONTH, EARLY)]
    every = np.concatenate((near, theirs, about, *charts, asked.recent, index.newest(NEWEST)))
    numbers = _unique(index, every)
    size = len(numbers)
    scores = np.zeros((len(NAMES), size))
    local = index.mark[near]
    damp = 1.0 / np.sqrt(index.masses(numbers, asked.now) + 1.0)
    last, visit = _walk(index, asked, seeds, held, local, damp, scores)
    scores[PEOPLE] = np.bincount(index.mark[theirs], np.broadcast_to(likeness[:, None], rings.shape)[rings >= 0], size)
    scores[CONTENT] = np.bincount(index.mark[about], alike, size)
    scores[POPULAR] = index.popularity(numbers, WEEK, asked.now)
    scores[OWN, index.mark[asked.recent]] = asked.heat
    return Generated(numbers, scores, last, visit, profile, asked.turn)


def _liked(index: Index, asked: Query) -> tuple[Ints, Floats]:
    seeds = asked.recent[:LIKED]
    return seeds, 0.9 ** np.arange(len(seeds)) / np.log(3.0 + index.uses[seeds])


def _unique(index: Index, numbers: Ints) -> Ints:
    """Return each number once, and leave in the index's scratch where it stands; nothing is sorted."""
    places = np.arange(len(numbers))
    index.mark[numbers] = places
    unique: Ints = numbers[index.mark[numbers] == places]
    index.mark[unique] = places[: len(unique)]
    return unique


def _walk(
    index: Index, asked: Query, seeds: Ints, held: Ints, local: Ints, damp: Floats, scores: Floats
) -> tuple[Floats, Floats]:
    """Score what lies near the newest courses; what the last two lead to, and what goes with the visit, come back."""
    size = len(damp)
    slow, fast = index.scales(asked.now)
    weight = index.weight[seeds].reshape(-1, index.weight.shape[2]).take(held, 0).T
    place = held // index.width
    until = np.searchsorted(place, np.arange(len(seeds) + 1))
    mass, places = index.masses(seeds, asked.now), np.arange(len(seeds))
    cosine = (weight[IN] + weight[OUT]) * (slow / np.sqrt(mass + 1.0))[place]
    scores[COSINE] = np.bincount(local, cosine * (0.9**places)[place], size) * damp
    count = int(until[min(STEPS, len(seeds))])
    steps, there = place[:count], local[:count]
    rho = (0.8**places)[steps]
    order = (weight[OUT_ORDER, :count] + 0.5 * weight[IN_ORDER, :count]) * (slow / (mass + 5.0))[steps]
    scores[ORDER] = np.bincount(there, order * rho, size)
    recent = index.popularity(seeds, MONTH, asked.now)
    fading = (weight[OUT_FADING, :count] + 0.5 * weight[IN_FADING, :count]) * (fast / (recent + 5.0))[steps]
    scores[FASHION] = np.bincount(there, fading * rho, size)
    last = np.zeros((2, size))
    for newest in range(min(2, len(seeds))):
        its = slice(until[newest], until[newest + 1])
        last[newest, local[its]] = order[its]
    visit = np.zeros((3, size))
    of_visit = min(len(seeds), asked.visit or 5)
    seen = int(until[of_visit])
    if seen:
        here, values = local[:seen], cosine[:seen]
        scores[SESSION] = np.bincount(here, values, size) * damp
        np.maximum.at(visit[1], here, values)
        visit[1] *= damp
        visit[0] = scores[SESSION] / of_visit
        visit[2] = np.bincount(here, values > 0, size) / of_visit
    return last, visit
