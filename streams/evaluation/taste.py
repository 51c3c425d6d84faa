"""How good recommendations are: test, then learn, over real histories, every method beside popularity.

Before each use after the first fifth, every method lists 20 courses for the person out of the whole catalogue; then
everything learns the use. Protocol R lets courses repeat and tests every use; N lists and tests only what is new to
the person. HR@20 is the share of uses whose course was listed, MRR@20 the mean of 1 / place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.activity import DAY
from models.recommend.candidates import allowed
from models.recommend.embedding import Embedding
from models.recommend.examples import is_drawn
from models.recommend.generators import NAMES
from models.recommend.lists import RARE, Ranked, Surface, shown, turn_of, varied
from models.recommend.recommender import Question, Recommender
from streams.evaluation.taste_data import History, Use, histories

PLACES = 20
WARM = 0.2
LOOKED_AT = 20
"""Every so many tests, a list's variety is measured and the embedding model is asked."""
WEEK = 7 * DAY

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Line(Struct, frozen=True):
    """One figure, as it is printed: `popularity` is the same metric of plain popularity, `rows` the uses tested."""

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
        self.new += int((uses[listed] < RARE).sum())

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


class Popularity:
    """The baseline: uses with a half-life of a week, over the whole catalogue."""

    def __init__(self) -> None:
        self.counts = np.zeros(1)
        self.landmark = 0.0

    def use(self, number: int, time: float) -> None:
        """Count a use."""
        if number >= len(self.counts):
            self.counts = np.append(self.counts, np.zeros(number + 1))
        if not self.landmark or time - self.landmark > 500 * WEEK:
            self.counts *= 2.0 ** ((self.landmark - time) / WEEK) if self.landmark else 0.0
            self.landmark = time
        self.counts[number] += 2.0 ** ((time - self.landmark) / WEEK)

    def list(self, known: set[int]) -> Ints:
        """Return the 20 most popular courses without the known ones."""
        counts = self.counts.copy()
        counts[list(known)] = 0.0
        best = np.argpartition(-counts, min(PLACES, len(counts) - 1))[:PLACES]
        best = best[counts[best] > 0]
        return best[np.argsort(-counts[best], kind="stable")]


class Run:
    """One pass over a history under one protocol."""

    def __init__(self, history: History, protocol: str, share: float, seed: int) -> None:
        self.history = history
        self.protocol = protocol
        self.surface = Surface(repeats="all" if protocol == "R" else "none")
        self.model = Recommender(surface=self.surface, share=share, seed=seed)
        self.embedding = Embedding(seed=seed)
        self.popularity = Popularity()
        self.known: dict[str, set[int]] = {}
        self.tallies: dict[str, Tally] = {}
        self.rows = 0
        for course, terms in history.terms.items():
            self.model.describe(course, terms)

    def lines(self, uses: list[Use], progress: Callable[[int], None]) -> list[Line]:
        """Test and learn use by use; return all figures."""
        warm = int(WARM * len(uses))
        for count, use in enumerate(uses):
            self.one(use, count >= warm, count)
            progress(count)
        catalogue = len(self.model.index)
        base = self.tallies["popularity"].figures(catalogue)
        name, task = self.history.name, "recommendation"
        return [
            Line(name, task, self.protocol, method, metric, round(value, 4), round(base[metric], 4), tally.tests)
            for method, tally in self.tallies.items()
            for metric, value in tally.figures(catalogue).items()
        ]

    def one(self, use: Use, tested: bool, count: int) -> None:
        """Test, if it is time to, then learn one use."""
        user, item, time = use
        known = self.known.setdefault(user, set())
        number = self.model.index.number(item)
        if known and (self.protocol == "R" or number not in known):
            question = self.model.ask(user, time)
            if tested:
                self.rows += 1
                self._test(question, number, set() if self.protocol == "R" else known, user)
            if is_drawn(str(count), self.model.share):
                self.model.learn(question, item)
        known.add(number)
        self.popularity.use(number, time)
        self.model.use(user, item, time)
        self.embedding.learn_one(user, item)

    def _test(self, question: Question, taken: int, known: set[int], user: str) -> None:
        look = self.rows % LOOKED_AT == 0
        lists = {"popularity": self.popularity.list(known), **dict(self._lists(question))}
        if look:
            lists["embedding"] = self._embedded(user, known)
        for method, listed in lists.items():
            tally = self.tallies.setdefault(method, Tally())
            tally.add(listed, taken)
            if look:
                tally.look(listed, self.model.content.alike(listed), self.model.index.uses)

    def _lists(self, question: Question) -> Iterator[tuple[str, Ints]]:
        index, content = self.model.index, self.model.content
        drawn = question.drawn
        fit = allowed(index, question.taste, drawn.numbers, self.surface.repeats)
        for name, scores in zip(NAMES, np.where(fit, drawn.scores, 0.0), strict=True):
            if name != "own" or self.protocol == "R":
                yield name, drawn.numbers[_best(scores)]
        numbers = question.candidates.drawn.numbers
        yield "hybrid", numbers[:PLACES]
        linear = self.model.linear.scores(question.rows)
        yield "ranker linear", numbers[np.argsort(-linear, kind="stable")[:PLACES]]
        scores = self.model.net.scores(question.rows)
        order = np.argsort(-scores, kind="stable")
        ranked = Ranked(numbers[order], scores[order], question.candidates)
        yield "ranker", ranked.numbers[:PLACES]
        yield "ranker, rare place", shown(index, content, ranked, PLACES, self.surface, turn_of(question.asked))
        if self.rows % LOOKED_AT == 0:
            yield "ranker, varied .8", varied(content, ranked.numbers[:100], ranked.scores[:100], PLACES, 0.8)

    def _embedded(self, user: str, known: set[int]) -> Ints:
        scores = self.embedding.scores(user)
        names = np.array([self.model.index.numbers[course] for course in self.embedding.courses], np.int64)
        if known:
            scores = np.where(np.isin(names, list(known)), -np.inf, scores)
        return names[np.argsort(-scores, kind="stable")[:PLACES]]


