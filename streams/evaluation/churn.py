"""How good the churn model is on real data: played through the worker's own fold, beside what it has to beat.

Every data set is played twice, asking of everybody who was ever active, and only of those active within twice the
horizon. Rows come and labels mature exactly as they would live, the model learns and scores as it would live, and the
same rows are scored by recency alone, by a logistic regression, and by gradient boosting fitted anew every week.

Recency orders people by their silence itself; where a probability is wanted, by a logistic curve of it that learns.
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
from msgspec.structs import replace
from numpy.typing import NDArray

from models.churn import quality
from models.churn.learner import ChurnLearner, logistic_pipeline
from models.churn.quality import QualityFigures
from models.person import features
from models.person.activity import DAY
from models.person.ledger import hash_share
from models.person.rules import ACTIVE_KINDS
from models.schema import events as ev
from models.schema.outputs import NO_MODEL, Example
from streams.demo import source as demo
from streams.history.replay import Replay
from streams.history.sources import HistoryEntry, HistorySource, UnusableEntry, open_source
from streams.history.sources.order import ordered
from streams.kafka import codec, topics
from streams.report.baselines import Boosting, score_online, weeks_of
from streams.runtime import limit_blas_threads, tune_gc
from streams.settings import Settings

PIECE = 8_192
"""Entries played at a time by each protocol in turn."""
ALWAYS = 3_650 * DAY
PRIOR = Settings().prior_churn
"""What is stated while there are too few labels for the model to be believed."""
LEAST_ROWS, LEAST_EACH = 100, 10
"""Rows, and rows of each outcome, without which a week has no figures of its own."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ChurnTask(Struct, frozen=True):
    """A question to a data set: `asked` in words, by a horizon and what counts as being active.

    `people` is the share of them that is played by default, chosen by the hash of their id: few enough for a core to
    be done within minutes.
    """

    dataset: str
    source: str
    asked: str
    horizon_days: float
    active_kinds: tuple[str, ...]
    people: float = 1.0


LEARNING = tuple(sorted(ACTIVE_KINDS - {"purchase"}))
TASKS = (
    ChurnTask("oulad", "oulad:{}/oulad", "no activity in 14 days", 14, LEARNING, 0.03),
    ChurnTask("completejourney", "completejourney:{}/completejourney", "no purchase in 2 weeks", 14, ("purchase",)),
    ChurnTask("cdnow", "cdnow:{}/cdnow", "no purchase in 13 weeks", 91, ("purchase",)),
    ChurnTask("online_retail", "onlineretail:{}/online_retail", "no purchase in 4 weeks", 28, ("purchase",)),
)
SAMPLE = ChurnTask("sample", str(demo.SAMPLE), "no activity in 14 days", 14, LEARNING)
"""What the package carries itself."""
EVERY = (*TASKS, SAMPLE)


class EvaluationProtocol(NamedTuple):
    """Who is asked: those active within so many horizons."""

    name: str
    lookback: float


PROTOCOLS = (EvaluationProtocol("everybody", 0.0), EvaluationProtocol("look-back of two horizons", 2.0))
MEASURES: dict[str, Callable[[QualityFigures], float]] = {
    "roc_auc": lambda figures: figures.auc,
    "log_loss": lambda figures: figures.log_loss,
    "ece": lambda figures: figures.calibration_error,
    "lift_10": lambda figures: figures.lift,
}
WEEKLY = ("roc_auc", "log_loss")


class ChurnResult(Struct, frozen=True, kw_only=True):
    """One figure, beside those of the same rows scored otherwise; `gradient_boosting` is fitted anew every week.

    `rows` are those measured; `weeks`, those with figures of their own; `people`, the share of them that was played;
    `fits` and `largest_fit`, how often boosting was fitted and the most rows that it was given.
    """

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
    fits: int
    largest_fit: int


class SampledSource:
    """A source without the events of the people who are not played."""

    again = False

    def __init__(self, source: HistorySource, people: float) -> None:
        self._source = source
        self._people = people
        self._chosen: dict[str, bool] = {}
        self.name, self.logged, self.skipped = source.name, source.logged, 0

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        for entry in self._source:
            if (
                isinstance(entry, HistoryEntry)
                and isinstance(entry.event, ev.Event)
                and self._plays(entry.event.user_id)
            ):
                yield entry

    def where(self, position: int) -> str:
        """Return in words where a position is."""
        return self._source.where(position)

    def _plays(self, user: str) -> bool:
        if user not in self._chosen:
            self._chosen[user] = hash_share(user, "evaluate") < self._people
        return self._chosen[user]


class ComparedScores(NamedTuple):
    """Rows that all have scored: (n,) scores by whom, labels and weeks; and what boosting was given."""

    scores: dict[str, Floats]
    churned: Bools
    weeks: NDArray[np.int64]
    boosting: Boosting


