"""Candidate generators: many simple rules that each score a few courses for a person.

A rule scores only the courses that it touches, so the cost of a query does not depend on the catalogue's size. Rules:
`cosine` (what goes with the newest courses), `order` (what comes after them), `fashion` (the same, decaying within
weeks), `session` (what goes with the current visit), `people` (what similar people use), `content` (what the courses
are about), `popular` (uses of this week) and `own` (the person's own courses, by use).
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.person.activity import DAY
from models.person.preferences import USE_HALF_LIFE_DAYS, Preferences
from models.recommend.content import Content
from models.recommend.index import IN, IN_FADING, IN_ORDER, MONTH, NEWCOMERS, OUT, OUT_FADING, OUT_ORDER, WEEK, Index

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NAMES = ("cosine", "order", "fashion", "session", "people", "content", "popular", "own")
COSINE, ORDER, FASHION, SESSION, PEOPLE, CONTENT, POPULAR, OWN = range(len(NAMES))
SEEDS, STEPS, VISIT, LIKED = 20, 10, 20, 10
"""Newest courses that cosine, order, session and people start from."""
NEWEST = 100
"""Newest courses that are always candidates. They fill the lists while following are few uses."""
VISIT_PAUSE = 1_800.0
"""Seconds without a use that end a visit."""


class Query(Struct, frozen=True):
    """A person at the moment of a query.

    Attributes:
        recent: numbers of their recent courses, newest first.
        times: time of the latest use of each; `firsts`: of the first use; `uses`: number of uses.
        decayed_uses: decayed number of uses of each, as of now.
        visit: how many of them belong to the current visit, at most 20.
        known: number of courses they ever used.
        now: the moment of the query.
        person: their key, so that they are not their own neighbour.
    """

    recent: Ints
    times: Floats
    firsts: Floats
    uses: Floats
    decayed_uses: Floats
    visit: int
    known: int
    now: float
    person: int | None

    @property
    def exploration_draw(self) -> float:
        """A number from 0 to 1 for the exploration slot. It is constant for a person and a day."""
        return crc32(f"{self.person}:{int(self.now // DAY)}".encode()) / 2.0**32


class GeneratedCourses(Struct, frozen=True):
    """The proposed courses with their generator scores.

    Attributes:
        numbers: numbers of the courses, without repeats.
        scores: (generators, courses), 0 where a generator does not propose a course.
        last: (2, courses), order scores from the last course and from the last but one.
        visit: (3, courses), cosine to the courses of the visit: mean, maximum, and share of them with a value.
        profile: the terms that the person's courses are about.
        exploration_draw: the query's number from 0 to 1 for the exploration slot.
    """

    numbers: Ints
    scores: Floats
    last: Floats
    visit: Floats
    profile: tuple[Ints, Floats]
    exploration_draw: float


def make_query(index: Index, preferences: Preferences, now: float, person: int | None = None) -> Query:
    """Translate a person's preferences to the index's course numbers. Courses unknown to the index are left out."""
    held = [(index.numbers[recent.course], recent) for recent in preferences.recent if recent.course in index.numbers]
    times = np.array([recent.time for _, recent in held])
    visit = 0
    if len(held) and now - times[0] < VISIT_PAUSE:
        pauses = np.flatnonzero(times[:-1] - times[1:] >= VISIT_PAUSE)
        visit = min(VISIT, int(pauses[0]) + 1 if len(pauses) else len(held))
    decayed_uses = np.array([recent.decayed_uses for _, recent in held]) * 2.0 ** (
        -np.maximum(now - times, 0.0) / DAY / USE_HALF_LIFE_DAYS
    )
    return Query(
        np.array([number for number, _ in held], np.int64),
        times,
        np.array([recent.first for _, recent in held]),
        np.array([float(recent.uses) for _, recent in held]),
        decayed_uses,
        visit,
        preferences.courses,
        now,
        person,
    )


def generate(index: Index, content: Content, query: Query) -> GeneratedCourses:
    """Run all generators."""
    seeds = query.recent[:SEEDS]
    neighbours = index.near[seeds]
    held = np.flatnonzero(neighbours >= 0)
    near = neighbours.take(held).astype(np.int64)
    people, similarity = index.people.nearest(*_people_seeds(index, query), query.person)
    courses = index.people.courses[people]
    theirs = courses[courses >= 0].astype(np.int64)
    profile = content.profile(seeds, np.power(0.9, np.arange(len(seeds), dtype=np.float64)))
    matches, similarities = content.newest_matches(profile)
    popular = [index.top_courses[kind].ranked() for kind in (WEEK, MONTH, NEWCOMERS)]
    proposed = np.concatenate((near, theirs, matches, *popular, query.recent, index.newest(NEWEST)))
    numbers = _unique(index, proposed)
    size = len(numbers)
    scores = np.zeros((len(NAMES), size))
    targets = index.scratch[near]
    damp = 1.0 / np.sqrt(index.decayed_masses(numbers, query.now) + 1.0)
    last, visit = _score_neighbours(index, query, seeds, held, targets, damp, scores)
    spread = np.broadcast_to(similarity[:, None], courses.shape)[courses >= 0]
    scores[PEOPLE] = np.bincount(index.scratch[theirs], spread, size)
    scores[CONTENT] = np.bincount(index.scratch[matches], similarities, size)
    scores[POPULAR] = index.popularity(numbers, WEEK, query.now)
    scores[OWN, index.scratch[query.recent]] = query.decayed_uses
    return GeneratedCourses(numbers, scores, last, visit, profile, query.exploration_draw)


def _people_seeds(index: Index, query: Query) -> tuple[Ints, Floats]:
    seeds = query.recent[:LIKED]
    return seeds, 0.9 ** np.arange(len(seeds)) / np.log(3.0 + index.uses[seeds])


def _unique(index: Index, numbers: Ints) -> Ints:
    """Return the numbers without repeats, and write their places to the index's scratch. It does not sort."""
    places = np.arange(len(numbers))
    index.scratch[numbers] = places
    unique: Ints = numbers[index.scratch[numbers] == places]
    index.scratch[unique] = places[: len(unique)]
    return unique


