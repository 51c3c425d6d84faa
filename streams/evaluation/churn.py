"""How good the churn model is on real data: played through the worker's own fold, beside what it has to beat.

Every data set is played twice, asking of everybody who was ever active, and only of those active within twice the
horizon. Rows come and labels mature exactly as they would live, the model learns and scores as it would live, and the
same rows are scored by recency alone, by a logistic regression, and by gradient boosting fitted anew every week.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models import events as ev
from models import features, quality
from models.activity import DAY
from models.churn import Learner
from models.ledger import share_of
from models.outputs import Example
from models.quality import Figures
from models.rules import ACTIVE_KINDS
from streams import codec, shadows, topics
from streams.evaluation.yardsticks import boosted, weeks_of
from streams.history.replay import Replay
from streams.settings import Settings
from streams.sources import Entry, Source, Unusable, open_source
from streams.sources.order import ordered

PIECE = 8_192
"""Entries played at a time by each protocol in turn."""
ALWAYS = 3_650 * DAY
PRIOR = Settings().prior_churn
"""What is stated while there are too few labels for the model to be believed."""
LEAST_ROWS, LEAST_EACH = 100, 10
"""Rows, and rows of each outcome, without which a week has no figures of its own."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Task(Struct, frozen=True):
    """A question to a data set: `asked` in words, by a horizon and what counts as being active.

    `people` is the share of them that is played by default, chosen by the hash of their id: enough for the third
    decimal, few enough for weekly gradient boosting to end within minutes.
    """

    dataset: str
    source: str
    asked: str
    horizon_days: float
    active_kinds: tuple[str, ...]
    people: float = 1.0


LEARNING = tuple(sorted(ACTIVE_KINDS - {"purchase"}))
TASKS = (
    Task("oulad", "oulad:{}/oulad", "no activity in 14 days", 14, LEARNING, 0.06),
    Task("completejourney", "completejourney:{}/completejourney", "no purchase in 2 weeks", 14, ("purchase",)),
    Task("cdnow", "cdnow:{}/cdnow", "no purchase in 13 weeks", 91, ("purchase",), 0.3),
    Task("online_retail", "onlineretail:{}/online_retail", "no purchase in 4 weeks", 28, ("purchase",)),
)
SAMPLE = Task("sample", str(Path(__file__).parent / "demo" / "sample.jsonl.gz"), "no activity in 14 days", 14, LEARNING)
"""What the package carries itself."""
EVERY = (*TASKS, SAMPLE)


class Protocol(NamedTuple):
    """Who is asked: those active within so many horizons."""

    name: str
    lookback: float


PROTOCOLS = (Protocol("everybody", 0.0), Protocol("look-back of two horizons", 2.0))
MEASURES: dict[str, Callable[[Figures], float]] = {
    "roc_auc": lambda figures: figures.auc,
    "log_loss": lambda figures: figures.log_loss,
    "ece": lambda figures: figures.calibration_error,
    "lift_10": lambda figures: figures.lift,
}
WEEKLY = ("roc_auc", "log_loss")


class Result(Struct, frozen=True, kw_only=True):
    """One figure, beside those of the same rows scored otherwise; `gradient_boosting` is fitted anew every week."""

    dataset: str
    task: str
    protocol: str
    metric: str
    value: float
    recency: float
    reference: float
    gradient_boosting: float
    rows: int
    weeks: int
    people: float
    churned: float


class Sampled:
    """A source without the events of the people who are not played."""

    again = False

    def __init__(self, source: Source, people: float) -> None:
        self._source = source
        self._people = people
        self._chosen: dict[str, bool] = {}
        self.name, self.logged, self.skipped = source.name, source.logged, 0

    def __iter__(self) -> Iterator[Entry | Unusable]:
        for entry in self._source:
            if isinstance(entry, Entry) and isinstance(entry.event, ev.Event) and self._plays(entry.event.user_id):
                yield entry

    def where(self, position: int) -> str:
        """Return in words where a position is."""
        return self._source.where(position)

    def _plays(self, user: str) -> bool:
        if user not in self._chosen:
            self._chosen[user] = share_of(user, "evaluate") < self._people
        return self._chosen[user]


