"""Measures how well the live model handles drift before labels show it, on simulated platforms.

A simulated platform is replayed through the worker's log processor. After six horizons its behaviour changes, or, for
comparison, does not. The same rows have three scores:

- labels alone: the score of the model itself, which waits one horizon for every label;
- live: the published score, which early signals correct (`models.churn.early_signal`);
- the oracle: the same learner on the same rows, which gets each label when the row is scored. It must learn the drift
  from as many rows, so its lead over labels alone is the cost of waiting, and nothing else.

The recovered share is the part of that gap that the live model closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.churn import quality
from models.churn.learner import ChurnLearner
from models.churn.scorer import build_scorer
from models.person import features
from models.person.activity import DAY
from models.person.ledger import hash_share
from models.schema.outputs import EarlySignal
from streams.history.replay import TIMER_INTERVAL, Replay
from streams.history.simulation.drift import NAMES, STEADY, Drift, DriftName, drift
from streams.history.simulation.platform import Platform
from streams.history.sources import HistoryEntry
from streams.kafka import codec, topics
from streams.runtime import limit_blas_threads, tune_gc
from streams.settings import Settings

START = 1_760_000_000.0
SEEDS = (11, 12, 13)
DRIFTS: tuple[DriftName | None, ...] = (None, *NAMES)
"""The drifts to measure; None means no drift."""
BEFORE, AFTER = 6.0, 2.0
"""Horizons before the drift, and horizons after it in which rows are measured."""
NEWCOMER_RATE = 0.01
"""Newcomers per day for each learner of the first weeks."""
MIN_GAP = 0.003
"""Below this gap, no recovered share is stated: waiting costs almost as much without a drift."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class DriftSize(NamedTuple):
    """The size of a platform: learners of the first weeks, and the churn horizon in days."""

    learners: int = 2_000
    horizon_days: float = 14.0

    @property
    def horizon(self) -> float:
        """The horizon in seconds."""
        return self.horizon_days * DAY

    @property
    def drift_time(self) -> float:
        """The moment of the drift, in seconds since 1970 UTC."""
        return START + BEFORE * self.horizon


SIZE = DriftSize()


class DriftSpan(NamedTuple):
    """Rows that are scored between two moments, in horizons after the drift."""

    name: str
    since: float
    until: float


SPANS = (
    DriftSpan("two horizons before", -2.0, 0.0),
    DriftSpan("first quarter of a horizon", 0.0, 0.25),
    DriftSpan("last quarter of the horizon", 0.75, 1.0),
    DriftSpan("first horizon", 0.0, 1.0),
    DriftSpan("second horizon", 1.0, 2.0),
)


class DriftResult(Struct, frozen=True, kw_only=True):
    """One figure of one drift and span, as the mean over the seeds: `value` is that of the live model.

    `gap` is the difference between labels alone and the oracle. `recovered` is the share of it that the live model
    closes; `least` and `most` are the extremes of single seeds. All three are None if the gap is too small.
    """

    dataset: str
    task: str
    protocol: str
    metric: str
    value: float
    labels_alone: float
    oracle: float
    gap: float
    recovered: float | None
    least: float | None
    most: float | None
    rows: int
    seeds: int


class PlayedPlatform(NamedTuple):
    """The labelled rows of one platform, in the order in which their labels arrived: (n, features), and (n,) each."""

    rows: NDArray[np.float32]
    churned: Bools
    times: Floats
    hash_shares: Floats
    alone: Floats
    live: Floats