class ScoreCollector:
    """The labelled rows of one protocol, as they come and as they were scored: some 100 bytes each."""

    def __init__(self) -> None:
        self._x, self._churned, self._ready = bytearray(), array("B"), array("B")
        self._times, self._until, self._said = array("d"), array("d"), array("d")

    def heard(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Take what goes to a topic."""
        if topic != topics.EXAMPLES or value is None:
            return
        example = codec.decode_example(value)
        if not isinstance(example, Example):
            return
        self._x += features.pack(features.array(example.x))
        self._churned.append(example.churned)
        self._ready.append(example.model != NO_MODEL and example.probability != PRIOR)
        self._times.append(example.time)
        self._until.append(example.until)
        self._said.append(example.probability)

    def compared(self, least: int) -> ComparedScores:
        """Have the others score the same rows.

        Args:
            least: labels without which gradient boosting is not fitted.
        """
        boosting = Boosting(least)
        rows = features.unpack(bytes(self._x)).reshape(-1, len(features.NAMES))
        churned, times, until = np.array(self._churned, bool), np.array(self._times), np.array(self._until)
        columns = rows, churned, times, until
        scores = {
            "value": np.array(self._said),
            "silence": rows[:, features.SILENCE].astype(np.float64),
            "recency": score_online(logistic_pipeline(), *columns, feature_names=("log_silence",)),
            "reference": score_online(logistic_pipeline(), *columns),
            "gradient_boosting": boosting(*columns),
        }
        among = np.array(self._ready, bool) & ~np.isnan(scores["gradient_boosting"])
        of_all = {name: score[among] for name, score in scores.items()}
        return ComparedScores(of_all, churned[among], weeks_of(times[among]), boosting)


def evaluate(
    task: ChurnTask, folder: Path, people: float | None = None, told: Callable[[str], None] = lambda words: None
) -> list[ChurnResult]:
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
    tune_gc()
    with limit_blas_threads():
        for protocol, scored in asyncio.run(_played(task, folder, share, told)):
            told(f"{task.dataset}, {protocol.name}: the others on the same rows, gradient boosting week by week")
            results += _results(task, protocol, share, scored.compared(Settings().labels_needed))
    return results


async def _played(
    task: ChurnTask, folder: Path, people: float, told: Callable[[str], None]
) -> list[tuple[EvaluationProtocol, ScoreCollector]]:
    source = SampledSource(open_source(task.source.format(folder)), people)
    everything = iter(ordered([source], task.horizon_days * DAY))
    played = [(protocol, ScoreCollector()) for protocol in PROTOCOLS]
    replays = [Replay(_settings(task, protocol), scored.heard, ChurnLearner()) for protocol, scored in played]
    told(f"{task.dataset}: reading")
    number = 0
    while piece := list(islice(everything, PIECE)):
        number += len(piece)
        for replay in replays:
            await replay.play(piece)
        told(f"{task.dataset}: {number:,} events")
    return played


def _settings(task: ChurnTask, protocol: EvaluationProtocol) -> Settings:
    horizon = task.horizon_days * DAY
    return Settings(
        active_kinds=task.active_kinds,
        horizon=horizon,
        lookback=protocol.lookback * horizon or ALWAYS,
        wake_every=horizon / 4,
        rescore_after=ALWAYS,
        mode="shadow",
    )


def _results(
    task: ChurnTask, protocol: EvaluationProtocol, people: float, compared: ComparedScores
) -> list[ChurnResult]:
    scores, churned, weeks, boosting = compared
    if not churned.any() or churned.all():
        return []
    pooled = _figures(scores, churned)
    by_week = [_figures(scores, churned, weeks == week) for week in _full(churned, weeks)]

    def result(how: str, metric: str, values: dict[str, float]) -> ChurnResult:
        return ChurnResult(
            dataset=task.dataset,
            task=task.asked,
            protocol=f"{protocol.name}, {how}",
            metric=metric,
            rows=len(churned),
            weeks=len(by_week),
            people=people,
            churned=round(float(churned.mean()), 4),
            fits=boosting.fits,
            largest_fit=boosting.largest_fit,
            **{name: round(value, 5) for name, value in values.items()},
        )

    found = [
        result("pooled", metric, {name: measure(figures) for name, figures in pooled.items()})
        for metric, measure in MEASURES.items()
    ]
    for metric in WEEKLY if by_week else ():
        means = {name: float(np.mean([MEASURES[metric](week[name]) for week in by_week])) for name in pooled}
        found.append(result("mean of weeks", metric, means))
    return found


def _full(churned: Bools, weeks: NDArray[np.int64]) -> list[int]:
    """Return the weeks that have figures of their own."""
    labels = [(int(week), churned[weeks == week]) for week in np.unique(weeks)]
    return [
        week
        for week, said in labels
        if len(said) >= LEAST_ROWS and min(said.sum(), len(said) - said.sum()) >= LEAST_EACH
    ]


def _figures(
    scores: dict[str, Floats], churned: Bools, among: Bools | slice = slice(None)
) -> dict[str, QualityFigures]:
    """Return the figures of some rows by who scored them; recency's order is that of silence itself."""
    outcomes = churned[among].astype(np.float64)
    said = {name: score[among] for name, score in scores.items()}
    silence = said.pop("silence")
    found = {name: quality.quality_figures(score, outcomes) for name, score in said.items()}
    order = quality.auc(silence, outcomes), quality.lift(silence, outcomes)
    found["recency"] = replace(found["recency"], auc=order[0], lift=order[1])
    return found
