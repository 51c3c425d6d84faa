"""The consumer's thread: read_committed, heartbeats that renew the lease, commits bound to their generation."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

import aiokafka
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import IllegalGenerationError, IllegalStateError, KafkaError
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.delivery.lease import PartitionLease
from streams.kafka.clients import FATAL_GROUP_ERRORS

Committed = Mapping[TP, int]


class ConsumerSettings(Protocol):
    """What the consumer needs from its app."""

    chunk: int
    fetch_wait_ms: int
    lease: PartitionLease
    refused: BaseException | None


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only (Faust also reads those of aborted transactions), and binds commits.

    A commit is valid for the generation in which its offsets were chosen. aiokafka would repeat it in a newer one, in
    which another worker may own the partitions.
    """

    committing = -1

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        in_transaction = self.consumer.in_transaction
        self.consumer.in_transaction = True  # the only way to make Faust read committed records
        try:
            consumer = super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = in_transaction
        # Faust has no setting for this value.
        consumer._fetch_max_wait_ms = cast(ConsumerSettings, self.consumer.app).fetch_wait_ms
        return consumer

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing. Faust's watchdog looks for streams that stand still, and does harm here.

        It asks aiokafka for the position of a partition that has none yet, right after an assignment. The assertion
        that follows ends the worker. It also reports every changelog as idle, because no stream reads it.
        """

    async def on_start(self) -> None:
        """Start. Every heartbeat that Kafka answers renews the lease, and every commit checks its generation.

        Without the lease, a worker that was frozen could write to partitions that have another owner.
        """
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat, commit, lease = coordinator._do_heartbeat, coordinator._do_commit_offsets, self._lease

        async def heartbeat() -> bool:
            since = lease.now()
            alive = bool(await beat())
            if alive:
                lease.renew(since)
            return alive

        async def commit_of_generation(assignment: Any, offsets: Any) -> None:
            if coordinator.generation != self.committing:
                raise IllegalGenerationError(f"chosen in generation {self.committing}, now {coordinator.generation}")
            await commit(assignment, offsets)

        coordinator._do_heartbeat, coordinator._do_commit_offsets = heartbeat, commit_of_generation

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start the lease: it holds while the coordinator knows this member."""
        coordinator: GroupCoordinator = self._ensure_consumer()._coordinator
        self._lease.join(lambda: coordinator.generation >= 0)
        await super().on_partitions_assigned(assigned, generation_id)

    @property
    def _lease(self) -> PartitionLease:
        return cast(ConsumerSettings, self.consumer.app).lease

    async def seek_to_committed(self) -> Committed:
        """Seek to the committed offsets; without one, to the beginning (Faust leaves that position as it is)."""
        committed = await super().seek_to_committed()
        fresh = [tp for tp, offset in committed.items() if not offset and not self.consumer._is_changelog_tp(tp)]
        if fresh:
            await self.seek_to_beginning(*fresh)
        return committed

    def group_has_no_partitions(self) -> bool:
        """Return whether the last assignment gave no partition to any member.

        Faust keys assignments by web address, which workers may share: only their emptiness is reliable.
        """
        assignor = cast(PartitionAssignor, self.app.assignor)
        shares = [*assignor.tables_metadata().values(), *assignor.external_topics_metadata().values()]
        return not any(partitions for share in shares for partitions in share.values())

    async def admission_error(self) -> KafkaError | None:
        """Return the error that keeps this worker out of the group for good, if there is one.

        Faust checks for errors only when it fetches, and it fetches only as a member.
        """
        consumer = self._ensure_consumer()
        try:
            if not consumer.assignment():
                consumer._coordinator.check_errors()
        except KafkaError as error:
            return error if isinstance(error, FATAL_GROUP_ERRORS) else None
        return None

    async def rejoin(self) -> None:
        """Refresh the metadata and have the group reassign its partitions."""
        consumer = self._ensure_consumer()
        await consumer._client.force_metadata_update()
        consumer._coordinator.request_rejoin()

    async def rewind(self, offsets: Mapping[TP, int]) -> None:
        """Seek back to records that were fetched but not delivered. A position before them stays."""
        await self.call_thread(self._rewind, offsets)

    async def _rewind(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            with contextlib.suppress(IllegalStateError):  # another worker owns it now
                if await consumer.position(tp) > offset:
                    consumer.seek(tp, offset)
