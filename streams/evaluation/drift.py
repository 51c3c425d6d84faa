"""How much of a change of the world the live model makes up for before labels can tell of it, on simulated platforms.

A platform is played through the worker's own fold; after six horizons its world changes, or, for comparison, does not.
The same rows have three scores:

- labels alone: what the model itself thinks, which waits a horizon for every label;
- live: what is stated, the same bent by early signs (`models.churn.early_signal`);
- the oracle: the same learner on the same rows, told each label the moment the row is scored. So it must learn the
  change as well, from as many rows, and what lies between it and labels alone is what waiting costs, and nothing else.

What is recovered is the part of that gap which the live model closes.
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

BEGINS = 1_760_000_000.0
SEEDS = (11, 12, 13)
WORLDS: tuple[DriftName | None, ...] = (None, *NAMES)
"""None stays as it is."""
BEFORE, AFTER = 6.0, 2.0
"""Horizons until the change, and after it as far as rows are measured."""
NEWCOMERS_A_DAY = 0.01
"""For each learner of the first weeks."""
WORTH = 0.003
"""A gap below this is hardly more than what waiting costs in a world that stays; no part of it is stated."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class DriftSize(NamedTuple):
    """How large a platform is: learners of the first weeks, and the churn horizon in days."""

    learners: int = 2_000
    horizon_days: float = 14.0

    @property
    def horizon(self) -> float:
        """In seconds."""
        return self.horizon_days * DAY

    @property
    def changes(self) -> float:
        """When the world changes, in seconds since 1970 UTC."""
        return BEGINS + BEFORE * self.horizon


SIZE = DriftSize()