def _best(scores: Floats) -> Ints:
    spoken = np.flatnonzero(scores > 0)
    if len(spoken) > PLACES:
        spoken = spoken[np.argpartition(-scores[spoken], PLACES)[:PLACES]]
    best: Ints = spoken[np.argsort(-scores[spoken], kind="stable")]
    return best


def table(lines: list[Line]) -> str:
    """Return the figures as a table: a line a method, a column a metric."""
    text = []
    for dataset, protocol in dict.fromkeys((line.dataset, line.protocol) for line in lines):
        part = [line for line in lines if (line.dataset, line.protocol) == (dataset, protocol)]
        metrics = list(dict.fromkeys(line.metric for line in part))
        text.append(
            f"\n{dataset} {protocol}".ljust(31) + "".join(metric.rjust(11) for metric in metrics) + "     tests"
        )
        for method in dict.fromkeys(line.method for line in part):
            said = {line.metric: line for line in part if line.method == method}
            figures = "".join(f"{said[metric].value:11.4f}" for metric in metrics)
            text.append(f"  {method:28}{figures}{said[metrics[0]].rows:10}")
    return "\n".join(text)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--wheel", type=click.Path(path_type=Path, exists=True), help="RecBole's wheel, for MovieLens.")
@click.option("--protocol", multiple=True, type=click.Choice(["R", "N"]), help="Only these protocols.")
@click.option("--uses", type=int, help="Only the first so many uses.")
@click.option("--share", default=1.0, help="Share of the uses that the rankers learn from.")
@click.option("--seed", default=1, help="Of all that is random.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a figure.")
def main(
    names: tuple[str, ...], data: Path, wheel: Path | None, protocol: tuple[str, ...], uses: int | None, share: float,
    seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Measure recommendations on real histories: all that are there, or those named."""
    readers = histories(data, wheel)
    for name in names or readers:
        if name not in readers:
            raise click.UsageError(f"{name} is none of {', '.join(readers)}")
        history = readers[name]()
        for one in protocol or ("RN" if history.repeats else "N"):
            lines = Run(history, one, share, seed).lines(history.uses[:uses], _told(f"{name} {one}"))
            for text in [msgspec.json.encode(line).decode() for line in lines] if as_json else [table(lines)]:
                click.echo(text)


def _told(name: str) -> Callable[[int], None]:
    def told(count: int) -> None:
        if count and count % 10_000 == 0:
            click.echo(f"{name}: {count} uses", err=True)

    return told


if __name__ == "__main__":
    main()
