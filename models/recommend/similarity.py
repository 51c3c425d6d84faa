"""Which courses go together, learned one interaction at a time.

Everything known of a course stands in its `CooccurrenceRow`, which only the course's own interactions change: how often
it came after which other courses of the same people. The pair of a and b therefore stands partly in row a (b came
before) and partly in row b; whoever reads adds the two. Weights decay forward (Cormode et al. 2009): instead of
shrinking what is old, what is new is added times 2^((t - landmark) / half-life), and a row moves its landmark before
that grows large.

The symmetric part is the incremental cosine over implicit ratings of TencentRec (Huang et al. 2015): when a rating
rises from r to r', the pair with every other recent course of rating r_j gains min(r', r_j) - min(r, r_j).
"""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from msgspec import Struct
from river import base

from models.person.activity import DAY
from models.person.preferences import COMPLETED, Interaction, Preferences, fold_use, person_key

POPULAR_DAYS = (1.0, 7.0, 30.0)
NEWCOMER = 3
"""Somebody with fewer other courses than this is a newcomer."""
MOST_EXPONENT = 64.0
SLACK = 1.25
"""How far a row grows beyond its neighbours before it is cut, so that cutting costs little a change."""


class CountingWindow(Struct, frozen=True, kw_only=True):
    """How co-occurrence is counted; the same for all rows that are to be compared.

    Attributes:
        length: other courses of the person that an interaction reaches back to.
        damping: the d-th of them counts d ** -damping in the symmetric part; 0 counts all alike.
        reach: how many of them count for the directed part, the d-th with 1 / d.
        half_life: of the pairs and of a course's mass, in seconds; infinite turns decay off.
        fading: half-life of the second directed part, the one that follows fashions.
        neighbours: M; a row is cut to its M heaviest neighbours when it has a quarter more.
        people: the newest people of a course that its row keeps.
        steps: the earlier completed courses that a completion reaches back to.
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
    """What two courses weigh together: symmetrically, in the order they came, and in that order of late.

    A row has hundreds of them, and pure numbers need no garbage collector that looks at them again and again.
    """

    together: float = 0.0
    order: float = 0.0
    fading: float = 0.0


class CooccurrenceRow(Struct, frozen=True, array_like=True):
    """A course and what came before it. It is replaced, never changed.

    Attributes:
        landmark: the time at which stored weights equal true ones; later they stand higher than they are.
        mass: sum of the strengths its people have for it, decaying with the window's half-life.
        uses: interactions, repetitions too; `audience`: of those, the ones with somebody new.
        popular: uses with half-lives of 1, 7 and 30 days, and of newcomers with 30, all as of `last`.
        near: by neighbour, the weights of pairs in which it came before this course.
        path: by course that people had completed before they completed this one, decaying like `mass`.
        people: keys of its newest people, newest last.
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


def interacted(row: CooccurrenceRow, heard: Interaction, window: CountingWindow) -> CooccurrenceRow:
    """Fold one interaction into the row of its course.

    O(window.length) and a copy of the row, amortised; the same for a busy course as for any other.

    Args:
        row: of the course the interaction is about.
        heard: applied once; whoever calls leaves out repeats.
        window: the same for all rows.
    """
    row = _moved(row, heard.time, window)
    gain = 2.0 ** ((heard.time - row.landmark) / window.half_life)
    fresh = 2.0 ** ((heard.time - row.landmark) / window.fading)
    near = _paired(row.near, heard, window, gain, fresh)
    people = row.people if heard.person not in row.people else tuple(p for p in row.people if p != heard.person)
    return CooccurrenceRow(
        course=row.course,
        landmark=row.landmark,
        mass=row.mass + (heard.after - heard.before) * gain,
        uses=row.uses + 1,
        audience=row.audience + heard.new,
        first=min(row.first, heard.time) if row.uses else heard.time,
        last=max(row.last, heard.time),
        popular=_popular(row, heard),
        near=near,
        path=_path(row.path, heard, window, gain),
        people=(*people, heard.person)[-window.people :],
    )


