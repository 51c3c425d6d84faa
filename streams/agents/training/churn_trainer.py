"""The churn trainer: one for all workers. It learns from labelled rows and early signals, and publishes the model.

In addition to the published model, others learn from the same rows in shadow mode: the recency baseline, the logistic
regression that is the reference, and a challenger if the settings name one. Their quality is measured like the model's.
"""

from __future__ import annotations

import logging
from typing import Any

from models.churn.learner import ChurnLearner
from models.churn.snapshot import InvalidSnapshot, decode_snapshot, encode_snapshot, snapshot_kind
from models.schema.outputs import Example
from streams.agents.training.challengers import ChallengerPanel
from streams.agents.training.examples import ExampleLearner
from streams.agents.training.trainer import Trainer
from streams.delivery.sender import RecordSink
from streams.kafka import topics
from streams.kafka.codec import Record
from streams.kafka.topics import MODEL_KEY
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

MEASURED_HISTORY = 50_000
"""Examples at the end of the history on which the model and its challengers are measured again after taking over."""
_log = logging.getLogger(__name__)


class ChurnTrainer(Trainer):
    """Learns each example once, and never scores users. `ExampleLearner` decides which rows are learned.

    The rows kept for replay do not fit into a snapshot. They are the rows with the smallest hash of their id, so the
    trainer finds them again by reading all examples.
    """

    def __init__(self, settings: Settings, sink: RecordSink, metrics: Metrics) -> None:
        self._measured_from = 0
        self._own_snapshots: dict[bytes, int] = {}
        self._snapshot_position = self._newest_known = -1
        self._superseded = False
        super().__init__(settings, sink, metrics, agent="trainer", topic=topics.EXAMPLES, key=MODEL_KEY)

    async def process_chunk(self, records: list[Any]) -> None:
        """Learn a chunk of examples. If an operator has replaced the model, continue from theirs first."""
        if self._superseded:
            await self.restore()
        await super().process_chunk(records)

    def on_record(self, record: Record) -> None:
        """Handle a published snapshot. If an operator has replaced ours, the trainer continues from theirs."""
        if record.key != MODEL_KEY or record.value is None or record.offset <= self._snapshot_position:
            return
        self._snapshot_position = record.offset
        own = self._own_snapshots.pop(record.value, None)
        offset = _offset(record.value) if own is None else own
        if offset is not None and offset >= self._newest_known:  # else a trainer wrote it that was frozen and came back
            self._newest_known = offset
            self._superseded = self._superseded or own is None

    def _reset(self) -> None:
        self._start(ChurnLearner(self._settings.model))

    def _start(self, learner: ChurnLearner) -> None:
        self.learner = learner
        self._examples = ExampleLearner(learner, self._metrics)
        self._challengers = ChallengerPanel(self._settings, self._metrics)

    async def _read_snapshot(self) -> bytes | None:
        """Return the newest snapshot, and remember its position in the topic."""
        newest = await self._newest_record()
        self._superseded = False
        self._own_snapshots.clear()
        self._snapshot_position = -1 if newest is None else newest.offset
        snapshot = None if newest is None else newest.value
        offset = None if snapshot is None else _offset(snapshot)
        self._newest_known = -1 if offset is None else offset
        return snapshot

    def _load(self, snapshot: bytes) -> int:
        decoded = decode_snapshot(snapshot)
        if snapshot_kind(decoded) != self._settings.model:
            return -1
        self._start(ChurnLearner.restore(decoded))
        return decoded.offset

    def _history_start(self, first: int, end: int) -> int:
        self._measured_from = end - MEASURED_HISTORY
        return first

    def _has_learned(self) -> bool:
        return self.learner.labels > 0 and not self._superseded

    def _encode(self) -> bytes:
        """Return a snapshot, and remember it as our own for `on_record`."""
        snapshot = encode_snapshot(self.learner.snapshot(self.offset))
        self._own_snapshots[snapshot] = self.offset
        return snapshot

    def _learn(self, record: Record, learned: bool, replayed: bool) -> None:
        measure = None
        if record.offset >= self._measured_from:
            measure = self._measure_again if replayed else self._measure
        self._examples.process_record(record.value, learned, measure)

    def _measure_again(self, example: Example, share: float) -> None:
        self._challengers.score(example, share)

    def _measure(self, example: Example, share: float) -> None:
        if self._challengers.score(example, share).drifted:
            self._metrics.add("encore_drift_total")
            _log.warning("drift: the log-loss of labelled scores has risen to %.3f", self._challengers.log_loss)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        gauges: dict[tuple[GaugeName, tuple[str, ...]], float] = {
            ("encore_drift_correction", ()): self.learner.drift.hazard_ratio
        }
        for score, figures in self._challengers.figures().items():
            gauges["encore_model_auc", (score,)] = figures.auc
            gauges["encore_model_log_loss", (score,)] = figures.log_loss
            gauges["encore_model_calibration_error", (score,)] = figures.calibration_error
            gauges["encore_model_lift", (score,)] = figures.lift
        return gauges


def _offset(snapshot: bytes) -> int | None:
    """Return the offset in a snapshot; None if it cannot be read."""
    try:
        return decode_snapshot(snapshot).offset
    except InvalidSnapshot:
        return None
