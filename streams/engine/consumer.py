"""Chunked delivery: Faust's consumer, handing on up to `chunk` records of a partition as one message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast

import aiokafka
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message

Committed = Mapping[TP, int]


class Tuned(Protocol):
    """What the consumer asks of its app."""

    chunk: int
    fetch_wait_ms: int


class ReadCommittedThread(driver.AIOKafkaConsumerThread):
    """Reads what transactions committed, and nothing of those that were aborted (Faust reads both)."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        in_transaction = self.consumer.in_transaction
        self.consumer.in_transaction = True  # Faust's only way to ask for read_committed
        try:
            consumer = super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = in_transaction
        consumer._fetch_max_wait_ms = cast(Tuned, self.consumer.app).fetch_wait_ms  # Faust's own is fixed
        return consumer


class ChunkConsumer(driver.Consumer):
    """Delivers chunks, and commits what was acknowledged in order.

    One agent of concurrency 1 reads each partition, so chunks are acknowledged in the order in which they were
    delivered: the newest acknowledged offset covers all before it, and Faust's gap bookkeeping has nothing to do. A
    commit happens only after everything that was handed to the producer before it has been acknowledged; one that
    failed is tried again, since what is safe stays noted until the broker has it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._safe: dict[TP, int] = {}

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return ReadCommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Fetch records and yield them as chunks; those of a changelog one by one, as Faust's recovery wants them."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
            return
        for tp, batch in records.items():
            if not batch or not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            for message in self._messages(tp, batch):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, message

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit before Faust forgets what was acknowledged, so that the next owner starts where we stopped."""
        await self.commit()
        for tp in revoked:
            self._safe.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def _messages(self, tp: TP, batch: list[Any]) -> list[ConsumerMessage]:
        if self._is_changelog_tp(tp):
            return [self._to_message(tp, record) for record in batch]
        size = cast(Tuned, self.app).chunk
        return [self._chunk(tp, batch[start : start + size]) for start in range(0, len(batch), size)]

    def _chunk(self, tp: TP, records: list[Any]) -> ConsumerMessage:
        last = records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            records,  # type: ignore[arg-type]  # a chunk is a list of records; the agent's schema hands it through
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def _seek_back(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:  # noqa: BLE001 - a rebalance under way took the partitions; it seeks itself
            self.log.warning("not sought back to the committed offsets: %r", error)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ignore gaps in offsets: compaction, markers of transactions, and every chunk make them."""

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        if acked:
            self._safe[tp] = max(acked) + 1
            acked.clear()
            self._acked_index[tp].clear()
        return self._safe.get(tp)

    async def _commit_offsets(self, offsets: Committed, start_new_transaction: bool = True) -> bool:
        await self.app.producer.flush()
        mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        if not mine or not await self._commit(mine):
            return False
        self._committed_offset.update(mine)
        self.app.monitor.on_tp_commit(mine)
        return True
