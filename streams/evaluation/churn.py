"""Evaluates the churn model on real data: replays it through the worker's log processor, and compares baselines.

Every data set is replayed with two protocols: scores for every user who was ever active, and only for users active
within twice the horizon. Rows and labels come exactly as they would in a live system, and the model learns and scores
in the same order. The same rows are scored by recency alone, by a logistic regression, and by gradient boosting that
is fitted every week.

Recency ranks users by the time since their last activity. Where a probability is needed, an online logistic
regression of that time gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from models.churn import quality
from models.churn.learner import ChurnLearner
from models.churn.quality import QualityFigures
from models.person.activity import DAY
from models.person.rules import ACTIVE_KINDS
from streams.demo import source as demo
from streams.evaluation.churn_scores import Bools, ComparedScores, Floats, SampledSource, ScoreCollector
from streams.history.replay import Replay
from streams.history.sources import open_source
from streams.history.sources.order import order_by_time
from streams.runtime import limit_blas_threads, tune_gc
from streams.settings import Settings

CHUNK = 8_192
"""Entries that each protocol replays in turn."""
ALWAYS = 3_650 * DAY
MIN_ROWS, MIN_OUTCOMES = 100, 10
"""Rows, and rows of each outcome, that a week needs for figures of its own."""


class ChurnTask(Struct, frozen=True):
    """A prediction task on a data set: `question` as text, a horizon, and the events that count as activity.

    `user_share` is the share of users that is replayed by default, chosen by the hash of their id. It keeps the run
    time on one core within minutes.
    """

    dataset: str
    source: str
    question: str
    horizon_days: float
    active_kinds: tuple[str, ...]
    user_share: float = 1.0


LEARNING = tuple(sorted(ACTIVE_KINDS - {"purchase"}))
TASKS = (
    ChurnTask("oulad", "oulad:{}/oulad", "no activity in 14 days", 14, LEARNING, 0.03),
    ChurnTask("completejourney", "completejourney:{}/completejourney", "no purchase in 2 weeks", 14, ("purchase",)),
    ChurnTask("cdnow", "cdnow:{}/cdnow", "no purchase in 13 weeks", 91, ("purchase",)),
    ChurnTask("online_retail", "onlineretail:{}/online_retail", "no purchase in 4 weeks", 28, ("purchase",)),
)
SAMPLE = ChurnTask("sample", str(demo.SAMPLE), "no activity in 14 days", 14, LEARNING)
"""The sample in the package."""
ALL_TASKS = (*TASKS, SAMPLE)


class EvaluationProtocol(NamedTuple):
    """Which users are scored: those active within this many horizons; 0 means all."""

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
    """One figure of the model, with those of the baselines on the same rows.

    `rows` counts the measured rows, and `weeks` the weeks with their own figures. `people` is the share of users that
    was replayed. `fits` counts the fits of gradient boosting; `largest_fit` is the row count of the largest one.
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


def evaluate(
    task: ChurnTask, folder: Path, user_share: float | None = None, progress: Callable[[str], None] = lambda words: None
) -> list[ChurnResult]:
    """Replay a data set and measure all scores.

    Args:
        task: the prediction task.
        folder: where the data sets are.
        user_share: the share of users to replay; the task's default if left out.
        progress: receives texts about the progress.

    Raises:
        OperatorError: the data set cannot be read, or scikit-learn is missing.
    """
    share = task.user_share if user_share is None else user_share
    results = []
    tune_gc()
    with limit_blas_threads():
        for protocol, collector in asyncio.run(_replay(task, folder, share, progress)):
            progress(f"{task.dataset}, {protocol.name}: scoring the same rows with the baselines")
            results += _results(task, protocol, share, collector.compare(Settings().labels_needed))
    return results


async def _replay(
    task: ChurnTask, folder: Path, user_share: float, progress: Callable[[str], None]
) -> list[tuple[EvaluationProtocol, ScoreCollector]]:
    source = SampledSource(open_source(task.source.format(folder)), user_share)
    everything = iter(order_by_time([source], task.horizon_days * DAY))
    collectors = [(protocol, ScoreCollector()) for protocol in PROTOCOLS]
    replays = [
        Replay(_settings(task, protocol), collector.on_record, ChurnLearner()) for protocol, collector in collectors
    ]
    progress(f"{task.dataset}: reading")
    number = 0
    while chunk := list(islice(everything, CHUNK)):
        number += len(chunk)
        for replay in replays:
            await replay.play(chunk)
        progress(f"{task.dataset}: {number:,} events")
    return collectors


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
    task: ChurnTask, protocol: EvaluationProtocol, user_share: float, compared: ComparedScores
) -> list[ChurnResult]:
    scores, churned, weeks, boosting = compared
    if not churned.any() or churned.all():
        return []
    pooled = _figures(scores, churned)
    by_week = [_figures(scores, churned, weeks == week) for week in _full_weeks(churned, weeks)]

    def result(how: str, metric: str, values: dict[str, float]) -> ChurnResult:
        return ChurnResult(
            dataset=task.dataset,
            task=task.question,
            protocol=f"{protocol.name}, {how}",
            metric=metric,
            rows=len(churned),
            weeks=len(by_week),
            people=user_share,
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


def _full_weeks(churned: Bools, weeks: NDArray[np.int64]) -> list[int]:
    """Return the weeks that have enough rows for figures of their own."""
    labels = [(int(week), churned[weeks == week]) for week in np.unique(weeks)]
    return [
        week
        for week, outcomes in labels
        if len(outcomes) >= MIN_ROWS and min(outcomes.sum(), len(outcomes) - outcomes.sum()) >= MIN_OUTCOMES
    ]


def _figures(
    scores: dict[str, Floats], churned: Bools, selection: Bools | slice = slice(None)
) -> dict[str, QualityFigures]:
    """Return the figures of some rows by model. Recency ranks by the time since the last activity."""
    outcomes = churned[selection].astype(np.float64)
    selected = {name: score[selection] for name, score in scores.items()}
    silence = selected.pop("silence")
    found = {name: quality.quality_figures(score, outcomes) for name, score in selected.items()}
    order = quality.auc(silence, outcomes), quality.lift(silence, outcomes)
    found["recency"] = replace(found["recency"], auc=order[0], lift=order[1])
    return found
