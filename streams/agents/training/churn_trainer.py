"""The trainer: one, for everybody. It learns from labelled rows and early signs, and publishes what it knows.

Beside the model that is published, others learn in its shadow from the same rows: recency alone, the logistic
regression that is the reference, and a challenger if the settings name one. Their figures stand beside the model's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiokafka

from models.churn.learner import ChurnLearner
from models.churn.snapshot import InvalidSnapshot, decode_snapshot, encode_snapshot, snapshot_kind
from models.schema.outputs import Example
from streams.agents.training import challengers
from streams.agents.training.examples import WINDOW, ExampleLearner
from streams.delivery.sender import Sender
from streams.kafka import clients, codec, topics
from streams.kafka.readers import has_reached, read_all
from streams.kafka.topics import MODEL_KEY, name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

_log = logging.getLogger(__name__)


class ChurnTrainer:
    """Learns each example once, in the log's order, and never scores. What is learned at all, `ExampleLearner` says.

    State and offset travel together in the snapshot: after a crash it stands where the snapshot says, reads the
    examples behind it again, and skips what it is given a second time. The rows kept for replay do not fit into a
    snapshot; they are those with the smallest hash of their id, and found by reading all examples there are.
    """

    def __init__(self, settings: Settings, sender: Sender, metrics: Metrics) -> None:
        self.offset = -1
        self._settings = settings
        self._sender = sender
        self._metrics = metrics
        self._shadows_from = 0
        self._begin(ChurnLearner(settings.model))
        self._published = -1
        self._ours: dict[bytes, int] = {}
        self._stands_at = self._known = -1
        self._superseded = False
        self._mine = False
        metrics.watch(self._gauges)

    async def own(self, mine: bool) -> None:
        """Be the trainer from now on, or no longer; what stays ours goes on."""
        if mine and not self._mine:
            await self.restore()
        self._mine = mine

    async def restore(self) -> None:
        """Stand where the newest snapshot says, and go on to the end of the examples.

        A snapshot that cannot be read is refused aloud, and everything learned anew from the examples.
        """
        learner, self.offset, self._published = ChurnLearner(self._settings.model), -1, -1
        found = await self._newest()
        if found is not None:
            try:
                snapshot = decode_snapshot(found)
                if snapshot_kind(snapshot) == self._settings.model:
                    learner, self.offset = ChurnLearner.restore(snapshot), snapshot.offset
                    self._published = self.offset
            except InvalidSnapshot as bad:
                self._metrics.add("encore_snapshots_refused_total", "trainer")
                _log.warning("the newest model snapshot is refused (%s): learning again from the examples", bad)
        self._begin(learner)
        await self._catch_up()

    async def take(self, records: list[Any]) -> None:
        """Learn a chunk of examples."""
        if self._superseded:
            await self.restore()
        self._metrics.add("encore_records_total", "trainer", by=len(records))
        for number, record in enumerate(records):
            self._take(record)
            if number % 100 == 99:
                await asyncio.sleep(0)

    def flush(self) -> None:
        """Publish what was learned since the last time; called before offsets are chosen."""
        if self._mine and self.offset > self._published and self.learner.labels and not self._superseded:
            self._published = self.offset
            snapshot = encode_snapshot(self.learner.snapshot(self.offset))
            self._ours[snapshot] = self.offset
            self._sender.put(name(self._settings, topics.SNAPSHOTS), MODEL_KEY, snapshot, 0)

    def _begin(self, learner: ChurnLearner) -> None:
        self.learner = learner
        self._pupil = ExampleLearner(learner, self._metrics)
        self._beside = challengers.ChallengerPanel(self._settings, self._metrics)

    def heard(self, record: codec.Record) -> None:
        """Take note of a published snapshot. Of one that an operator put in the place of ours, go on from there."""
        if record.key != MODEL_KEY or record.value is None or record.offset <= self._stands_at:
            return
        self._stands_at = record.offset
        ours = self._ours.pop(record.value, None)
        offset = _offset(record.value) if ours is None else ours
        if offset is not None and offset >= self._known:  # else it is of a trainer that was frozen and came back
            self._known = offset
            self._superseded = self._superseded or ours is None

    async def _newest(self) -> bytes | None:
        """Return the newest snapshot there is, and remember where it stands."""
        records = await read_all(self._settings, name(self._settings, topics.SNAPSHOTS))
        found = [record for record in records if record.key == MODEL_KEY]
        self._superseded = False
        self._ours.clear()
        newest = found[-1].value if found else None
        offset = _offset(newest) if newest is not None else None
        self._stands_at = found[-1].offset if found else -1
        self._known = -1 if offset is None else offset
        return newest

    async def _catch_up(self) -> None:
        topic = name(self._settings, topics.EXAMPLES)
        place = aiokafka.TopicPartition(topic, 0)
        consumer = clients.consumer(self._settings, isolation_level="read_committed")
        await consumer.start()
        try:
            consumer.assign([place])
            first = (await consumer.beginning_offsets([place]))[place]
            ends = await consumer.end_offsets([place])
            consumer.seek(place, first)
            self._shadows_from = ends[place] - WINDOW
            while not await has_reached(consumer, ends):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        self._take(record, again=True)
                await asyncio.sleep(0)
        finally:
            await consumer.stop()

    def _take(self, record: codec.Record, again: bool = False) -> None:
        """Take a record; `again`: it is read back at the start, and may be in the snapshot already."""
        learned = record.offset <= self.offset
        if learned and not again:
            return
        self.offset = max(self.offset, record.offset)
        measure = (self._remeasure if again else self._measure) if record.offset >= self._shadows_from else None
        self._pupil.take(record.value, learned, measure)

    def _remeasure(self, example: Example, place: float) -> None:
        self._beside.take(example, place)

    def _measure(self, example: Example, place: float) -> None:
        if self._beside.take(example, place).changed:
            self._metrics.add("encore_drift_total")
            _log.warning("the log-loss of matured scores has risen; it is %.3f now", self._beside.log_loss)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        gauges: dict[tuple[GaugeName, tuple[str, ...]], float] = {
            ("encore_drift_correction", ()): self.learner.pace.change
        }
        for score, figures in self._beside.figures().items():
            gauges["encore_model_auc", (score,)] = figures.auc
            gauges["encore_model_log_loss", (score,)] = figures.log_loss
            gauges["encore_model_calibration_error", (score,)] = figures.calibration_error
            gauges["encore_model_lift", (score,)] = figures.lift
        return gauges


def _offset(sealed: bytes) -> int | None:
    """Return the offset in a snapshot, none of one that cannot be read."""
    try:
        return decode_snapshot(sealed).offset
    except InvalidSnapshot:
        return None
