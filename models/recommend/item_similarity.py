"""Item similarity as one River estimator: the reference for how Encore relates courses.

Production does not run this class. There, the courses agent keeps one row per course in a partitioned store, and every
worker indexes the rows. `ItemSimilarity` computes the same similarities in one process. Tests run the same stream of
interactions through both, and compare the results.
"""

from __future__ import annotations

from msgspec import Struct
from river import base

from models.person.preferences import Interaction, Preferences, fold_use, person_key
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row


class SimilaritySnapshot(Struct, frozen=True, rename={"preferences": "tastes"}):
    """The whole state of an `ItemSimilarity`, as plain data."""

    schema: int
    window: CountingWindow
    shrinkage: float
    exponent: float
    seeds: int
    rho: float
    now: float
    rows: list[CooccurrenceRow]
    preferences: dict[str, Preferences]


class ItemSimilarity(base.Estimator):
    """Item-based collaborative filtering over a stream: a decayed cosine between courses.

    sim(i, j) = C_ij / ((c_i + s)^(1 - a) (c_j + s)^a) with the decayed co-occurrence C, the decayed mass c, shrinkage
    s and popularity exponent a. It is exact: the result equals a full recount. The only exception is that rows are cut
    to their heaviest neighbours.

    Parameters
    ----------
    window
        How co-occurrence is counted.
    shrinkage
        Higher values reduce the similarity of rare courses more.
    exponent
        How much the popularity of the recommended course reduces the similarity; 0.5 is the cosine.
    seeds
        Number of the person's newest courses that `recommend` starts from.
    rho
        Factor by which the next older seed counts less.

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
        self.preferences: dict[str, Preferences] = {}
        self._rows_with: dict[str, set[str]] = {}
        self._now = 0.0

    def learn_one(self, user: str, item: str, time: float = 0.0, strength: float = 1.0) -> None:
        """Learn that a person used a course with a strength, which is an implicit rating."""
        preferences, interaction = fold_use(
            self.preferences.get(user, Preferences()), "", item, person_key(user), time, strength
        )
        self.preferences[user] = preferences
        self._now = max(self._now, time)
        if interaction is not None:
            self.learn_interaction(interaction)

    def learn_interaction(self, interaction: Interaction) -> None:
        """Learn one interaction of the stream."""
        old = self.rows.get(interaction.course, CooccurrenceRow(interaction.course))
        row = update_row(old, interaction, self.window)
        self.rows[interaction.course] = row
        self._now = max(self._now, interaction.time)
        for removed in old.near.keys() - row.near.keys():
            self._rows_with[removed].discard(interaction.course)
        for added in row.near.keys() - old.near.keys():
            self._rows_with.setdefault(added, set()).add(interaction.course)

    def similar(self, item: str, n: int = 10) -> list[tuple[str, float]]:
        """Return the n courses most similar to one, best first, with their similarities."""
        scores = self.similarities(item)
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:n]

    def similarities(self, item: str) -> dict[str, float]:
        """Return the similarities of a course to all courses that were used together with it, as of the newest use."""
        row = self.rows.get(item)
        if row is None:
            return {}
        own = self._decay(row)
        together = {other: pair.together * own for other, pair in row.near.items()}
        for other in self._rows_with.get(item, ()):
            later = self.rows[other]
            together[other] = together.get(other, 0.0) + later.near[item].together * self._decay(later)
        mass = (self._mass(item) + self.shrinkage) ** (1.0 - self.exponent)
        return {
            other: weight / (mass * (self._mass(other) + self.shrinkage) ** self.exponent)
            for other, weight in together.items()
        }

    def recommend(self, user: str, n: int = 20) -> list[tuple[str, float]]:
        """Return the n courses with the highest total similarity to the person's newest ones, without known courses."""
        recent = self.preferences.get(user, Preferences()).recent
        scores: dict[str, float] = {}
        for place, seed in enumerate(recent[: self.seeds]):
            for other, similarity in self.similarities(seed.course).items():
                scores[other] = scores.get(other, 0.0) + self.rho**place * similarity
        known = {course.course for course in recent}
        ranked = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(course, score) for course, score in ranked if course not in known][:n]

    def snapshot(self) -> SimilaritySnapshot:
        """Return the whole state as plain data."""
        settings = (self.window, self.shrinkage, self.exponent, self.seeds, self.rho)
        return SimilaritySnapshot(self.SCHEMA, *settings, self._now, list(self.rows.values()), dict(self.preferences))

    @classmethod
    def restore(cls, snapshot: SimilaritySnapshot) -> ItemSimilarity:
        """Return a model that continues from a snapshot.

        Raises:
            ValueError: the snapshot has another schema.
        """
        if snapshot.schema != cls.SCHEMA:
            raise ValueError(f"the snapshot has schema {snapshot.schema}, but this version reads schema {cls.SCHEMA}")
        model = cls(snapshot.window, snapshot.shrinkage, snapshot.exponent, snapshot.seeds, snapshot.rho)
        model.preferences, model._now = dict(snapshot.preferences), snapshot.now
        for row in snapshot.rows:
            model.rows[row.course] = row
            for other in row.near:
                model._rows_with.setdefault(other, set()).add(row.course)
        return model

    def _decay(self, row: CooccurrenceRow) -> float:
        return float(2.0 ** ((row.landmark - self._now) / self.window.half_life))

    def _mass(self, item: str) -> float:
        row = self.rows.get(item)
        return 0.0 if row is None else row.mass * self._decay(row)
