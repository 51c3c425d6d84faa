"""Lanes: records of one partition leave one behind the other, as many together as a batch takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import aiokafka

from streams.delivery.lease import LeaseState, PartitionLease
from streams.kafka.topics import partition_of

UNSURE_FOR = 0.02
FEW = 4
"""Fewer records than this are sent one by one: the producer puts them into a batch that others share."""
LARGE = 50_000

Headers = list[tuple[str, bytes]]


class OutgoingRecord(NamedTuple):
    """A record on its way out, but for where to."""

    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    timestamp_ms: int | None = None

    @property
    def large(self) -> bool:
        """Whether it goes alone, so that the producer looks at its size."""
        return self.value is not None and len(self.value) > LARGE


class RecordMetadata(NamedTuple):
    """Where a record that left in a batch stands."""

    offset: int


class PendingBatch:
    """Records that were put together, and the future of those who wait for all of them.

    It completes with what Kafka said of the one record where there is but one (`alone`), else with every offset.

    Args:
        topic: where they go.
        partition: of the topic; none where the key is to choose it.
        rows: the records, at least one.
        alone: whether it was put as one record.
        settled: is told how many are acknowledged, refused or let go, and of the error.
        after: what has to have happened before they leave, if anything; if it fails, they are refused.
    """

    __slots__ = ("_offsets", "_open", "_settled", "after", "alone", "done", "gone", "partition", "rows", "topic")

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
        self.gone = 0
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open = len(rows)
        self._offsets: list[int] = []
        self._settled = settled

    @property
    def waits(self) -> bool:
        """Whether what has to come first has not happened yet."""
        return self.after is not None and not self.after.done()

    @property
    def hindrance(self) -> BaseException | None:
        """Why what had to come first will never happen, if that is so; to be asked once it waits no longer."""
        if self.after is None:
            return None
        if self.after.cancelled():
            return ConnectionAbortedError("what had to come first was called off")
        return self.after.exception()

    async def wait(self) -> None:
        """Wait until what has to come first has happened, or never will."""
        if self.after is not None:
            await asyncio.wait((self.after,))

    @property
    def left(self) -> int:
        """How many have not left."""
        return len(self.rows) - self.gone

    @property
    def next(self) -> OutgoingRecord:
        """The first that has not left."""
        return self.rows[self.gone]

    def fill(self, batch: Any) -> int:
        """Put into a batch as many as go; return how many."""
        before, append = self.gone, batch.append
        for row in islice(self.rows, before, None):
            if row.large:
                break
            key, value, headers, timestamp_ms = row
            if append(timestamp=timestamp_ms, key=key, value=value, headers=headers) is None:
                break
            self.gone += 1
        return self.gone - before

    def acknowledge(self, some: int, ack: Any) -> None:
        """Note that the next of those that left are in Kafka, the first of them where the acknowledgement says."""
        self._open -= some
        if not self.alone:
            self._offsets.extend(range(ack.offset, ack.offset + some))
        if not self._open and not self.done.done():
            self.done.set_result(ack if self.alone else self._offsets)
        self._settled(some, None)

    def refuse(self, some: int, error: BaseException) -> None:
        """Note that some will never be in Kafka."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever does not ask has been told: the sender has failed
        self._settled(some, error)

    def refuse_all(self, error: BaseException) -> None:
        """Note that those that have not left never will."""
        left, self.gone = self.left, len(self.rows)
        self.refuse(left, error)

    def discard(self) -> None:
        """Let go of those that have not left."""
        self.done.cancel()
        left, self.gone = self.left, len(self.rows)
        self._settled(left, None)


Share = tuple[PendingBatch, int]
"""How many records of a lot are in a batch."""


class PartitionQueue:
    """Records that leave one after another: those of one partition, or those whose partition their keys have to choose.

    Args:
        lease: says whether what is put may leave.
        choose: takes a lot of one record, and the partition that its key has chosen.

    Attributes:
        voided: whether something was let go of because our partitions were lost.
    """

    def __init__(self, lease: PartitionLease | None, choose: Callable[[PendingBatch, int], None]) -> None:
        self._lease = lease
        self._choose = choose
        self.voided = False
        self._lots: deque[PendingBatch] = deque()
        self._waiting = 0
        self._filled = asyncio.Event()

    def enqueue(self, lot: PendingBatch) -> None:
        """Put records behind the others."""
        self._lots.append(lot)
        self._waiting += lot.left
        self._filled.set()

    async def run(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send what is put, until cancelled."""
        while True:
            if not self._lots:
                self._filled.clear()
                await self._filled.wait()
            hold = LeaseState.OURS if self._lease is None else self._lease.state
            if hold is LeaseState.UNSURE:
                await asyncio.sleep(UNSURE_FOR)
            elif hold is LeaseState.LOST:
                self.voided = True
                self.discard()
            elif self._lots[0].waits:
                await self._lots[0].wait()
            elif (error := self._lots[0].hindrance) is not None:
                self._waiting -= self._lots[0].left
                self._lots.popleft().refuse_all(error)
            elif self._lots[0].partition is None:
                await self._hand_on(producer)
            elif self._waiting < FEW or self._lots[0].next.large:
                await self._post(producer)
            else:
                await self._post_batch(producer)

    def discard(self) -> None:
        """Let go of everything that has not left."""
        self._waiting = 0
        while self._lots:
            self._lots.popleft().discard()

    async def _hand_on(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Let the key of the first record choose its partition; one without a key leaves as the producer likes."""
        lot = self._lots[0]
        key = lot.next.key
        if key is None:
            await self._post(producer)
            return
        self._lots.popleft()
        self._waiting -= 1
        try:
            partitions = await producer.partitions_for(lot.topic)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the record's fate, and fails the sender
            lot.refuse(1, error)
            return
        self._choose(lot, partition_of(key, len(partitions)))

    async def _post(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send the first record alone."""
        lot = self._lots[0]
        key, value, headers, timestamp_ms = lot.next
        lot.gone += 1
        self._waiting -= 1
        if not lot.left:
            self._lots.popleft()
        try:
            sent = await producer.send(
                lot.topic, value, key=key, partition=lot.partition, headers=headers, timestamp_ms=timestamp_ms
            )
        except Exception as error:  # noqa: BLE001 - as above
            lot.refuse(1, error)
            return
        sent.add_done_callback(lambda ack: _settle([(lot, 1)], ack))

    async def _post_batch(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send as many records as a batch takes: a tenth of the work of sending them one by one."""
        batch, shares = producer.create_batch(), list[Share]()
        first = self._lots[0]
        while self._lots and not self._lots[0].waits and self._lots[0].hindrance is None:
            lot = self._lots[0]
            if some := lot.fill(batch):
                shares.append((lot, some))
            self._waiting -= some
            if lot.left:
                break
            self._lots.popleft()
        batch.close()
        try:
            sent = await producer.send_batch(batch, first.topic, partition=first.partition)
        except Exception as error:  # noqa: BLE001 - as above
            for lot, some in shares:
                lot.refuse(some, error)
            return
        sent.add_done_callback(lambda ack: _settle(shares, ack))


def _settle(shares: list[Share], ack: asyncio.Future[Any]) -> None:
    """Tell the lots of a batch what became of it."""
    error = ConnectionAbortedError("the producer gave a record up") if ack.cancelled() else ack.exception()
    if error is not None:
        for lot, some in shares:
            lot.refuse(some, error)
        return
    said, before = ack.result(), 0
    for lot, some in shares:
        lot.acknowledge(some, RecordMetadata(said.offset + before) if before else said)
        before += some
