"""The ranker's trainer: one for all workers. It learns from short lists, and publishes the ranker of candidates.

Two rankers learn from the same lists: the net with replay, and the linear softmax that is its reference. The trainer
publishes the one that predicted the latest lists better, measured before it learned from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from models.recommend import ranker_snapshot, ranker_state
from models.recommend.examples import MAX_NEGATIVES, ListExample
from models.recommend.features import column_names
from models.recommend.linear_ranker import LinearRanker
from models.recommend.net_ranker import NetRanker
from streams.agents.courses.view import MIN_LISTS, RANKER_KEY
from streams.agents.training.trainer import Trainer
from streams.delivery.sender import RecordSink
from streams.kafka import codec, topics
from streams.kafka.codec import Record
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings
from streams.state.recent_ids import RecentIds

HISTORY = 10_000
"""Lists read back after taking over: as many as the net replays. It is also the number of ids that show repeats."""
MAX_ROWS = MAX_NEGATIVES + 1
DECAY = 0.998
"""The weight that a list's log-loss keeps in the mean when the next list comes: about the newest 500 count."""


class RankerTrainer(Trainer):
    """Learns each short list once. The lists kept for replay are the newest; they are read back after taking over."""

    def __init__(self, settings: Settings, sink: RecordSink, metrics: Metrics) -> None:
        key = f"{RANKER_KEY}/{settings.repeats}".encode()
        super().__init__(settings, sink, metrics, agent="ranking", topic=topics.LISTS, key=key)

    def on_record(self, record: Record) -> None:
        """Handle a published snapshot: nothing to do, because only the owner publishes the ranker."""

    def _reset(self) -> None:
        columns = len(column_names(self._settings.repeats))
        self._net, self._linear = NetRanker(columns), LinearRanker(columns)
        self._log_loss = {"net": 0.0, "linear": 0.0}
        self._recent_ids = RecentIds(HISTORY)

    def _load(self, snapshot: bytes) -> int:
        decoded = ranker_snapshot.decode_ranker(snapshot)
        ranker = ranker_state.restore_ranker(decoded)
        if isinstance(ranker, NetRanker):
            self._net = ranker
        else:
            self._linear = ranker
        return decoded.offset

    def _history_start(self, first: int, end: int) -> int:
        return max(first, min(self.offset + 1, end - HISTORY))

    def _has_learned(self) -> bool:
        return self._net.lists > 0

    def _encode(self) -> bytes:
        better = better_of({"net": self._net, "linear": self._linear}, self._log_loss)
        return ranker_snapshot.encode_ranker(ranker_state.snapshot_ranker(better, self._settings.repeats, self.offset))

    def _learn(self, record: Record, learned: bool, replayed: bool) -> None:
        example = self._decode(record)
        if example is None or example.id in self._recent_ids:
            return
        self._recent_ids.add(example.id)
        rows = example.unpack()
        if learned:
            self._net.remember(rows)
            return
        for kind, ranker in (("net", self._net), ("linear", self._linear)):
            self._log_loss[kind] = DECAY * self._log_loss[kind] + (1.0 - DECAY) * list_log_loss(ranker, rows)
        self._net.learn_list(rows)
        self._linear.learn(rows, 0)
        self._metrics.add("encore_lists_learned_total")

    def _decode(self, record: Record) -> ListExample | None:
        """Return a record's list; None if it is left out, which is counted."""
        try:
            example = codec.decode_list_example(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._metrics.add("encore_examples_left_out_total", "unreadable")
            return None
        bytes_per_row = 2 * example.columns
        if example.repeats != self._settings.repeats or example.columns != self._net.columns:
            self._metrics.add("encore_examples_left_out_total", "features")
            return None
        size = len(example.rows)
        if size % bytes_per_row or not bytes_per_row < size <= MAX_ROWS * bytes_per_row or not _is_finite(example):
            self._metrics.add("encore_examples_left_out_total", "unreadable")
            return None
        return example

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_ranker_log_loss", (kind,)): value for kind, value in self._log_loss.items() if value}


def _is_finite(example: ListExample) -> bool:
    return bool(np.isfinite(example.unpack()).all())


def better_of(
    rankers: Mapping[str, NetRanker | LinearRanker], log_losses: Mapping[str, float]
) -> NetRanker | LinearRanker:
    """Return the ranker with the lowest log-loss, of those that have learned enough to be compared.

    After a restart, the ranker that was not published begins anew. A lucky score on a few lists must not replace what
    the other one has learned.

    Examples:
        >>> old, new = LinearRanker(3), LinearRanker(3)
        >>> old.lists, new.lists = 9_000, MIN_LISTS - 1
        >>> better_of({"old": old, "new": new}, {"old": 2.0, "new": 1.5}) is old
        True
        >>> new.lists = MIN_LISTS
        >>> better_of({"old": old, "new": new}, {"old": 2.0, "new": 1.5}) is new
        True
    """
    enough = min(MIN_LISTS, max(ranker.lists for ranker in rankers.values()))
    comparable = [kind for kind, ranker in rankers.items() if ranker.lists >= enough]
    return rankers[min(comparable, key=lambda kind: log_losses[kind])]


def list_log_loss(ranker: NetRanker | LinearRanker, rows: Any) -> float:
    """Return minus the log of the probability that a ranker gave to the taken course, the first of the rows."""
    scores = ranker.scores(rows)
    top = scores.max()
    return float(top + np.log(np.exp(scores - top).sum()) - scores[0])
