"""How good recommendations are: test, then learn, over real histories, every method beside popularity.

Before each use after the first fifth, every method lists 20 courses for the person out of the whole catalogue; then
everything learns the use. Protocol R lets courses repeat and tests every use; N lists and tests only what is new to
the person. HR@20 is the share of uses whose course was listed, MRR@20 the mean of 1 / place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.recommend.candidates import RARE_USES, allowed_mask
from models.recommend.examples import is_sampled
from models.recommend.generators import NAMES
from models.recommend.lists import DIVERSITY_POOL, Ranked, Surface, diversify, select_shown
from streams.evaluation.baselines import Popularity, WindowCosine, best
from streams.evaluation.embedding import Embedding
from streams.evaluation.recommendation_data import RecommendationTask, UsageHistory, Use
from streams.evaluation.recommender import HeldOutUse, Recommender

PLACES = 20
WARM = 0.2
LOOKED_AT = 20
"""Every so many tests, a list's variety is measured, and the embedding model and the varied list are asked for."""
TOLD_EVERY = 500

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class RecommendationResult(Struct, frozen=True, kw_only=True):
    """One figure of one method; `popularity` is the same figure of plain popularity, `rows` the uses tested."""

    dataset: str
    task: str
    protocol: str
    method: str
    metric: str
    value: float
    popularity: float
    rows: int


class Tally:
    """What a method's lists were worth."""

    def __init__(self) -> None:
        self.tests = self.hits = self.looks = self.placed = self.new = 0
        self.reciprocal = self.variety = 0.0
        self.listed: set[int] = set()

    def add(self, listed: Ints, taken: int) -> None:
        """Count one list, given the course that came."""
        self.tests += 1
        self.listed.update(listed.tolist())
        place = np.flatnonzero(listed == taken)
        if len(place):
            self.hits += 1
            self.reciprocal += 1.0 / (int(place[0]) + 1)

    def look(self, listed: Ints, alike: Floats, uses: Floats) -> None:
        """Measure one list's variety: 1 minus the mean likeness of its pairs, and the share of rarely used courses."""
        if len(listed) > 1:
            self.looks += 1
            self.variety += 1.0 - float(alike.sum() - np.trace(alike)) / (len(listed) * (len(listed) - 1))
        self.placed += len(listed)
        self.new += int((uses[listed] < RARE_USES).sum())

    def figures(self, catalogue: int) -> dict[str, float]:
        """Return all metrics by name."""
        tests = max(1, self.tests)
        return {
            "HR@20": self.hits / tests,
            "MRR@20": self.reciprocal / tests,
            "coverage": len(self.listed) / max(1, catalogue),
            "diversity": self.variety / max(1, self.looks),
            "new": self.new / max(1, self.placed),
        }


