"""Batching: records of one partition leave in order, as many in one produce batch as fit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import aiokafka

from streams.delivery.lease import LeaseState, PartitionLease
from streams.kafka.topics import partition_of

LEASE_POLL_INTERVAL = 0.02
"""Seconds between two looks at a lease that is unsure."""
MIN_BATCH = 4
"""Fewer records than this are sent one by one. The producer adds them to a batch that it shares with others."""
LARGE = 50_000
"""Bytes of a value from which a record is sent alone."""

Headers = list[tuple[str, bytes]]


class OutgoingRecord(NamedTuple):
    """A record to send, without its destination."""

    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    timestamp_ms: int | None = None

    @property
    def large(self) -> bool:
        """Whether the record is sent alone, so that the producer checks its size."""
        return self.value is not None and len(self.value) > LARGE


class RecordMetadata(NamedTuple):
    """The offset of a record that was sent in a batch."""

    offset: int


class PendingBatch:
    """Records that were enqueued together, and the future that completes when all are acknowledged.

    The future completes with Kafka's metadata of the record if there is only one (`alone`), else with all offsets.

    Args:
        topic: full name of the topic.
        partition: partition of the topic; None if the key chooses it.
        rows: the records, at least one.
        alone: whether it was enqueued as a single record.
        settled: is called with the number of records acknowledged, failed or discarded, and with the error.
        after: the records wait for this future; if it fails, they fail.
    """

    __slots__ = ("_offsets", "_open", "_settled", "after", "alone", "done", "partition", "rows", "sent", "topic")

    def __init__(
        self,
        topic: str,
        partition: int | None,
        rows: Sequence[OutgoingRecord],
        alone: bool,
        settled: Callable[[int, BaseException | None], None],
        after: asyncio.Future[Any] | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.rows = rows
        self.after = after
        self.alone = alone
        self.sent = 0
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open = len(rows)
        self._offsets: list[int] = []
        self._settled = settled

    @property
    def waits(self) -> bool:
        """Whether the future before these records is still open."""
        return self.after is not None and not self.after.done()

    @property
    def prior_error(self) -> BaseException | None:
        """The error of the future before these records, if it failed. Valid once `waits` is false."""
        if self.after is None:
            return None
        if self.after.cancelled():
            return ConnectionAbortedError("the write that had to come first was cancelled")
        return self.after.exception()

    async def wait(self) -> None:
        """Wait until the future before these records is done."""
        if self.after is not None:
            await asyncio.wait((self.after,))

    @property
    def remaining(self) -> int:
        """Number of records that have not left."""
        return len(self.rows) - self.sent

    @property
    def next(self) -> OutgoingRecord:
        """The first record that has not left."""
        return self.rows[self.sent]

    def fill(self, batch: Any) -> int:
        """Append as many records to a produce batch as fit; return their number."""
        before, append = self.sent, batch.append
        for row in islice(self.rows, before, None):
            if row.large:
                break
            key, value, headers, timestamp_ms = row
            if append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
                break
            self.sent += 1
        return self.sent - before

    def acknowledge(self, count: int, ack: Any) -> None:
        """Count the next `count` sent records as acknowledged, from the offset of the acknowledgement on."""
        self._open -= count
        if not self.alone:
            self._offsets.extend(range(ack.offset, ack.offset + count))
        if not self._open and not self.done.done():
            self.done.set_result(ack if self.alone else self._offsets)
        self._settled(count, None)

    def fail(self, count: int, error: BaseException) -> None:
        """Count `count` records as failed."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # retrieved here, because the failed sender has reported it already
        self._settled(count, error)

    def fail_all(self, error: BaseException) -> None:
        """Fail all records that have not left."""
        remaining, self.sent = self.remaining, len(self.rows)
        self.fail(remaining, error)

    def discard(self) -> None:
        """Discard the records that have not left."""
        self.done.cancel()
        remaining, self.sent = self.remaining, len(self.rows)
        self._settled(remaining, None)


Share = tuple[PendingBatch, int]
"""A pending batch, and how many of its records are in a produce batch."""


