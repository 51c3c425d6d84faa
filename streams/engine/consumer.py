"""Chunked delivery: a Faust consumer that delivers up to `chunk` records of a partition as one message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode import Service

from streams.delivery.lease import Fenced, LeaseState
from streams.engine.consumer_thread import Committed, ConsumerSettings, ConsumerThread
from streams.engine.producer import Producer
from streams.engine.recovery import BatchRecovery
from streams.engine.table import WriteBehindTable

MEMBERSHIP_CHECK_INTERVAL = 3.0
"""Seconds between two checks of what the group has given this worker."""


class Chunk(ConsumerMessage):
    """Records of a partition as one message. It is acknowledged only if an agent processed it in its generation.

    Without its compiled parts, Faust also acknowledges messages that it skips: those of an earlier generation, and
    those that wait during a rebalance. `processed` keeps their offsets from being committed.
    """

    processed = False

    def on_final_ack(self, consumer: Any) -> bool:
        """Acknowledge to the consumer, unless the chunk was skipped."""
        if not self.processed or self.generation_id != consumer.app.consumer_generation_id:
            self.acked = True
            return False
        return bool(consumer.ack(self))


class ChunkConsumer(driver.Consumer):
    """Delivers chunks, and commits acknowledged offsets in order.

    One agent of concurrency 1 reads each partition, so chunks are acknowledged in the order of their delivery. The
    newest acknowledged offset covers all earlier ones, and Faust's bookkeeping of gaps is not needed. A commit waits
    for the acknowledgement of everything enqueued before it. A failed commit is tried again: the offset stays noted
    until the broker has it.

    Between a revocation and the end of the next recovery, only changelogs are fetched. Faust would let its fetcher
    continue and clear its queues when streams resume: records that arrived in between would be lost.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._committable: dict[TP, int] = {}  # the acknowledged offset of each partition
        self._delivering = False  # whether topics other than changelogs are fetched
        self._revocations = 0  # tells a fetch that a revocation came while it waited
        self._generation = -1  # the generation that may commit; -1 if none may

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Fetch records and yield them as chunks. Changelog records come one by one, as Faust's recovery expects."""
        revocations = self._revocations
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if not records or self.should_stop:
            return
        if not self.flow_active or self._revocations != revocations:
            await self._thread.rewind({tp: batch[0].offset for tp, batch in records.items() if batch})
            return
        for tp, batch in records.items():
            if not batch or not (active is None or tp in active or tp in self._buffered_partitions):
                continue
            if self._recovers_batches and self._is_changelog_tp(tp):
                cast(BatchRecovery, self._recovery).apply(tp, batch)
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            for message in self._messages(tp, batch):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, message

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit before Faust drops the acknowledged offsets, so that the next owner starts where this one stopped.

        If the worker is no longer a member, the next owner has started already: everything uncommitted is void.
        """
        self._delivering = False
        self._revocations += 1
        if cast(ConsumerSettings, self.app).lease.state is LeaseState.LOST:
            self._void()
        else:
            await self.commit()
        self._generation = -1
        for tp in revoked:
            self._committable.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Discard earlier acknowledgements: the state that they changed may have another owner now.

        If the sender discarded records because the membership was lost, everything done meanwhile is void.
        """
        if cast(Producer, self.app.producer).sender.take_voided():
            self._void()
        self._committable.clear()
        for tp in list(self._acked):
            self._acked.pop(tp, None)
            self._acked_index.pop(tp, None)
        self._generation = generation_id
        await super().on_partitions_assigned(assigned, generation_id)

    def resume_flow(self) -> None:
        """Resume messages. Topics other than changelogs follow when recovery is over and positions are set."""
        super().resume_flow()
        self._delivering = not self.app.in_recovery

    @Service.task
    async def _fail_if_not_admitted(self) -> None:
        async for _ in self.itertimer(MEMBERSHIP_CHECK_INTERVAL, name="admission"):
            if self._thread._consumer is not None:
                error = await self._thread.call_thread(self._thread.admission_error)
                if error is not None:
                    cast(ConsumerSettings, self.app).refused = error

    @Service.task
    async def _rejoin_if_group_is_empty(self) -> None:
        """Rejoin the group if the last assignment gave no partition to any member.

        This happens if the group's leader had no metadata, for example right after a broker restart. Faust assigns
        the partitions that it knows and would never ask again.
        """
        async for _ in self.itertimer(MEMBERSHIP_CHECK_INTERVAL, name="empty group"):
            settled = self._delivering and not self.app.rebalancing and not self.app.in_recovery
            if settled and self._thread.group_has_no_partitions():
                self.log.warning("no member of the group has a partition: rejoining")
                await self._thread.call_thread(self._thread.rejoin)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Fetch. During a rebalance, only changelogs: Faust would fetch and then drop records of the other topics."""
        wanted = {tp for tp in active_partitions or () if self._delivering or self._is_changelog_tp(tp)}
        if not wanted:
            await self.sleep(0.05)
            return {}
        return await super()._getmany(wanted, timeout)

    @property
    def _recovery(self) -> Recovery:
        return cast(TableManager, self.app.tables).recovery

    @property
    def _recovers_batches(self) -> bool:
        return isinstance(self._recovery, BatchRecovery)

    @property
    def _tables(self) -> list[WriteBehindTable]:
        return [table for table in self.app.tables.values() if isinstance(table, WriteBehindTable)]

    def _messages(self, tp: TP, batch: list[Any]) -> list[ConsumerMessage]:
        if self._is_changelog_tp(tp):
            return [self._to_message(tp, record) for record in batch]
        size = cast(ConsumerSettings, self.app).chunk
        return [self._chunk(tp, batch[start : start + size]) for start in range(0, len(batch), size)]

    def _chunk(self, tp: TP, records: list[Any]) -> Chunk:
        last = records[-1]
        return Chunk(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            records,  # type: ignore[arg-type]  # a chunk is a list of records; the agent's schema passes it on
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit acknowledged offsets after writing changed state, in small slices while no rebalance is running."""
        if self._delivering:
            for table in self._tables:
                await table.listener.write_ahead()
        return bool(await super().commit(topics, start_new_transaction))

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ignore gaps in offsets: compaction, transaction markers and every chunk cause them."""

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit until a commit succeeds. Faust returns it once, so a failed commit loses it."""
        acked = self._acked[tp]
        if acked:
            self._committable[tp] = max(acked) + 1
            acked.clear()
            self._acked_index[tp].clear()
        return self._committable.get(tp)

    async def _commit_offsets(self, offsets: Committed, start_new_transaction: bool = True) -> bool:
        """Commit offsets of the current generation, after the state that they stand for is in the changelog.

        Faust checks neither the generation nor for other writers, and notes offsets as committed after a failed commit.
        """
        generation = self._generation
        if generation < 0 or not await self._flush_state():
            return False
        mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        self._thread.committing = generation
        if not mine or not await self._commit(mine):
            return False
        self._committed_offset.update(mine)
        self.app.monitor.on_tp_commit(mine)
        return True

    async def _flush_state(self) -> bool:
        """Wait until all state is in the changelog, and no other worker has written over it."""
        await self.app.producer.flush()
        try:
            for table in self._tables:
                while await table.listener.resolve_conflicts():
                    await self.app.producer.flush()
        except Fenced as error:
            self.log.warning("another worker owns a partition of this one (%s): rejoining the group", error)
            self._void()
            await self._thread.call_thread(self._thread.rejoin)
            return False
        return True

    def _void(self) -> None:
        """Discard everything done in this generation since the last commit."""
        self._generation = -1
        for table in self._tables:
            table.listener.on_partitions_lost()