class DriftSpan(NamedTuple):
    """Rows scored from so many horizons after the change until so many."""

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
    """One figure of one world and span, in the mean of the seeds: `value` is the live model's.

    `gap` lies between labels alone and the oracle; `recovered` is the part of it that the live model closes, with the
    `least` and the `most` of any seed, and nothing where the gap is not worth the name.
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
    """The labelled rows of one platform in the order in which their labels came: (n, features), and (n,) each."""

    rows: NDArray[np.float32]
    churned: Bools
    times: Floats
    places: Floats
    alone: Floats
    live: Floats


class DriftCollector:
    """Labelled rows as they are told, with what was stated, and what the model itself thought, as early signs say."""

    def __init__(self) -> None:
        self._x = bytearray()
        self._columns: list[tuple[bool, float, float, float, float]] = []
        self._thought: dict[tuple[str, float], float] = {}

    def heard(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        """Take what goes to a topic."""
        if topic != topics.EXAMPLES or value is None:
            return
        lesson = codec.decode_example(value)
        if isinstance(lesson, EarlySignal):
            self._thought[lesson.user, lesson.time] = lesson.probability
            return
        self._x += features.pack(features.array(lesson.x))
        thought = self._thought.pop((lesson.user, lesson.time))
        place = hash_share(lesson.id, "replay")
        self._columns.append((lesson.churned, lesson.time, place, thought, lesson.probability))

    def lived(self) -> PlayedPlatform:
        """Return all rows."""
        churned, times, places, alone, live = (np.array(column) for column in zip(*self._columns, strict=True))
        rows = features.unpack(bytes(self._x)).reshape(-1, len(features.NAMES))
        return PlayedPlatform(rows, churned, times, places, alone, live)


def evaluate(
    seeds: Sequence[int],
    worlds: Sequence[DriftName | None],
    size: DriftSize,
    told: Callable[[str], None] = lambda words: None,
) -> Iterator[DriftResult]:
    """Play platforms whose worlds change, and measure.

    Args:
        seeds: of the platforms; each one lives through every world.
        worlds: the changes.
        size: of each platform.
        told: is told in words how far it is.
    """
    tune_gc()
    with limit_blas_threads():
        for world in worlds:
            compared = []
            for number, seed in enumerate(seeds, 1):
                told(f"{world or 'no change'}: platform {number} of {len(seeds)}")
                rows = played_platform(seed, STEADY if world is None else drift(world, size.changes), size)
                compared.append((rows, oracle(rows)))
            yield from measured(world, size, compared)


def played_platform(seed: int, change: Drift, size: DriftSize) -> PlayedPlatform:
    """Play a platform, learning as a worker and its trainer would, and return its rows."""
    until = size.changes + AFTER * size.horizon
    platform = Platform(seed, BEGINS, size.learners, newcomers_per_day=size.learners * NEWCOMERS_A_DAY, drift=change)
    settings = Settings(horizon=size.horizon, lookback=2 * size.horizon, mode="shadow", cached_users=100_000)
    collected = DriftCollector()

    async def play() -> None:
        replay = Replay(settings, collected.heard, ChurnLearner())
        end = until + size.horizon + settings.lateness + DAY
        await replay.play((HistoryEntry(number, event) for number, event in enumerate(platform.advance(end))), end)

    asyncio.run(play())
    return collected.lived()


def oracle(lived: PlayedPlatform) -> Floats:
    """Score rows with the same learner, told each label at once; (n,) probabilities, NaN before the first."""
    learner, said = ChurnLearner(), np.full(len(lived.times), np.nan)
    order = np.argsort(lived.times, kind="stable")
    turns = np.floor(lived.times[order] / TIMER_INTERVAL)
    for turn in np.unique(turns):
        now = order[turns == turn]
        if learner.labels:
            said[now] = build_scorer(learner.snapshot()).probabilities(lived.rows[now])
        for index in now:
            learner.learn(lived.rows[index], bool(lived.churned[index]), float(lived.places[index]))
    return said


def measured(
    world: DriftName | None, size: DriftSize, compared: Sequence[tuple[PlayedPlatform, Floats]]
) -> Iterator[DriftResult]:
    """Compare the three scores, span by span.

    Args:
        world: the change that was lived through.
        size: of the platforms.
        compared: what each platform gave, and what the oracle says of its rows.
    """
    for span in SPANS:
        among = [_among(lived, span, size) for lived, _ in compared]
        for metric, measure in (("log_loss", quality.log_loss), ("roc_auc", quality.auc)):
            figures = [
                [measure(score[rows], lived.churned[rows].astype(float)) for score in (lived.alone, lived.live, told)]
                for (lived, told), rows in zip(compared, among, strict=True)
            ]
            rows = sum(int(mask.sum()) for mask in among)
            yield _result(world, size, span, metric, np.array(figures), rows)


def _among(lived: PlayedPlatform, span: DriftSpan, size: DriftSize) -> Bools:
    """Return which rows lie in a span and were scored by a model."""
    since, until = (size.changes + edge * size.horizon for edge in (span.since, span.until))
    among: Bools = (lived.times >= since) & (lived.times < until) & (lived.alone >= 0)
    return among


def _result(
    world: DriftName | None, size: DriftSize, span: DriftSpan, metric: str, figures: Floats, rows: int
) -> DriftResult:
    """Sum up (seeds, 3) figures."""
    sign = 1.0 if metric == "log_loss" else -1.0
    alone, live, told = (float(figure) for figure in figures.mean(0))
    gap = sign * (alone - told)
    least = most = None
    if gap >= WORTH:
        of_each = (figures[:, 0] - figures[:, 1]) / (figures[:, 0] - figures[:, 2])
        least, most = round(float(of_each.min()), 3), round(float(of_each.max()), 3)
    return DriftResult(
        dataset="simulation",
        task=f"no activity in {size.horizon_days:g} days",
        protocol=f"{world or 'no change'}: {span.name}",
        metric=metric,
        value=round(live, 5),
        labels_alone=round(alone, 5),
        oracle=round(told, 5),
        gap=round(gap, 5),
        recovered=round(sign * (alone - live) / gap, 3) if gap >= WORTH else None,
        least=least,
        most=most,
        rows=rows,
        seeds=len(figures),
    )
