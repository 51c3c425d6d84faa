"""The trainer: one, for everybody. It learns from labelled rows and publishes what it knows.

Beside the model that is published, others learn in its shadow from the same rows: recency alone, the logistic
regression that is the reference, and a challenger if the settings name one. Their figures stand beside the model's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any

import aiokafka
import msgspec
from river.drift import ADWIN

from models import churn, features
from models.churn import BadSnapshot, Learner
from models.ledger import share_of
from models.outputs import Example
from models.quality import Rolling, surprise
from streams import codec, shadows, topics
from streams.broadcast import everything, reached
from streams.delivery.sender import Sender
from streams.metrics import GaugeName, Metrics
from streams.security import client
from streams.settings import Settings
from streams.snapshots import MODEL
from streams.topics import name

WINDOW = 50_000
"""Repeats come from a crash or a rebalance, so an id comes back within the rows of some seconds. After a restart the
shadows learn again from as many rows."""

_log = logging.getLogger(__name__)


class Trainer:
    """Learns each example once, in the log's order, and never scores.

    State and offset travel together in the snapshot: after a crash it stands where the snapshot says, reads the
    examples behind it again, and skips what it is given a second time. The rows kept for replay do not fit into a
    snapshot; they are those with the smallest hash of their id, and found by reading all examples there are.
    """

    def __init__(self, settings: Settings, sender: Sender, metrics: Metrics) -> None:
        self.learner = Learner(settings.model)
        self.offset = -1
        self._settings = settings
        self._sender = sender
        self._metrics = metrics
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._shadows_from = 0
        self._start_measuring()
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
        self.learner, self.offset, self._published = Learner(self._settings.model), -1, -1
        self._recent.clear()
        self._start_measuring()
        found = await self._newest()
        if found is not None:
            try:
                snapshot = churn.opened(found)
                if churn.kind_of(snapshot) == self._settings.model:
                    self.learner, self.offset = Learner.restore(snapshot), snapshot.offset
                    self._published = self.offset
            except BadSnapshot as bad:
                self._metrics.add("encore_snapshots_refused_total", "trainer")
                _log.warning("the newest model snapshot is refused (%s): learning again from the examples", bad)
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
            snapshot = churn.sealed(self.learner.snapshot(self.offset))
            self._ours[snapshot] = self.offset
            self._sender.put(name(self._settings, topics.SNAPSHOTS), MODEL, snapshot, 0)

    def _start_measuring(self) -> None:
        self._rolling = Rolling()
        self._drift: Any = ADWIN()  # type: ignore[no-untyped-call]
        self._shadows = {"recency": shadows.recency()}
        if self._settings.model != "logistic":
            self._shadows["reference"] = shadows.reference()
        if self._settings.challenger:
            self._shadows["challenger"] = shadows.challenger(self._settings.challenger)

    def heard(self, record: codec.Record) -> None:
        """Take note of a published snapshot. Of one that an operator put in the place of ours, go on from there."""
        if record.key != MODEL or record.value is None or record.offset <= self._stands_at:
            return
        self._stands_at = record.offset
        ours = self._ours.pop(record.value, None)
        offset = _offset(record.value) if ours is None else ours
        if offset is not None and offset >= self._known:  # else it is of a trainer that was frozen and came back
            self._known = offset
            self._superseded = self._superseded or ours is None

    async def _newest(self) -> bytes | None:
        """Return the newest snapshot there is, and remember where it stands."""
        records = await everything(self._settings, name(self._settings, topics.SNAPSHOTS))
        found = [record for record in records if record.key == MODEL]
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
        consumer = aiokafka.AIOKafkaConsumer(isolation_level="read_committed", **client(self._settings))
        await consumer.start()
        try:
            consumer.assign([place])
            first = (await consumer.beginning_offsets([place]))[place]
            ends = await consumer.end_offsets([place])
            consumer.seek(place, first)
            self._shadows_from = ends[place] - WINDOW
            while not await reached(consumer, ends):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        self._take(record, again=True)
                await asyncio.sleep(0)
        finally:
            await consumer.stop()

    def _take(self, record: codec.Record, again: bool = False) -> None:
        """Take a record; `again`: it is read back at the start, and may be in the snapshot already."""
        example = self._read(record)
        learned = record.offset <= self.offset
        self.offset = max(self.offset, record.offset)
        if example is None:
            return
        repeat = example.id in self._recent
        self._remember(example.id)
        if repeat or not self._fits(example):
            if not learned:
                self._left_out("repeat" if repeat else "features")
            return
        place = share_of(example.id, "replay")
        if record.offset >= self._shadows_from and (again or not learned):
            self._measure(example, place, again)
        if not learned:
            self._learn(example, place)
        elif again and not example.treated:
            self.learner.recall(features.array(example.x), example.churned, place)

    def _fits(self, example: Example) -> bool:
        return example.features == churn.FEATURES and len(example.x) == len(features.NAMES)

    def _read(self, record: codec.Record) -> Example | None:
        try:
            return codec.example(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._left_out("unreadable")
            return None

    def _learn(self, example: Example, place: float) -> None:
        if example.treated:
            self._left_out("treated")
            return
        self.learner.learn(features.array(example.x), example.churned, place)
        self._metrics.add("encore_learned_total")

    def _measure(self, example: Example, place: float, again: bool) -> None:
        self._rolling.add(example.probability, example.churned)
        self._drift.update(surprise(example.probability, example.churned))
        if self._drift.drift_detected and not again:
            self._metrics.add("encore_drift_total")
            _log.warning("the log-loss of matured scores has changed; it is %.3f now", self._drift.estimation)
        for score, shadow in list(self._shadows.items()):
            try:
                shadow.take(example, place)
            except Exception:  # a challenger is any class of River's: its defect is not the trainer's
                if score != "challenger":
                    raise
                self._metrics.add("encore_failures_total", "challenger")
                _log.exception("the challenger failed and is left out until the next start")
                del self._shadows[score]

    def _remember(self, example_id: str) -> None:
        self._recent[example_id] = None
        self._recent.move_to_end(example_id)
        if len(self._recent) > WINDOW:
            self._recent.popitem(last=False)

    def _left_out(self, reason: str) -> None:
        self._metrics.add("encore_examples_left_out_total", reason)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        gauges: dict[tuple[GaugeName, tuple[str, ...]], float] = {}
        for score, rolling in {"model": self._rolling, **{n: s.rolling for n, s in self._shadows.items()}}.items():
            figures = rolling.figures()
            if figures is not None:
                gauges["encore_model_auc", (score,)] = figures.auc
                gauges["encore_model_log_loss", (score,)] = figures.log_loss
                gauges["encore_model_calibration_error", (score,)] = figures.calibration_error
                gauges["encore_model_lift", (score,)] = figures.lift
        return gauges


def _offset(sealed: bytes) -> int | None:
    """Return the offset in a snapshot, none of one that cannot be read."""
    try:
        return churn.opened(sealed).offset
    except BadSnapshot:
        return None
