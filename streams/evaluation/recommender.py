"""Recommendations in one process: what the agents do together, as one estimator in the style of River."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import base

from models.person.preferences import Preferences, Recommendation, fold_use, person_key
from models.recommend import features
from models.recommend.candidates import Candidates, select_candidates
from models.recommend.content import Content
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.recommend.examples import is_sampled
from models.recommend.generators import GeneratedCourses, Query, generate, make_query
from models.recommend.index import Index
from models.recommend.linear_ranker import LinearRanker
from models.recommend.lists import Surface, recommend
from models.recommend.net_ranker import NetRanker


class HeldOutUse(Struct, frozen=True):
    """All intermediate results of a recommendation query.

    Attributes:
        preferences: of the person.
        query: the query in course numbers.
        generated: the courses that the generators proposed.
        candidates: the selected candidates.
        rows: feature rows of the candidates.
    """

    preferences: Preferences
    query: Query
    generated: GeneratedCourses
    candidates: Candidates
    rows: NDArray[np.float32]


class Recommender(base.Estimator):
    """Recommendations that learn from each use: rows, index, content and two rankers in one object.

    Parameters
    ----------
    window
        How co-occurrence is counted.
    surface
        The surface that shows the recommendations.
    share
        Share of the uses that the rankers learn from, sampled by the hash of their id.
    seed
        Seed of the net.

    Examples
    --------
    >>> model = Recommender()
    >>> for day in range(30):
    ...     for person, courses in [("ann", "abc"), ("bob", "abd"), ("cem", "xyz")]:
    ...         for hour, course in enumerate(courses[: 1 + day % 3]):
    ...             model.learn_one(f"{person}{day // 3}", course, day * 86400.0 + hour)
    >>> [one.course for one in model.recommend("ann9", 31 * 86400.0, 1)]
    ['d']
    """

    def __init__(
        self,
        window: CountingWindow = CountingWindow(),  # noqa: B008 - frozen
        surface: Surface = Surface(),  # noqa: B008 - frozen
        share: float = 1.0,
        seed: int = 1,
    ) -> None:
        self.window = window
        self.surface = surface
        self.share = share
        self.seed = seed
        columns = len(features.column_names(surface.repeats))
        self.index = Index(window)
        self.content = Content()
        self.net = NetRanker(columns, seed=seed)
        self.linear = LinearRanker(columns)
        self.rows: dict[str, CooccurrenceRow] = {}
        self.preferences: dict[str, Preferences] = {}
        self._uses = 0

    def describe(self, course: str, terms: dict[str, float]) -> None:
        """Set the terms of a course; see `models.recommend.content.count_terms`."""
        self.content.update(self.index.number(course), terms)

    def ask(self, user: str, now: float) -> HeldOutUse:
        """Generate, select and describe candidates for a person at a moment. Nothing changes."""
        preferences = self.preferences.get(user, Preferences())
        query = make_query(self.index, preferences, now, person_key(user))
        generated = generate(self.index, self.content, query)
        candidates = select_candidates(self.index, self.content, preferences, generated, self.surface.repeats)
        rows = features.rows(self.index, candidates, query, self.surface.repeats)
        return HeldOutUse(preferences, query, generated, candidates, rows)

    def learn_one(self, user: str, item: str, time: float, strength: float = 1.0, id: str | None = None) -> None:
        """Learn that a person used a course."""
        name = id or str(self._uses)
        if user in self.preferences and is_sampled(name, self.share):
            self.learn(self.ask(user, time), item)
        self.use(user, item, time, strength)

    def learn(self, use: HeldOutUse, item: str) -> None:
        """Teach the rankers which course was chosen, if it was among the candidates."""
        taken = np.flatnonzero(use.candidates.generated.numbers == self.index.numbers.get(item, -1))
        if len(taken):
            self.net.learn(use.rows, int(taken[0]))
            self.linear.learn(use.rows, int(taken[0]))

    def use(self, user: str, item: str, time: float, strength: float = 1.0) -> None:
        """Add a use to the person's preferences and to the course's row. The rankers do not learn from it."""
        self._uses += 1
        known = self.preferences.get(user, Preferences())
        self.preferences[user], interaction = fold_use(known, str(self._uses), item, person_key(user), time, strength)
        if interaction is not None:
            row = update_row(self.rows.get(item, CooccurrenceRow(item)), interaction, self.window)
            self.rows[item] = row
            self.index.update(row, [course for course, _ in interaction.others])

    def recommend(self, user: str, now: float, n: int = 10) -> tuple[Recommendation, ...]:
        """Return at most n courses for a person, best first."""
        preferences = self.preferences.get(user, Preferences())
        return recommend(self.index, self.content, preferences, now, n, self.surface, self.net, person_key(user))