def _paired(
    near: dict[str, PairWeight], heard: Interaction, window: CountingWindow, gain: float, fresh: float
) -> dict[str, PairWeight]:
    near = near.copy()
    before, after, none = heard.before, heard.after, PairWeight()
    for (course, strength), (share, ordered) in zip(heard.others, _shares(window), strict=False):
        risen = min(after, strength) - (min(before, strength) if before else 0.0)
        if not risen:
            continue
        old = near.get(course, none)
        near[course] = PairWeight(
            old.together + risen * gain * share,
            old.order + risen * gain * ordered,
            old.fading + risen * fresh * ordered,
        )
    return near if len(near) <= SLACK * window.neighbours else _cut(near, window.neighbours)


@lru_cache(maxsize=8)
def _shares(window: CountingWindow) -> tuple[tuple[float, float], ...]:
    """Return what the other courses count by their place: in the symmetric and in the directed part."""
    places = range(1, window.length + 1)
    return tuple((place**-window.damping, 1.0 / place if place <= window.reach else 0.0) for place in places)


def _cut(near: dict[str, PairWeight], most: int) -> dict[str, PairWeight]:
    """Keep the neighbours that are heaviest in the symmetric part; of equally heavy ones those that came last."""
    weights = np.array([pair.together for pair in near.values()])
    courses = list(near)
    for place in np.argsort(weights, kind="stable")[: len(near) - most].tolist():
        del near[courses[place]]
    return near


def _path(path: dict[str, float], heard: Interaction, window: CountingWindow, gain: float) -> dict[str, float]:
    if heard.after < COMPLETED or heard.before >= COMPLETED or not (heard.new or heard.before):
        return path
    done = [course for course, strength in heard.others if strength >= COMPLETED][: window.steps]
    if not done:
        return path
    path = path.copy()
    for place, course in enumerate(done, start=1):
        path[course] = path.get(course, 0.0) + gain / place
    if len(path) > SLACK * window.neighbours:
        heaviest = sorted(path, key=lambda course: path[course], reverse=True)
        return {course: path[course] for course in heaviest[: window.neighbours]}
    return path


def _popular(row: CooccurrenceRow, heard: Interaction) -> tuple[float, float, float, float]:
    days = (heard.time - row.last) / DAY if row.uses else 0.0
    day, week, month = (
        count * 2.0 ** (-days / life) + 1.0 if days >= 0 else count + 2.0 ** (days / life)
        for count, life in zip(row.popular[:3], POPULAR_DAYS, strict=True)
    )
    newcomers = float(len(heard.others) < NEWCOMER)
    life = POPULAR_DAYS[2]
    early = row.popular[3] * 2.0 ** (-max(days, 0.0) / life) + newcomers * 2.0 ** (min(days, 0.0) / life)
    return day, week, month, early


def _moved(row: CooccurrenceRow, time: float, window: CountingWindow) -> CooccurrenceRow:
    """Move the landmark to the present before exponents grow large; what the row says stays the same."""
    if not row.uses:
        return CooccurrenceRow(row.course, landmark=time)
    age = time - row.landmark
    if age <= MOST_EXPONENT * min(window.half_life, window.fading):
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


class SimilaritySnapshot(Struct, frozen=True):
    """All that an `ItemSimilarity` knows, as plain data."""

    schema: int
    window: CountingWindow
    shrinkage: float
    exponent: float
    seeds: int
    rho: float
    now: float
    rows: list[CooccurrenceRow]
    tastes: dict[str, Preferences]