class DriftCollector:
    """Collects labelled rows with the published scores and the model's own scores, which early signals carry."""

    def __init__(self) -> None:
        self._x = bytearray()
        self._columns: list[tuple[bool, float, float, float, float]] = []
        self._pending_scores: dict[tuple[str, float], float] = {}

    def on_record(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Process a record that a worker would send to a topic."""
        if topic != topics.EXAMPLES or value is None:
            return
        example = codec.decode_example(value)
        if isinstance(example, EarlySignal):
            self._pending_scores[example.user, example.time] = example.probability
            return
        self._x += features.pack(features.array(example.x))
        model_score = self._pending_scores.pop((example.user, example.time))
        share = hash_share(example.id, "replay")
        self._columns.append((example.churned, example.time, share, model_score, example.probability))

    def platform_rows(self) -> PlayedPlatform:
        """Return all rows."""
        churned, times, hash_shares, alone, live = (np.array(column) for column in zip(*self._columns, strict=True))
        rows = features.unpack(bytes(self._x)).reshape(-1, len(features.NAMES))
        return PlayedPlatform(rows, churned, times, hash_shares, alone, live)


def evaluate(
    seeds: Sequence[int],
    drifts: Sequence[DriftName | None],
    size: DriftSize,
    progress: Callable[[str], None] = lambda words: None,
) -> Iterator[DriftResult]:
    """Replay platforms with drift, and measure the scores.

    Args:
        seeds: of the platforms; each seed is used with every drift.
        drifts: the drifts.
        size: of each platform.
        progress: receives texts about the progress.
    """
    tune_gc()
    with limit_blas_threads():
        for drift_name in drifts:
            platforms = []
            for number, seed in enumerate(seeds, 1):
                progress(f"{drift_name or 'no change'}: platform {number} of {len(seeds)}")
                rows = played_platform(seed, STEADY if drift_name is None else drift(drift_name, size.drift_time), size)
                platforms.append((rows, oracle(rows)))
            yield from compare(drift_name, size, platforms)


def played_platform(seed: int, change: Drift, size: DriftSize) -> PlayedPlatform:
    """Replay a platform, learning as a worker and its trainer would, and return its rows."""
    until = size.drift_time + AFTER * size.horizon
    simulation = Platform(seed, START, size.learners, newcomers_per_day=size.learners * NEWCOMER_RATE, drift=change)
    settings = Settings(horizon=size.horizon, lookback=2 * size.horizon, mode="shadow", cached_users=100_000)
    collector = DriftCollector()

    async def play() -> None:
        replay = Replay(settings, collector.on_record, ChurnLearner())
        end = until + size.horizon + settings.lateness + DAY
        await replay.play((HistoryEntry(number, event) for number, event in enumerate(simulation.advance(end))), end)

    asyncio.run(play())
    return collector.platform_rows()


def oracle(platform: PlayedPlatform) -> Floats:
    """Score rows with the same learner, which gets each label at once; (n,) probabilities, NaN before the first."""
    learner, scores = ChurnLearner(), np.full(len(platform.times), np.nan)
    order = np.argsort(platform.times, kind="stable")
    intervals = np.floor(platform.times[order] / TIMER_INTERVAL)
    for interval in np.unique(intervals):
        now = order[intervals == interval]
        if learner.labels:
            scores[now] = build_scorer(learner.snapshot()).probabilities(platform.rows[now])
        for index in now:
            learner.learn(platform.rows[index], bool(platform.churned[index]), float(platform.hash_shares[index]))
    return scores


def compare(
    drift_name: DriftName | None, size: DriftSize, platforms: Sequence[tuple[PlayedPlatform, Floats]]
) -> Iterator[DriftResult]:
    """Compare the three scores, span by span.

    Args:
        drift_name: the drift of the platforms.
        size: of the platforms.
        platforms: the rows of each platform, and the oracle's scores of them.
    """
    for span in SPANS:
        selections = [_rows_in(platform, span, size) for platform, _ in platforms]
        for metric, measure in (("log_loss", quality.log_loss), ("roc_auc", quality.auc)):
            figures = [
                [
                    measure(score[rows], platform.churned[rows].astype(float))
                    for score in (platform.alone, platform.live, oracle_scores)
                ]
                for (platform, oracle_scores), rows in zip(platforms, selections, strict=True)
            ]
            rows = sum(int(mask.sum()) for mask in selections)
            yield _result(drift_name, size, span, metric, np.array(figures), rows)


def _rows_in(platform: PlayedPlatform, span: DriftSpan, size: DriftSize) -> Bools:
    """Return which rows lie in a span and were scored by a model."""
    since, until = (size.drift_time + edge * size.horizon for edge in (span.since, span.until))
    rows: Bools = (platform.times >= since) & (platform.times < until) & (platform.alone >= 0)
    return rows


def _result(
    drift_name: DriftName | None, size: DriftSize, span: DriftSpan, metric: str, figures: Floats, rows: int
) -> DriftResult:
    """Summarize (seeds, 3) figures."""
    sign = 1.0 if metric == "log_loss" else -1.0
    alone, live, oracle_figure = (float(figure) for figure in figures.mean(0))
    gap = sign * (alone - oracle_figure)
    least = most = None
    if gap >= MIN_GAP:
        by_seed = (figures[:, 0] - figures[:, 1]) / (figures[:, 0] - figures[:, 2])
        least, most = round(float(by_seed.min()), 3), round(float(by_seed.max()), 3)
    return DriftResult(
        dataset="simulation",
        task=f"no activity in {size.horizon_days:g} days",
        protocol=f"{drift_name or 'no change'}: {span.name}",
        metric=metric,
        value=round(live, 5),
        labels_alone=round(alone, 5),
        oracle=round(oracle_figure, 5),
        gap=round(gap, 5),
        recovered=round(sign * (alone - live) / gap, 3) if gap >= MIN_GAP else None,
        least=least,
        most=most,
        rows=rows,
        seeds=len(figures),
    )
