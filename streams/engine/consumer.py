"""Chunked delivery: Faust's consumer, handing on up to `chunk` records of a partition as one message."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast

import aiokafka
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalGenerationError, IllegalStateError, KafkaError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode import Service

from streams.delivery.lease import Fenced, LeaseState, PartitionLease
from streams.engine.producer import Producer
from streams.engine.recovery import BatchRecovery
from streams.engine.table import WriteBehindTable
from streams.kafka.clients import FATAL_GROUP_ERRORS

Committed = Mapping[TP, int]
IDLE_TOGETHER = 3.0


class ConsumerSettings(Protocol):
    """What the consumer asks of its app."""

    chunk: int
    fetch_wait_ms: int
    lease: PartitionLease
    refused: BaseException | None


class Chunk(ConsumerMessage):
    """Records of a partition as one message. It counts as done once it was `taken`, in the generation it came in.

    Faust without its compiled parts acknowledges what it skips, too: chunks of a generation that is over, and those
    that wait while partitions change hands.
    """

    taken = False

    def on_final_ack(self, consumer: Any) -> bool:
        """Tell the consumer, if there is something to tell."""
        if not self.taken or self.generation_id != consumer.app.consumer_generation_id:
            self.acked = True
            return False
        return bool(consumer.ack(self))


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads what transactions committed, and nothing of those that were aborted (Faust reads both).

    A commit is for the generation in which its offsets were chosen: aiokafka tries again with the newest, in which
    they may be somebody else's, and what they stand for may be void.
    """

    committing = -1

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        in_transaction = self.consumer.in_transaction
        self.consumer.in_transaction = True  # Faust's only way to ask for read_committed
        try:
            consumer = super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = in_transaction
        consumer._fetch_max_wait_ms = cast(ConsumerSettings, self.consumer.app).fetch_wait_ms  # Faust's own is fixed
        return consumer

    async def on_start(self) -> None:
        """Join, and from then on note what Kafka hears of us."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat, commit, lease = coordinator._do_heartbeat, coordinator._do_commit_offsets, self._lease

        async def noted() -> bool:
            since = lease.now()
            alive = bool(await beat())
            if alive:
                lease.renew(since)
            return alive

        async def committed(assignment: Any, offsets: Any) -> None:
            if coordinator.generation != self.committing:
                raise IllegalGenerationError(f"chosen in generation {self.committing}, now {coordinator.generation}")
            await commit(assignment, offsets)

        coordinator._do_heartbeat, coordinator._do_commit_offsets = noted, committed

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Hold what was given to us for as long as Kafka knows us."""
        coordinator: GroupCoordinator = self._ensure_consumer()._coordinator
        self._lease.join(lambda: coordinator.generation >= 0)
        await super().on_partitions_assigned(assigned, generation_id)

    @property
    def _lease(self) -> PartitionLease:
        return cast(ConsumerSettings, self.consumer.app).lease

    async def seek_to_committed(self) -> Committed:
        """Go back to what was committed; where nothing was, to the beginning (Faust leaves that position alone)."""
        committed = await super().seek_to_committed()
        fresh = [tp for tp, offset in committed.items() if not offset and not self.consumer._is_changelog_tp(tp)]
        if fresh:
            await self.seek_to_beginning(*fresh)
        return committed

    def nothing_given(self) -> bool:
        """Return whether the last assignment gave nobody anything.

        Distributions are by web address, which workers may share: only emptiness can be trusted.
        """
        assignor = cast(PartitionAssignor, self.app.assignor)
        shares = [*assignor.tables_metadata().values(), *assignor.external_topics_metadata().values()]
        return not any(partitions for share in shares for partitions in share.values())

    async def not_taken(self) -> KafkaError | None:
        """Return why the group never takes us; Faust asks only when it fetches, which it does once it was taken."""
        consumer = self._ensure_consumer()
        try:
            if not consumer.assignment():
                consumer._coordinator.check_errors()
        except KafkaError as error:
            return error if isinstance(error, FATAL_GROUP_ERRORS) else None
        return None

    async def rejoin(self) -> None:
        """Learn anew which topics there are, and have the group's partitions given out anew."""
        consumer = self._ensure_consumer()
        await consumer._client.force_metadata_update()
        consumer._coordinator.request_rejoin()

    async def rewind(self, offsets: Mapping[TP, int]) -> None:
        """Go back to offsets that were fetched but not delivered; a position that is further back already stays."""
        await self.call_thread(self._rewind, offsets)

    async def _rewind(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            with contextlib.suppress(IllegalStateError):  # it is not ours any more
                if await consumer.position(tp) > offset:
                    consumer.seek(tp, offset)


class ChunkConsumer(driver.Consumer):
    """Delivers chunks, and commits what was acknowledged in order.

    One agent of concurrency 1 reads each partition, so chunks are acknowledged in the order in which they were
    delivered: the newest acknowledged offset covers all before it, and Faust's gap bookkeeping has nothing to do. A
    commit happens only after everything that was handed to the producer before it has been acknowledged; one that
    failed is tried again, since what is safe stays noted until the broker has it.

    Between a revocation and the end of the recovery that follows, nothing but changelogs is fetched. Faust lets its
    fetcher run on and clears its queues when streams resume: what arrived in between was read, and never seen.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._safe: dict[TP, int] = {}
        self._open = False
        self._epoch = 0
        self._generation = -1

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Fetch records and yield them as chunks; those of a changelog one by one, as Faust's recovery wants them."""
        epoch = self._epoch
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if not records or self.should_stop:
            return
        if not self.flow_active or self._epoch != epoch:
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
        """Commit before Faust forgets what was acknowledged, so that the next owner starts where we stopped.

        Where Kafka does not know us any more, the next owner has begun already: what it does not have is void.
        """
        self._open = False
        self._epoch += 1
        if cast(ConsumerSettings, self.app).lease.state is LeaseState.LOST:
            self._lose()
        else:
            await self.commit()
        self._generation = -1
        for tp in revoked:
            self._safe.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Void what was acknowledged before: what it changed may belong to somebody else by now.

        Where something was let go of because Kafka did not know us for a while, all is void that we did meanwhile.
        """
        if cast(Producer, self.app.producer).sender.take_voided():
            self._lose()
        self._safe.clear()
        for tp in list(self._acked):
            self._acked.pop(tp, None)
            self._acked_index.pop(tp, None)
        self._generation = generation_id
        await super().on_partitions_assigned(assigned, generation_id)

    def resume_flow(self) -> None:
        """Let messages through; those that are not a changelog's once recovery is over and positions are sought."""
        super().resume_flow()
        self._open = not self.app.in_recovery

    @Service.task
    async def _joins_or_fails(self) -> None:
        async for _ in self.itertimer(IDLE_TOGETHER, name="joined"):
            if self._thread._consumer is not None:
                error = await self._thread.call_thread(self._thread.not_taken)
                if error is not None:
                    cast(ConsumerSettings, self.app).refused = error

    @Service.task
    async def _never_idle_together(self) -> None:
        """Join anew when the last assignment gave nobody anything.

        That happens when the group's leader had no metadata at that moment, as right after a broker came back: Faust
        gives out what it knows, and nothing would ever ask again.
        """
        async for _ in self.itertimer(IDLE_TOGETHER, name="idle together"):
            settled = self._open and not self.app.rebalancing and not self.app.in_recovery
            if settled and self._thread.nothing_given():
                self.log.warning("nobody was given any partition: joining the group anew")
                await self._thread.call_thread(self._thread.rejoin)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        wanted = {tp for tp in active_partitions or () if self._open or self._is_changelog_tp(tp)}
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
            records,  # type: ignore[arg-type]  # a chunk is a list of records; the agent's schema hands it through
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what was acknowledged, after what changed was written; while partitions stay, bit by bit."""
        if self._open:
            for table in self._tables:
                await table.listener.write_ahead()
        return bool(await super().commit(topics, start_new_transaction))

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
        generation = self._generation
        if generation < 0 or not await self._durable():
            return False
        mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        self._thread.committing = generation
        if not mine or not await self._commit(mine):
            return False
        self._committed_offset.update(mine)
        self.app.monitor.on_tp_commit(mine)
        return True

    async def _durable(self) -> bool:
        """Wait until all that was put is in the changelog, and nobody's word stands above it."""
        await self.app.producer.flush()
        try:
            for table in self._tables:
                while await table.listener.resolve_conflicts():
                    await self.app.producer.flush()
        except Fenced as error:
            self.log.warning("another worker has begun where we go on (%s): joining the group anew", error)
            self._lose()
            await self._thread.call_thread(self._thread.rejoin)
            return False
        return True

    def _lose(self) -> None:
        """Void what we did in this generation since the last commit."""
        self._generation = -1
        for table in self._tables:
            table.listener.on_partitions_lost()