class ItemSimilarity(base.Estimator):
    """Item-based collaborative filtering over a stream: a decayed cosine between courses.

    sim(i, j) = C_ij / ((c_i + s)^(1 - a) (c_j + s)^a) with the decayed co-occurrence C, the decayed mass c, shrinkage
    s and popularity exponent a. It is exact: apart from rows being cut to their heaviest neighbours, the result is
    that of counting all over again.

    Parameters
    ----------
    window
        How co-occurrence is counted.
    shrinkage
        Higher values trust pairs of rare courses less.
    exponent
        How much the popularity of the recommended course counts against it; 0.5 is the cosine.
    seeds
        The person's newest courses that `recommend` starts from.
    rho
        What the next older seed counts less.

    Examples
    --------
    >>> model = ItemSimilarity()
    >>> for day, (user, item) in enumerate([("ann", "a"), ("ann", "b"), ("bob", "a"), ("bob", "b"), ("bob", "c")]):
    ...     model.learn_one(user, item, time=day * 86400.0)
    >>> [(item, round(score, 3)) for item, score in model.similar("b", 2)]
    [('a', 0.667), ('c', 0.408)]
    >>> [item for item, _ in model.recommend("ann", 5)]
    ['c']
    """

    SCHEMA = 1

    def __init__(
        self,
        window: CountingWindow = CountingWindow(),  # noqa: B008 - frozen
        shrinkage: float = 1.0,
        exponent: float = 0.5,
        seeds: int = 20,
        rho: float = 0.9,
    ) -> None:
        self.window = window
        self.shrinkage = shrinkage
        self.exponent = exponent
        self.seeds = seeds
        self.rho = rho
        self.rows: dict[str, CooccurrenceRow] = {}
        self.tastes: dict[str, Preferences] = {}
        self._after: dict[str, set[str]] = {}
        self._now = 0.0

    def learn_one(self, user: str, item: str, time: float = 0.0, strength: float = 1.0) -> None:
        """Learn that a person used a course, with a strength of at most what is the most a course can be liked."""
        taste, heard = fold_use(self.tastes.get(user, Preferences()), "", item, person_key(user), time, strength)
        self.tastes[user] = taste
        self._now = max(self._now, time)
        if heard is not None:
            self.hear(heard)

    def hear(self, heard: Interaction) -> None:
        """Learn one interaction as the stream tells it."""
        old = self.rows.get(heard.course, CooccurrenceRow(heard.course))
        row = interacted(old, heard, self.window)
        self.rows[heard.course] = row
        self._now = max(self._now, heard.time)
        for gone in old.near.keys() - row.near.keys():
            self._after[gone].discard(heard.course)
        for come in row.near.keys() - old.near.keys():
            self._after.setdefault(come, set()).add(heard.course)

    def similar(self, item: str, n: int = 10) -> list[tuple[str, float]]:
        """Return the n courses most similar to one, best first, with their similarity."""
        scores = self.similarities(item)
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:n]

    def similarities(self, item: str) -> dict[str, float]:
        """Return the similarity of a course to every course it has been used together with, as of the newest use."""
        row = self.rows.get(item)
        if row is None:
            return {}
        own = self._scale(row)
        together = {other: pair.together * own for other, pair in row.near.items()}
        for other in self._after.get(item, ()):
            later = self.rows[other]
            together[other] = together.get(other, 0.0) + later.near[item].together * self._scale(later)
        mass = (self._mass(item) + self.shrinkage) ** (1.0 - self.exponent)
        return {
            other: weight / (mass * (self._mass(other) + self.shrinkage) ** self.exponent)
            for other, weight in together.items()
        }

    def recommend(self, user: str, n: int = 20) -> list[tuple[str, float]]:
        """Return the n courses that go best with the person's newest ones, without those they know."""
        recent = self.tastes.get(user, Preferences()).recent
        scores: dict[str, float] = {}
        for place, seed in enumerate(recent[: self.seeds]):
            for other, similarity in self.similarities(seed.course).items():
                scores[other] = scores.get(other, 0.0) + self.rho**place * similarity
        known = {course.course for course in recent}
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(course, score) for course, score in ranked if course not in known][:n]

    def snapshot(self) -> SimilaritySnapshot:
        """Return all that is known as plain data."""
        settings = (self.window, self.shrinkage, self.exponent, self.seeds, self.rho)
        return SimilaritySnapshot(self.SCHEMA, *settings, self._now, list(self.rows.values()), dict(self.tastes))

    @classmethod
    def restore(cls, snapshot: SimilaritySnapshot) -> ItemSimilarity:
        """Rebuild a model that goes on as if it had never stopped."""
        if snapshot.schema != cls.SCHEMA:
            raise ValueError(f"a snapshot of schema {snapshot.schema}, but this version reads {cls.SCHEMA}")
        model = cls(snapshot.window, snapshot.shrinkage, snapshot.exponent, snapshot.seeds, snapshot.rho)
        model.tastes, model._now = dict(snapshot.tastes), snapshot.now
        for row in snapshot.rows:
            model.rows[row.course] = row
            for other in row.near:
                model._after.setdefault(other, set()).add(row.course)
        return model

    def _scale(self, row: CooccurrenceRow) -> float:
        return float(2.0 ** ((row.landmark - self._now) / self.window.half_life))

    def _mass(self, item: str) -> float:
        row = self.rows.get(item)
        return 0.0 if row is None else row.mass * self._scale(row)
