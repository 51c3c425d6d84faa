"""Evaluates recommendations on real histories: test first, then learn, with popularity as the baseline.

Before each use after the first fifth, every method lists 20 courses for the user from the whole catalogue. Then every
method learns the use. Protocol R allows repeated courses and tests every use. Protocol N lists and tests only courses
that are new to the user. HR@20 is the share of uses whose course was listed, MRR@20 the mean of 1 / position.
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
from streams.evaluation.baselines import Popularity, WindowCosine, top
from streams.evaluation.embedding import Embedding
from streams.evaluation.recommendation_data import RecommendationTask, UsageHistory, Use
from streams.evaluation.recommender import HeldOutUse, Recommender

LIST_LENGTH = 20
WARM_UP_SHARE = 0.2
SAMPLE_EVERY = 20
"""One of so many tests also measures variety, the embedding model and the varied list."""
PROGRESS_EVERY = 500

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class RecommendationResult(Struct, frozen=True, kw_only=True):
    """One figure of one method. `popularity` is the same figure of plain popularity, `rows` the number of tests."""

    dataset: str
    task: str
    protocol: str
    method: str
    metric: str
    value: float
    popularity: float
    rows: int


class ListStatistics:
    """Statistics of the lists of one method."""

    def __init__(self) -> None:
        self.tests = self.hits = self.samples = self.listed_courses = self.new = 0
        self.reciprocal = self.variety = 0.0
        self.listed: set[int] = set()

    def add(self, listed: Ints, used: int) -> None:
        """Count one list and the course that was used."""
        self.tests += 1
        self.listed.update(listed.tolist())
        positions = np.flatnonzero(listed == used)
        if len(positions):
            self.hits += 1
            self.reciprocal += 1.0 / (int(positions[0]) + 1)

    def add_sample(self, listed: Ints, similarities: Floats, uses: Floats) -> None:
        """Measure the variety of one list: 1 minus the mean similarity of its pairs, and the share of rare courses."""
        if len(listed) > 1:
            self.samples += 1
            self.variety += 1.0 - float(similarities.sum() - np.trace(similarities)) / (len(listed) * (len(listed) - 1))
        self.listed_courses += len(listed)
        self.new += int((uses[listed] < RARE_USES).sum())

    def figures(self, catalogue: int) -> dict[str, float]:
        """Return all metrics by name."""
        tests = max(1, self.tests)
        return {
            "HR@20": self.hits / tests,
            "MRR@20": self.reciprocal / tests,
            "coverage": len(self.listed) / max(1, catalogue),
            "diversity": self.variety / max(1, self.samples),
            "new": self.new / max(1, self.listed_courses),
        }


class RecommendationRun:
    """One pass over a history under one protocol.

    Args:
        history: uses in time order.
        protocol: R or N.
        share: the share of uses that the rankers learn from.
        seed: of all random choices.
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
        self.known_courses: dict[str, set[int]] = {}
        self.statistics: dict[str, ListStatistics] = {}
        self.rows = 0

    def figures(self, progress: Callable[[int], None] = lambda uses: None) -> Iterator[tuple[str, str, float, int]]:
        """Test and learn use by use. Yield method, metric, value and number of tests."""
        warm = int(WARM_UP_SHARE * len(self.uses))
        for count, use in enumerate(self.uses):
            self._process(use, count >= warm, count)
            if count % PROGRESS_EVERY == 0:
                progress(count)
        for method, method_statistics in self.statistics.items():
            for metric, value in method_statistics.figures(len(self.model.index)).items():
                yield method, metric, value, method_statistics.tests

    def _process(self, use: Use, tested: bool, count: int) -> None:
        """Test one use if the warm-up is over, then learn it."""
        user, item, time = use
        known_courses = self.known_courses.setdefault(user, set())
        number = self.model.index.number(item)
        if known_courses and (self.repeats or number not in known_courses):
            held_out = self.model.ask(user, time)
            if tested:
                self.rows += 1
                self._test(held_out, number, set() if self.repeats else known_courses, user)
            if is_sampled(str(count), self.model.share):
                self.model.learn(held_out, item)
        known_courses.add(number)
        self.popularity.add(number, time)
        self.cosine.add(user, number)
        self.model.use(user, item, time)
        self.embedding.learn_one(user, item)

    def _test(self, held_out: HeldOutUse, used: int, known_courses: set[int], user: str) -> None:
        sample = self.rows % SAMPLE_EVERY == 0
        for method, listed in (*self._baselines(user, known_courses, sample), *self._lists(held_out, sample)):
            method_statistics = self.statistics.setdefault(method, ListStatistics())
            method_statistics.add(listed, used)
            if sample:
                method_statistics.add_sample(listed, self.model.content.pairwise_cosines(listed), self.model.index.uses)

    def _baselines(self, user: str, known_courses: set[int], sample: bool) -> Iterator[tuple[str, Ints]]:
        """Yield the lists of the baselines, from scores of the whole catalogue without the known courses."""
        scores = {"popularity": self.popularity.scores(), "window cosine": self.cosine.scores(user)}
        if sample:
            embedded = scores["embedding"] = np.zeros(len(self.model.index))
            embedded[self._embedded] = np.exp(self.embedding.scores(user))
        for method, all_scores in scores.items():
            all_scores[list(known_courses)] = 0.0
            yield method, top(all_scores, LIST_LENGTH)

    @property
    def _embedded(self) -> list[int]:
        return [self.model.index.numbers[course] for course in self.embedding.courses]

    def _lists(self, held_out: HeldOutUse, sample: bool) -> Iterator[tuple[str, Ints]]:
        """Yield the lists of each generator, of their sum, and of the rankers."""
        generated = held_out.generated
        is_allowed = allowed_mask(self.model.index, held_out.preferences, generated.numbers, self.surface.repeats)
        for name, scores in zip(NAMES, np.where(is_allowed, generated.scores, 0.0), strict=True):
            if name != "own" or self.repeats:
                yield name, generated.numbers[top(scores, LIST_LENGTH)]
        numbers = held_out.candidates.generated.numbers
        yield "hybrid", numbers[:LIST_LENGTH]
        linear = self.model.linear.scores(held_out.rows)
        yield "linear ranker", numbers[np.argsort(-linear, kind="stable")[:LIST_LENGTH]]
        scores = self.model.net.scores(held_out.rows)
        order = np.argsort(-scores, kind="stable")
        yield "ranker", numbers[order[:LIST_LENGTH]]
        ranked = Ranked(numbers[order], scores[order], held_out.candidates)
        yield "ranker, rare place", select_shown(self.model.content, ranked, LIST_LENGTH, self.surface)
        if sample:
            yield (
                "ranker, varied .8",
                diversify(
                    self.model.content,
                    ranked.numbers[:DIVERSITY_POOL],
                    ranked.scores[:DIVERSITY_POOL],
                    LIST_LENGTH,
                    0.8,
                ),
            )


def evaluate(
    task: RecommendationTask,
    history: UsageHistory,
    protocol: str,
    progress: Callable[[str], None] = lambda words: None,
    seed: int = 1,
) -> Iterator[RecommendationResult]:
    """Measure every method on a history under a protocol.

    Args:
        task: the task that the history belongs to.
        history: the whole history.
        protocol: R or N.
        progress: receives texts about the progress.
        seed: of all random choices.
    """

    def report(uses: int) -> None:
        progress(f"{task.dataset} {protocol}: {uses:,} of {len(history.uses):,} uses")

    figures = list(RecommendationRun(history, protocol, seed=seed).figures(report))
    base = {metric: value for method, metric, value, _ in figures if method == "popularity"}
    for method, metric, value, rows in figures:
        yield RecommendationResult(
            dataset=task.dataset,
            task=task.question,
            protocol=protocol,
            method=method,
            metric=metric,
            value=round(value, 4),
            popularity=round(base[metric], 4),
            rows=rows,
        )
