"""Sending: records leave in the order in which they were enqueued, and a flush waits for every acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import aiokafka

from streams.delivery.batching import Headers, OutgoingRecord, PartitionQueue, PendingBatch
from streams.delivery.lease import PartitionLease


class RecordSink(Protocol):
    """Takes outputs and dead letters: a `Sender` in a worker, a recorder in a replay."""

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        *,
        headers: Headers | None = None,
    ) -> asyncio.Future[Any]:
        """Enqueue a record. The future completes when the record is safe."""

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Any]:
        """Enqueue records of one partition. The future completes when all are safe."""


class Destination(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Sender:
    """Puts an aiokafka producer behind a synchronous call, and makes `flush` a barrier.

    Records of a partition leave in the order of their enqueueing, many in one batch. The same holds for records with a
    key and no partition, once the key has chosen one. After a failure every flush fails: `failure` holds the error, and
    `on_failure` is called once. With a lease, no record leaves while the ownership of the partitions is unsure. When
    the partitions are lost, all queued records are discarded and their futures are cancelled.
    """

    def __init__(self, on_failure: Callable[[BaseException], None], lease: PartitionLease | None = None) -> None:
        self.failure: BaseException | None = None
        self.backlog = 0
        self._lease = lease
        self._queues: dict[Destination | None, PartitionQueue] = {}
        self._windows = [FlushWindow()]
        self._on_failure = on_failure
        self._start: Callable[[PartitionQueue], Any] = lambda queue: None

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Enqueue a record. The future completes with Kafka's acknowledgement; an error fails the whole sender."""
        return self._enqueue(topic, partition, (OutgoingRecord(key, value, headers, timestamp_ms),), alone=True)

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[list[int]]:
        """Enqueue one or more records of a partition. The future completes with the offset of each.

        Args:
            topic: full name of the topic.
            partition: partition of the topic.
            rows: the records, at least one.
            after: the records, and all records enqueued later for the partition, wait for this future. If it fails,
                these records fail with its error.
        """
        return self._enqueue(topic, partition, rows, alone=False, after=after)

    async def flush(self) -> None:
        """Wait until every record enqueued before this call is acknowledged.

        Raises:
            BaseException: the first failure. Then no offset may be committed.
        """
        if self._windows[-1].open:
            self._windows.append(FlushWindow())
        self._windows = [window for window in self._windows[:-1] if window.open] + self._windows[-1:]
        if self.failure is None:
            for window in self._windows[:-1]:
                await window.settled()
        if self.failure is not None:
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """Fail the sender: no flush succeeds from now on."""
        if self.failure is None:
            self.failure = error
            self._on_failure(error)

    async def run(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send enqueued records until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._start = lambda queue: group.create_task(queue.run(producer))
            for queue in self._queues.values():
                self._start(queue)
            await asyncio.Event().wait()

    def take_voided(self) -> bool:
        """Return whether records were discarded since the last call because the partitions were lost."""
        voided = [queue for queue in self._queues.values() if queue.voided]
        for queue in voided:
            queue.voided = False
        return bool(voided)

    def discard(self) -> None:
        """Discard every record that has not left."""
        for queue in self._queues.values():
            queue.discard()

    def _enqueue(
        self,
        topic: str,
        partition: int | None,
        rows: Sequence[OutgoingRecord],
        alone: bool,
        after: asyncio.Future[Any] | None = None,
    ) -> asyncio.Future[Any]:
        window = self._windows[-1]

        def on_settled(count: int, error: BaseException | None) -> None:
            self.backlog -= count
            window.settle(count)
            if error is not None:
                self.fail(error)

        pending = PendingBatch(topic, partition, rows, alone, on_settled, after)
        window.open += len(rows)
        self.backlog += len(rows)
        self._queue(None if partition is None else Destination(topic, partition)).enqueue(pending)
        return pending.done

    def _queue(self, destination: Destination | None) -> PartitionQueue:
        queue = self._queues.get(destination)
        if queue is None:
            queue = self._queues[destination] = PartitionQueue(self._lease, self._choose)
            self._start(queue)
        return queue

    def _choose(self, pending: PendingBatch, partition: int) -> None:
        """Move a record to the queue of the partition that its key has chosen."""
        pending.partition = partition
        self._queue(Destination(pending.topic, partition)).enqueue(pending)


class FlushWindow:
    """Counts the unacknowledged records that were enqueued between two flushes."""

    def __init__(self) -> None:
        self.open = 0
        self._all_settled = asyncio.Event()

    def settle(self, count: int) -> None:
        """Count acknowledged, failed or discarded records."""
        self.open -= count
        if not self.open:
            self._all_settled.set()

    async def settled(self) -> None:
        """Wait until no record of the window is open. The window must be closed: no record is added any more."""
        while self.open:
            self._all_settled.clear()
            await self._all_settled.wait()