class PartitionQueue:
    """Sends records in order: the records of one partition, or those whose key must choose a partition first.

    Args:
        lease: says whether records may leave.
        choose: takes a pending batch of one record, and the partition that its key has chosen.

    Attributes:
        voided: whether records were discarded because the partitions were lost.
    """

    def __init__(self, lease: PartitionLease | None, choose: Callable[[PendingBatch, int], None]) -> None:
        self._lease = lease
        self._choose = choose
        self.voided = False
        self._pending: deque[PendingBatch] = deque()
        self._waiting = 0
        self._filled = asyncio.Event()

    def enqueue(self, batch: PendingBatch) -> None:
        """Append records to the queue."""
        self._pending.append(batch)
        self._waiting += batch.remaining
        self._filled.set()

    async def run(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send enqueued records until cancelled."""
        while True:
            if not self._pending:
                self._filled.clear()
                await self._filled.wait()
            state = LeaseState.OWNED if self._lease is None else self._lease.state
            if state is LeaseState.UNSURE:
                await asyncio.sleep(LEASE_POLL_INTERVAL)
            elif state is LeaseState.LOST:
                self.voided = True
                self.discard()
            elif self._pending[0].waits:
                await self._pending[0].wait()
            elif (error := self._pending[0].prior_error) is not None:
                self._waiting -= self._pending[0].remaining
                self._pending.popleft().fail_all(error)
            elif self._pending[0].partition is None:
                await self._route(producer)
            elif self._waiting < MIN_BATCH or self._pending[0].next.large:
                await self._send(producer)
            else:
                await self._send_batch(producer)

    def discard(self) -> None:
        """Discard every record that has not left."""
        self._waiting = 0
        while self._pending:
            self._pending.popleft().discard()

    async def _route(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Let the key of the first record choose its partition; a record without a key goes to any partition."""
        batch = self._pending[0]
        key = batch.next.key
        if key is None:
            await self._send(producer)
            return
        self._pending.popleft()
        self._waiting -= 1
        try:
            partitions = await producer.partitions_for(batch.topic)
        except Exception as error:  # noqa: BLE001 - any error is the outcome of the record and fails the sender
            batch.fail(1, error)
            return
        self._choose(batch, partition_of(key, len(partitions)))

    async def _send(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send the first record alone."""
        batch = self._pending[0]
        key, value, headers, timestamp_ms = batch.next
        batch.sent += 1
        self._waiting -= 1
        if not batch.remaining:
            self._pending.popleft()
        try:
            sent = await producer.send(
                batch.topic, value, key=key, partition=batch.partition, headers=headers, timestamp_ms=timestamp_ms
            )
        except Exception as error:  # noqa: BLE001 - as above
            batch.fail(1, error)
            return
        sent.add_done_callback(lambda ack: _settle([(batch, 1)], ack))

    async def _send_batch(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send as many records as fit into one batch: a tenth of the CPU of sending them one by one."""
        batch, shares = producer.create_batch(), list[Share]()
        first = self._pending[0]
        while self._pending and not self._pending[0].waits and self._pending[0].prior_error is None:
            pending = self._pending[0]
            if count := pending.fill(batch):
                shares.append((pending, count))
            self._waiting -= count
            if pending.remaining:
                break
            self._pending.popleft()
        batch.close()
        try:
            sent = await producer.send_batch(batch, first.topic, partition=first.partition)
        except Exception as error:  # noqa: BLE001 - as above
            for pending, count in shares:
                pending.fail(count, error)
            return
        sent.add_done_callback(lambda ack: _settle(shares, ack))


def _settle(shares: list[Share], ack: asyncio.Future[Any]) -> None:
    """Report the outcome of a produce batch to the pending batches in it."""
    error = ConnectionAbortedError("the producer dropped a record") if ack.cancelled() else ack.exception()
    if error is not None:
        for pending, count in shares:
            pending.fail(count, error)
        return
    metadata, before = ack.result(), 0
    for pending, count in shares:
        pending.acknowledge(count, RecordMetadata(metadata.offset + before) if before else metadata)
        before += count
