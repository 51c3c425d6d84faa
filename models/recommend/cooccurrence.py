"""Co-occurrence of courses, updated one interaction at a time.

All that is known of a course is in its `CooccurrenceRow`, which only the course's own interactions change: how often it
came after which other courses of the same people. So the pair of a and b is partly in row a (b came before) and partly
in row b, and a reader adds the two. Weights use forward decay (Cormode et al. 2009): old weights are not reduced, but
new ones are multiplied by 2^((t - landmark) / half-life). A row moves its landmark before that factor grows too large.

The symmetric part is the incremental cosine over implicit ratings of TencentRec (Huang et al. 2015). When a rating
rises from r to r', the pair with each other recent course of rating r_j gains min(r', r_j) - min(r, r_j).
"""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from msgspec import Struct

from models.person.activity import DAY
from models.person.preferences import COMPLETED, Interaction

POPULAR_DAYS = (1.0, 7.0, 30.0)
NEWCOMER = 3
"""A person with fewer other courses is a newcomer."""
MAX_EXPONENT = 64.0
"""Maximum age of a landmark, in half-lives."""
SLACK = 1.25
"""A row grows by this factor beyond its maximum before it is cut, so that cutting is rare."""


class CountingWindow(Struct, frozen=True, kw_only=True):
    """How co-occurrence is counted. Rows can only be compared if their windows are equal.

    Attributes:
        length: number of the person's other courses that an interaction is paired with.
        damping: the d-th of them counts d ** -damping in the symmetric part; 0 counts all equally.
        reach: how many of them count in the directed part, the d-th with 1 / d.
        half_life: half-life of pairs and of a course's mass, in seconds; infinity turns decay off.
        fading: half-life of the second directed part, which follows trends, in seconds.
        neighbours: M; a row is cut to its M heaviest neighbours when it has a quarter more.
        people: number of newest people that a row keeps.
        steps: number of earlier completed courses that a completion is paired with.
    """

    length: int = 50
    damping: float = 0.5
    reach: int = 10
    half_life: float = inf
    fading: float = 30 * DAY
    neighbours: int = 400
    people: int = 200
    steps: int = 5


class PairWeight(Struct, frozen=True, array_like=True, gc=False):
    """The weights of a pair of courses: symmetric, directed, and directed with the short half-life.

    A row has hundreds of them, and they hold only numbers. So the garbage collector does not track them.
    """

    together: float = 0.0
    order: float = 0.0
    fading: float = 0.0


class CooccurrenceRow(Struct, frozen=True, array_like=True):
    """A course and the courses that came before it. It is immutable.

    Attributes:
        course: id of the course.
        landmark: the time at which stored weights equal decayed ones. Later, the stored ones are higher.
        mass: sum of the strengths of interest in the course, decayed with the window's half-life.
        uses: number of interactions, with repetitions; `audience`: those by people who are new to the course.
        first: time of the first use; `last`: of the latest one.
        popular: uses with half-lives of 1, 7 and 30 days, and uses by newcomers with 30 days, all as of `last`.
        near: by neighbour, the weights of pairs in which it came before this course.
        path: by course that people completed before they completed this one, a weight that decays like `mass`.
        people: keys of the newest people, newest last.
    """

    course: str
    landmark: float = 0.0
    mass: float = 0.0
    uses: int = 0
    audience: int = 0
    first: float = 0.0
    last: float = 0.0
    popular: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    near: dict[str, PairWeight] = {}
    path: dict[str, float] = {}
    people: tuple[int, ...] = ()


def update_row(row: CooccurrenceRow, interaction: Interaction, window: CountingWindow) -> CooccurrenceRow:
    """Return the row of a course with one interaction added.

    The cost is O(window.length) and a copy of the row, amortised. It does not depend on how busy the course is.

    Args:
        row: the row of the interaction's course.
        interaction: must be applied once; the caller drops duplicates.
        window: the same for all rows.
    """
    row = _move_landmark(row, interaction.time, window)
    slow = 2.0 ** ((interaction.time - row.landmark) / window.half_life)
    fast = 2.0 ** ((interaction.time - row.landmark) / window.fading)
    near = _add_pairs(row.near, interaction, window, slow, fast)
    people = (
        row.people if interaction.person not in row.people else tuple(p for p in row.people if p != interaction.person)
    )
    return CooccurrenceRow(
        course=row.course,
        landmark=row.landmark,
        mass=row.mass + (interaction.after - interaction.before) * slow,
        uses=row.uses + 1,
        audience=row.audience + interaction.new,
        first=min(row.first, interaction.time) if row.uses else interaction.time,
        last=max(row.last, interaction.time),
        popular=_add_popular(row, interaction),
        near=near,
        path=_add_path(row.path, interaction, window, slow),
        people=(*people, interaction.person)[-window.people :],
    )


