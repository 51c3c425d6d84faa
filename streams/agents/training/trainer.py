"""What both trainers do: own a topic, learn each of its records once, and publish snapshots of what was learned."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any

import aiokafka

from models.churn.snapshot import InvalidSnapshot
from streams.delivery.sender import RecordSink
from streams.kafka import clients, topics
from streams.kafka.codec import Record
from streams.kafka.readers import has_reached, read_all
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

YIELD_EVERY = 100
"""Records of a chunk after which other tasks run."""
_log = logging.getLogger(__name__)


class Trainer(ABC):
    """Learns each record of a single-partition topic once, in the log's order.

    One worker owns the topic's partition, and only it publishes. A snapshot contains the offset up to which it has
    learned. After a crash, the next owner restores the newest snapshot and reads the records behind it again. It
    skips records that are delivered a second time. A subclass defines how to learn a record and what a snapshot holds.

    Args:
        settings: the worker's.
        sink: takes the snapshots.
        metrics: the worker's.
        agent: the name that the metrics use for it.
        topic: the topic it learns from, without prefix.
        key: the key of its snapshots.
    """

    def __init__(
        self, settings: Settings, sink: RecordSink, metrics: Metrics, *, agent: str, topic: str, key: bytes
    ) -> None:
        self.offset = -1
        self._settings = settings
        self._sink = sink
        self._metrics = metrics
        self._agent = agent
        self._topic = name(settings, topic)
        self._snapshots = name(settings, topics.SNAPSHOTS)
        self._key = key
        self._published = -1
        self._owned = False
        self._reset()
        metrics.watch(self._gauges)

    # -- what a subclass adds

    @abstractmethod
    def on_record(self, record: Record) -> None:
        """Handle a published snapshot."""

    @abstractmethod
    def _reset(self) -> None:
        """Forget everything that was learned."""

    @abstractmethod
    def _load(self, snapshot: bytes) -> int:
        """Continue from a snapshot; return the offset up to which it has learned, or -1 if it is not used.

        Raises:
            InvalidSnapshot: it cannot be read.
        """

    @abstractmethod
    def _history_start(self, first: int, end: int) -> int:
        """Return the offset from which records are read back, given the topic's first offset and its end."""

    @abstractmethod
    def _learn(self, record: Record, learned: bool, replayed: bool) -> None:
        """Learn a record.

        Args:
            record: of the topic.
            learned: whether the snapshot has learned it already. Then it is only kept for replay.
            replayed: whether it is read back after taking over.
        """

    @abstractmethod
    def _has_learned(self) -> bool:
        """Return whether there is anything to publish."""

    @abstractmethod
    def _encode(self) -> bytes:
        """Return a snapshot of what was learned up to `offset`."""

    @abstractmethod
    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        """Return the gauges."""

    # -- what both do

    async def own(self, owned: bool) -> None:
        """Own the topic from now on, or no longer. An owner that stays the owner goes on."""
        if owned and not self._owned:
            await self.restore()
        self._owned = owned

    async def restore(self) -> None:
        """Continue from the newest snapshot, and learn on to the end of the topic.

        A snapshot that cannot be read is refused with a warning, and everything is learned again from the topic.
        """
        snapshot = await self._read_snapshot()
        self.offset = self._published = -1
        self._reset()
        if snapshot is not None:
            try:
                self.offset = self._published = self._load(snapshot)
            except InvalidSnapshot as bad:
                self._metrics.add("encore_snapshots_refused_total", "trainer")
                _log.warning("%s: the newest snapshot is refused (%s): learning again", self._agent, bad)
        await self._read_history()

    async def process_chunk(self, records: list[Any]) -> None:
        """Learn a chunk of records."""
        self._metrics.add("encore_records_total", self._agent, by=len(records))
        for number, record in enumerate(records):
            self._process(record)
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)

    def flush(self) -> None:
        """Publish what was learned since the last snapshot; called before offsets are chosen."""
        if self._owned and self.offset > self._published and self._has_learned():
            self._published = self.offset
            self._sink.enqueue(self._snapshots, self._key, self._encode(), 0)

    async def _read_snapshot(self) -> bytes | None:
        """Return the newest snapshot."""
        newest = await self._newest_record()
        return None if newest is None else newest.value

    async def _newest_record(self) -> Record | None:
        """Return the newest record under the snapshot's key."""
        found = [record for record in await read_all(self._settings, self._snapshots) if record.key == self._key]
        return found[-1] if found else None

    async def _read_history(self) -> None:
        """Read the topic back, up to where it ends now."""
        partition = aiokafka.TopicPartition(self._topic, 0)
        consumer = clients.consumer(self._settings, isolation_level="read_committed")
        await consumer.start()
        try:
            consumer.assign([partition])
            first = (await consumer.beginning_offsets([partition]))[partition]
            ends = await consumer.end_offsets([partition])
            consumer.seek(partition, self._history_start(first, ends[partition]))
            while not await has_reached(consumer, ends):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        self._process(record, replayed=True)
                await asyncio.sleep(0)
        finally:
            await consumer.stop()

    def _process(self, record: Record, replayed: bool = False) -> None:
        learned = record.offset <= self.offset
        if learned and not replayed:
            return
        self.offset = max(self.offset, record.offset)
        self._learn(record, learned, replayed)