class RecommendationRun:
    """One pass over a history under one protocol.

    Args:
        history: in order of time.
        protocol: R or N.
        share: of the uses, those that the rankers learn from.
        seed: of all that is random.
    """

    def __init__(self, history: UsageHistory, protocol: str, share: float = 1.0, seed: int = 1) -> None:
        self.repeats = protocol == "R"
        self.surface = Surface(repeats="all" if self.repeats else "none")
        self.model = Recommender(surface=self.surface, share=share, seed=seed)
        self.uses = history.uses
        for course, terms in history.terms.items():
            self.model.describe(course, terms)
        courses = len({*history.terms, *(course for _, course, _ in history.uses)})
        self.popularity, self.cosine = Popularity(courses), WindowCosine(courses)
        self.embedding = Embedding(seed=seed)
        self.known: dict[str, set[int]] = {}
        self.tallies: dict[str, Tally] = {}
        self.rows = 0

    def figures(self, told: Callable[[int], None] = lambda uses: None) -> Iterator[tuple[str, str, float, int]]:
        """Test and learn use by use; return method, metric, value and tests of all figures."""
        warm = int(WARM * len(self.uses))
        for count, use in enumerate(self.uses):
            self._one(use, count >= warm, count)
            if count % TOLD_EVERY == 0:
                told(count)
        for method, tally in self.tallies.items():
            for metric, value in tally.figures(len(self.model.index)).items():
                yield method, metric, value, tally.tests

    def _one(self, use: Use, tested: bool, count: int) -> None:
        """Test, if it is time to, then learn one use."""
        user, item, time = use
        known = self.known.setdefault(user, set())
        number = self.model.index.number(item)
        if known and (self.repeats or number not in known):
            held_out = self.model.ask(user, time)
            if tested:
                self.rows += 1
                self._test(held_out, number, set() if self.repeats else known, user)
            if is_sampled(str(count), self.model.share):
                self.model.learn(held_out, item)
        known.add(number)
        self.popularity.use(number, time)
        self.cosine.use(user, number)
        self.model.use(user, item, time)
        self.embedding.learn_one(user, item)

    def _test(self, held_out: HeldOutUse, taken: int, known: set[int], user: str) -> None:
        look = self.rows % LOOKED_AT == 0
        for method, listed in (*self._baselines(user, known, look), *self._lists(held_out, look)):
            tally = self.tallies.setdefault(method, Tally())
            tally.add(listed, taken)
            if look:
                tally.look(listed, self.model.content.pairwise_cosines(listed), self.model.index.uses)

    def _baselines(self, user: str, known: set[int], look: bool) -> Iterator[tuple[str, Ints]]:
        """List by the whole catalogue's scores, without the known courses."""
        scores = {"popularity": self.popularity.scores(), "window cosine": self.cosine.scores(user)}
        if look:
            embedded = scores["embedding"] = np.zeros(len(self.model.index))
            embedded[self._embedded] = np.exp(self.embedding.scores(user))
        for method, of_all in scores.items():
            of_all[list(known)] = 0.0
            yield method, best(of_all, PLACES)

    @property
    def _embedded(self) -> list[int]:
        return [self.model.index.numbers[course] for course in self.embedding.courses]

    def _lists(self, held_out: HeldOutUse, look: bool) -> Iterator[tuple[str, Ints]]:
        """List by each generator alone, by their sum, and by the rankers."""
        generated = held_out.generated
        fit = allowed_mask(self.model.index, held_out.preferences, generated.numbers, self.surface.repeats)
        for name, scores in zip(NAMES, np.where(fit, generated.scores, 0.0), strict=True):
            if name != "own" or self.repeats:
                yield name, generated.numbers[best(scores, PLACES)]
        numbers = held_out.candidates.generated.numbers
        yield "hybrid", numbers[:PLACES]
        linear = self.model.linear.scores(held_out.rows)
        yield "linear ranker", numbers[np.argsort(-linear, kind="stable")[:PLACES]]
        scores = self.model.net.scores(held_out.rows)
        order = np.argsort(-scores, kind="stable")
        yield "ranker", numbers[order[:PLACES]]
        ranked = Ranked(numbers[order], scores[order], held_out.candidates)
        yield "ranker, rare place", select_shown(self.model.content, ranked, PLACES, self.surface)
        if look:
            yield (
                "ranker, varied .8",
                diversify(
                    self.model.content, ranked.numbers[:DIVERSITY_POOL], ranked.scores[:DIVERSITY_POOL], PLACES, 0.8
                ),
            )


def measured(
    task: RecommendationTask,
    history: UsageHistory,
    protocol: str,
    told: Callable[[str], None] = lambda words: None,
    seed: int = 1,
) -> Iterator[RecommendationResult]:
    """Measure every method on a history under a protocol.

    Args:
        task: that the history answers.
        history: the whole of it.
        protocol: R or N.
        told: is told in words how far it is.
        seed: of all that is random.
    """

    def said(uses: int) -> None:
        told(f"{task.dataset} {protocol}: {uses:,} of {len(history.uses):,} uses")

    figures = list(RecommendationRun(history, protocol, seed=seed).figures(said))
    base = {metric: value for method, metric, value, _ in figures if method == "popularity"}
    for method, metric, value, rows in figures:
        yield RecommendationResult(
            dataset=task.dataset,
            task=task.asked,
            protocol=protocol,
            method=method,
            metric=metric,
            value=round(value, 4),
            popularity=round(base[metric], 4),
            rows=rows,
        )
