"""The whole of it in one process: what the agents do between them, as one estimator in River's manner."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import base

from models.person.preferences import Preferences, Recommendation, fold_use, person_key
from models.recommend import features
from models.recommend.candidates import Candidates, choose
from models.recommend.content import Content
from models.recommend.examples import is_drawn
from models.recommend.generators import Generated, Query, asked, draw
from models.recommend.index import Index
from models.recommend.lists import Surface, recommend
from models.recommend.net import NetRanker
from models.recommend.ranker import LinearRanker
from models.recommend.similarity import CooccurrenceRow, CountingWindow, interacted


class HeldOutUse(Struct, frozen=True):
    """Everything between a person's question and its answer: what was drawn, chosen and described."""

    taste: Preferences
    asked: Query
    drawn: Generated
    candidates: Candidates
    rows: NDArray[np.float32]


class Recommender(base.Estimator):
    """Recommendations that learn from every use: rows, index, content and two rankers under one roof.

    Parameters
    ----------
    window
        How co-occurrence is counted.
    surface
        Where recommendations stand, and what is wanted there.
    share
        Of the uses, those that the rankers learn from, drawn by the hash of their id.
    seed
        Of the net.

    Examples
    --------
    >>> model = Recommender()
    >>> for day in range(30):
    ...     for person, courses in [("ann", "abc"), ("bob", "abd"), ("cem", "xyz")]:
    ...         for hour, course in enumerate(courses[: 1 + day % 3]):
    ...             model.learn_one(f"{person}{day // 3}", course, day * 86400.0 + hour)
    >>> [said.course for said in model.recommend("ann9", 31 * 86400.0, 1)]
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
        columns = len(features.names_for(surface.repeats))
        self.index = Index(window)
        self.content = Content()
        self.net = NetRanker(columns, seed=seed)
        self.linear = LinearRanker(columns)
        self.rows: dict[str, CooccurrenceRow] = {}
        self.tastes: dict[str, Preferences] = {}
        self._uses = 0

    def describe(self, course: str, terms: dict[str, float]) -> None:
        """Learn what a course is about; see `models.content.terms_of`."""
        self.content.put(self.index.number(course), terms)

    def ask(self, user: str, now: float) -> HeldOutUse:
        """Draw, choose and describe candidates for a person at a moment; nothing changes."""
        taste = self.tastes.get(user, Preferences())
        question = asked(self.index, taste, now, person_key(user))
        drawn = draw(self.index, self.content, question)
        candidates = choose(self.index, self.content, taste, drawn, self.surface.repeats)
        rows = features.rows(self.index, candidates, question, self.surface.repeats)
        return HeldOutUse(taste, question, drawn, candidates, rows)

    def learn_one(self, user: str, item: str, time: float, strength: float = 1.0, id: str | None = None) -> None:
        """Learn that a person used a course."""
        name = id or str(self._uses)
        if user in self.tastes and is_drawn(name, self.share):
            self.learn(self.ask(user, time), item)
        self.use(user, item, time, strength)

    def learn(self, question: HeldOutUse, item: str) -> None:
        """Teach the rankers which course was taken, if it was among the candidates."""
        taken = np.flatnonzero(question.candidates.drawn.numbers == self.index.numbers.get(item, -1))
        if len(taken):
            self.net.learn(question.rows, int(taken[0]))
            self.linear.learn(question.rows, int(taken[0]))

    def use(self, user: str, item: str, time: float, strength: float = 1.0) -> None:
        """Count a use in the person's taste and the course's row, without teaching the rankers."""
        self._uses += 1
        known = self.tastes.get(user, Preferences())
        self.tastes[user], heard = fold_use(known, str(self._uses), item, person_key(user), time, strength)
        if heard is not None:
            row = interacted(self.rows.get(item, CooccurrenceRow(item)), heard, self.window)
            self.rows[item] = row
            self.index.put(row, [course for course, _ in heard.others])

    def recommend(self, user: str, now: float, n: int = 10) -> tuple[Recommendation, ...]:
        """Return at most n courses for a person, best first."""
        taste = self.tastes.get(user, Preferences())
        return recommend(self.index, self.content, taste, now, n, self.surface, self.net, person_key(user))