def _score_neighbours(
    index: Index, query: Query, seeds: Ints, held: Ints, targets: Ints, damp: Floats, scores: Floats
) -> tuple[Floats, Floats]:
    """Write the scores of the co-occurrence generators, and return the `last` and `visit` arrays."""
    size = len(damp)
    slow, fast = index.scales(query.now)
    weight = index.weight[seeds].reshape(-1, index.weight.shape[2]).take(held, 0).T
    place = held // index.width
    ends = np.searchsorted(place, np.arange(len(seeds) + 1))
    mass, places = index.decayed_masses(seeds, query.now), np.arange(len(seeds))
    cosine = (weight[IN] + weight[OUT]) * (slow / np.sqrt(mass + 1.0))[place]
    scores[COSINE] = np.bincount(targets, cosine * (0.9**places)[place], size) * damp
    count = int(ends[min(STEPS, len(seeds))])
    steps, following = place[:count], targets[:count]
    rho = (0.8**places)[steps]
    order = (weight[OUT_ORDER, :count] + 0.5 * weight[IN_ORDER, :count]) * (slow / (mass + 5.0))[steps]
    scores[ORDER] = np.bincount(following, order * rho, size)
    recent = index.popularity(seeds, MONTH, query.now)
    fading = (weight[OUT_FADING, :count] + 0.5 * weight[IN_FADING, :count]) * (fast / (recent + 5.0))[steps]
    scores[FASHION] = np.bincount(following, fading * rho, size)
    last = np.zeros((2, size))
    for newest in range(min(2, len(seeds))):
        pairs = slice(ends[newest], ends[newest + 1])
        last[newest, targets[pairs]] = order[pairs]
    visit = np.zeros((3, size))
    visit_seeds = min(len(seeds), query.visit or 5)
    seen = int(ends[visit_seeds])
    if seen:
        with_visit, values = targets[:seen], cosine[:seen]
        scores[SESSION] = np.bincount(with_visit, values, size) * damp
        np.maximum.at(visit[1], with_visit, values)
        visit[1] *= damp
        visit[0] = scores[SESSION] / visit_seeds
        visit[2] = np.bincount(with_visit, values > 0, size) / visit_seeds
    return last, visit