def _add_pairs(
    near: dict[str, PairWeight], interaction: Interaction, window: CountingWindow, slow: float, fast: float
) -> dict[str, PairWeight]:
    near = near.copy()
    before, after, no_weight = interaction.before, interaction.after, PairWeight()
    for (course, strength), (share, ordered) in zip(interaction.others, _place_weights(window), strict=False):
        gained = min(after, strength) - (min(before, strength) if before else 0.0)
        if not gained:
            continue
        old = near.get(course, no_weight)
        near[course] = PairWeight(
            old.together + gained * slow * share,
            old.order + gained * slow * ordered,
            old.fading + gained * fast * ordered,
        )
    return near if len(near) <= SLACK * window.neighbours else _keep_heaviest(near, window.neighbours)


@lru_cache(maxsize=8)
def _place_weights(window: CountingWindow) -> tuple[tuple[float, float], ...]:
    """Return the weight of an other course by its place: in the symmetric and in the directed part."""
    places = range(1, window.length + 1)
    return tuple((place**-window.damping, 1.0 / place if place <= window.reach else 0.0) for place in places)


def _keep_heaviest(near: dict[str, PairWeight], limit: int) -> dict[str, PairWeight]:
    """Keep the neighbours with the largest symmetric weight. If weights are equal, the later ones are kept."""
    weights = np.array([pair.together for pair in near.values()])
    courses = list(near)
    for place in np.argsort(weights, kind="stable")[: len(near) - limit].tolist():
        del near[courses[place]]
    return near


def _add_path(
    path: dict[str, float], interaction: Interaction, window: CountingWindow, slow: float
) -> dict[str, float]:
    if interaction.after < COMPLETED or interaction.before >= COMPLETED or not (interaction.new or interaction.before):
        return path
    completed = [course for course, strength in interaction.others if strength >= COMPLETED][: window.steps]
    if not completed:
        return path
    path = path.copy()
    for place, course in enumerate(completed, start=1):
        path[course] = path.get(course, 0.0) + slow / place
    if len(path) > SLACK * window.neighbours:
        heaviest = sorted(path, key=lambda course: path[course], reverse=True)
        return {course: path[course] for course in heaviest[: window.neighbours]}
    return path


def _add_popular(row: CooccurrenceRow, interaction: Interaction) -> tuple[float, float, float, float]:
    days = (interaction.time - row.last) / DAY if row.uses else 0.0
    day, week, month = (
        count * 2.0 ** (-days / life) + 1.0 if days >= 0 else count + 2.0 ** (days / life)
        for count, life in zip(row.popular[:3], POPULAR_DAYS, strict=True)
    )
    newcomers = float(len(interaction.others) < NEWCOMER)
    life = POPULAR_DAYS[2]
    early = row.popular[3] * 2.0 ** (-max(days, 0.0) / life) + newcomers * 2.0 ** (min(days, 0.0) / life)
    return day, week, month, early


def _move_landmark(row: CooccurrenceRow, time: float, window: CountingWindow) -> CooccurrenceRow:
    """Move the landmark to the present before exponents grow too large. Decayed weights stay the same."""
    if not row.uses:
        return CooccurrenceRow(row.course, landmark=time)
    age = time - row.landmark
    if age <= MAX_EXPONENT * min(window.half_life, window.fading):
        return row
    slow, fast = 2.0 ** (-age / window.half_life), 2.0 ** (-age / window.fading)
    return CooccurrenceRow(
        row.course,
        time,
        row.mass * slow,
        row.uses,
        row.audience,
        row.first,
        row.last,
        row.popular,
        {course: PairWeight(p.together * slow, p.order * slow, p.fading * fast) for course, p in row.near.items()},
        {course: weight * slow for course, weight in row.path.items()},
        row.people,
    )