class Scored:
    """The labelled rows of one protocol, with every score that was made at their time."""

    def __init__(self) -> None:
        most = 10**9  # rows wait as long as they have to: the comparison leaves none out
        self._shadows = {"recency": shadows.recency(most), "reference": shadows.reference(most)}
        self._scores = {name: array("d") for name in ("value", *self._shadows)}
        self._x, self._churned, self._ready = bytearray(), array("B"), array("B")
        self._times, self._until = array("d"), array("d")

    def heard(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Take what goes to a topic."""
        if topic != topics.EXAMPLES or value is None:
            return
        example = codec.lesson(value)
        if not isinstance(example, Example):
            return
        self._x += features.pack(features.array(example.x))
        self._churned.append(example.churned)
        self._ready.append(example.model != "prior" and example.probability != PRIOR)
        self._times.append(example.time)
        self._until.append(example.until)
        self._scores["value"].append(example.probability)
        for name, shadow in self._shadows.items():
            score = shadow.take(example, 0.0)
            self._scores[name].append(np.nan if score is None else score)

    def compared(self, least: int) -> tuple[dict[str, Floats], Bools, NDArray[np.int64]]:
        """Return the scores of the rows that all can score, by whom; their labels, and their weeks.

        Args:
            least: labels without which gradient boosting is not fitted.
        """
        rows = features.unpack(bytes(self._x)).reshape(-1, len(features.NAMES))
        churned, ready = np.array(self._churned, bool), np.array(self._ready, bool)
        times, until = np.array(self._times), np.array(self._until)
        scores = {name: np.array(score) for name, score in self._scores.items()}
        scores["gradient_boosting"] = boosted(rows, churned, times, until, least)
        among = ready & ~np.isnan(scores["gradient_boosting"])
        return {name: score[among] for name, score in scores.items()}, churned[among], weeks_of(times[among])


def evaluate(
    task: Task, folder: Path, people: float | None = None, told: Callable[[str], None] = lambda words: None
) -> list[Result]:
    """Play a data set and measure.

    Args:
        task: the question.
        folder: where data sets are.
        people: the share of people that is played; the task's if left out.
        told: is told in words how far it is.

    Raises:
        OperatorError: the data set cannot be read, or scikit-learn is missing.
    """
    share = task.people if people is None else people
    results = []
    for protocol, scored in asyncio.run(_played(task, folder, share, told)):
        told(f"{task.dataset}, {protocol.name}: gradient boosting, week by week")
        results += _results(task, protocol, share, scored)
    return results


async def _played(
    task: Task, folder: Path, people: float, told: Callable[[str], None]
) -> list[tuple[Protocol, Scored]]:
    source = Sampled(open_source(task.source.format(folder)), people)
    everything = iter(ordered([source], task.horizon_days * DAY))
    played = [(protocol, Scored()) for protocol in PROTOCOLS]
    replays = [Replay(_settings(task, protocol), scored.heard, Learner()) for protocol, scored in played]
    told(f"{task.dataset}: reading")
    number = 0
    while piece := list(islice(everything, PIECE)):
        number += len(piece)
        for replay in replays:
            await replay.play(piece)
        told(f"{task.dataset}: {number:,} events")
    return played


def _settings(task: Task, protocol: Protocol) -> Settings:
    horizon = task.horizon_days * DAY
    return Settings(
        active_kinds=task.active_kinds,
        horizon=horizon,
        lookback=protocol.lookback * horizon or ALWAYS,
        wake_every=horizon / 4,
        rescore_after=ALWAYS,
        mode="shadow",
    )


def _results(task: Task, protocol: Protocol, people: float, scored: Scored) -> list[Result]:
    scores, churned, weeks = scored.compared(Settings().labels_needed)
    if not churned.any() or churned.all():
        return []
    pooled = {name: quality.figures(score, churned.astype(np.float64)) for name, score in scores.items()}
    by_week = [_figures(scores, churned, weeks == week) for week in np.unique(weeks)]
    full = [figures for figures in by_week if figures]

    def result(how: str, metric: str, values: dict[str, float]) -> Result:
        return Result(
            dataset=task.dataset,
            task=task.asked,
            protocol=f"{protocol.name}, {how}",
            metric=metric,
            rows=len(churned),
            weeks=len(full),
            people=people,
            churned=round(float(churned.mean()), 4),
            **{name: round(value, 5) for name, value in values.items()},
        )

    found = [
        result("pooled", metric, {name: measure(figures) for name, figures in pooled.items()})
        for metric, measure in MEASURES.items()
    ]
    for metric in WEEKLY if full else ():
        means = {name: float(np.mean([MEASURES[metric](week[name]) for week in full])) for name in scores}
        found.append(result("mean of weeks", metric, means))
    return found


def _figures(scores: dict[str, Floats], churned: Bools, among: Bools) -> dict[str, Figures]:
    """Return the figures of some rows, or nothing if they are too few."""
    outcomes = churned[among].astype(np.float64)
    if len(outcomes) < LEAST_ROWS or min(outcomes.sum(), len(outcomes) - outcomes.sum()) < LEAST_EACH:
        return {}
    return {name: quality.figures(score[among], outcomes) for name, score in scores.items()}
