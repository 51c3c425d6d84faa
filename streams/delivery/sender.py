"""Sending: records leave in the order in which they were put, and what is not acknowledged is not forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import aiokafka

from streams.delivery.batching import Headers, OutgoingRecord, PartitionQueue, PendingBatch
from streams.delivery.lease import PartitionLease


class RecordSink(Protocol):
    """Where what people have to say goes, and dead letters: a `Sender`, or whoever listens to a replay."""

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        *,
        headers: Headers | None = None,
    ) -> asyncio.Future[Any]:
        """Hand over a record; the future completes when it is safe."""

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Any]:
        """Hand over records of a partition; the future completes when all are safe."""


class Place(NamedTuple):
    """Where records leave one after another: a topic's partition, or none where the key is to choose it."""

    topic: str
    partition: int


class Sender:
    """Puts an aiokafka producer behind a plain call, and makes `flush` a barrier.

    What is put for a partition leaves in the order of the puts, many records as one batch; so does what is put with a
    key alone, once the key has chosen its partition. After a failure nothing more is flushed: `failure` says what it
    was, and whoever made the sender is told once. With a lease, nothing leaves while it is unsure whether our
    partitions are ours, and once they are lost, what was put is void: its futures are cancelled.
    """

    def __init__(self, on_failure: Callable[[BaseException], None], lease: PartitionLease | None = None) -> None:
        self.failure: BaseException | None = None
        self.backlog = 0
        self._lease = lease
        self._lanes: dict[Place | None, PartitionQueue] = {}
        self._eras = [FlushWindow()]
        self._on_failure = on_failure
        self._begin: Callable[[PartitionQueue], Any] = lambda lane: None

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Hand over a record; the future completes with Kafka's acknowledgement, or fails the sender."""
        return self._put(topic, partition, (OutgoingRecord(key, value, headers, timestamp_ms),), alone=True)

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[list[int]]:
        """Hand over records of a partition, at least one; the future completes with the offset of each.

        Args:
            topic: where they go.
            partition: of the topic.
            rows: the records.
            after: what has to have happened before they leave, and what is put for the partition behind them; where it
                fails, these records are refused with its error.
        """
        return self._put(topic, partition, rows, alone=False, after=after)

    async def flush(self) -> None:
        """Wait until everything put before this call is acknowledged.

        Raises:
            BaseException: the first failure; then nothing may be committed.
        """
        if self._eras[-1].open:
            self._eras.append(FlushWindow())
        self._eras = [era for era in self._eras[:-1] if era.open] + self._eras[-1:]
        if self.failure is None:
            for era in self._eras[:-1]:
                await era.over()
        if self.failure is not None:
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """Give up because of an error: no flush succeeds from here on."""
        if self.failure is None:
            self.failure = error
            self._on_failure(error)

    async def run(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send what is put, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._begin = lambda lane: group.create_task(lane.run(producer))
            for lane in self._lanes.values():
                self._begin(lane)
            await asyncio.Event().wait()

    def voided(self) -> bool:
        """Return whether something was let go of because our partitions were lost, since this was asked last."""
        voided = [lane for lane in self._lanes.values() if lane.voided]
        for lane in voided:
            lane.voided = False
        return bool(voided)

    def discard(self) -> None:
        """Let go of everything that was put and has not left."""
        for lane in self._lanes.values():
            lane.discard()

    def _put(
        self,
        topic: str,
        partition: int | None,
        rows: Sequence[OutgoingRecord],
        alone: bool,
        after: asyncio.Future[Any] | None = None,
    ) -> asyncio.Future[Any]:
        era, count = self._eras[-1], len(rows)

        def settled(some: int, error: BaseException | None) -> None:
            self.backlog -= some
            era.settle(some)
            if error is not None:
                self.fail(error)

        lot = PendingBatch(topic, partition, rows, alone, settled, after)
        era.open += count
        self.backlog += count
        self._lane(None if partition is None else Place(topic, partition)).enqueue(lot)
        return lot.done

    def _lane(self, place: Place | None) -> PartitionQueue:
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = PartitionQueue(self._lease, self._choose)
            self._begin(lane)
        return lane

    def _choose(self, lot: PendingBatch, partition: int) -> None:
        """Put a record into the lane of the partition that its key has chosen."""
        lot.partition = partition
        self._lane(Place(lot.topic, partition)).enqueue(lot)


class FlushWindow:
    """What was put between two flushes: how many records of it are not acknowledged."""

    def __init__(self) -> None:
        self.open = 0
        self._none = asyncio.Event()

    def settle(self, some: int) -> None:
        """Note that some are."""
        self.open -= some
        if not self.open:
            self._none.set()

    async def over(self) -> None:
        """Wait until none is; nothing is added any more."""
        while self.open:
            self._none.clear()
            await self._none.wait()
