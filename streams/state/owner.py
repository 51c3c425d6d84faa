"""A partitioned store: recovers, owns and writes the values of the partitions that a worker has.

It is the listener of its Faust table. Faust reports what recovery reads, and which partitions come and go. The agents
derive from it and decide what happens to the values.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from streams.clock import monotonic
from streams.delivery.batching import OutgoingRecord
from streams.delivery.sender import Sender
from streams.settings import Settings
from streams.state.changelog import fence_from_headers, fence_headers, read_range
from streams.state.partition import ChangelogRecord, ChangelogWriter, Pair, StorePartition

Partition = TypeVar("Partition", bound=StorePartition[Any])


class PartitionedStore(ABC, Generic[Partition]):
    """Holds the values of the partitions that this worker owns.

    Args:
        sender: returns the sender that writes the changelog; called after the worker has started.
        settings: settings of the worker.
        changelog: full name of the changelog topic.
    """

    def __init__(self, sender: Callable[[], Sender], settings: Settings, changelog: str) -> None:
        self.recovery_seconds = 0.0
        self.recovered_keys = 0
        self._get_sender = sender
        self._settings = settings
        self._changelog = changelog
        self._stores: dict[int, Partition] = {}
        self._acquired: set[int] = set()
        self._rebalance_started_at = monotonic()
        self._lost = False

    # -- what agents implement

    @abstractmethod
    def _create_partition(self, partition: int, write: ChangelogWriter) -> Partition:
        """Return a partition: empty, or with what a disk store has of it."""

    @abstractmethod
    def _on_acquired(self, partition: int) -> None:
        """Start to apply a partition. It is recovered to the end of the changelog, and a new epoch has begun."""

    @abstractmethod
    def _on_released(self, partition: int) -> None:
        """Stop applying a partition: it went to another worker, or will be acquired again."""

    @abstractmethod
    def _flush_partition(self, partition: int) -> None:
        """Write every changed value of an acquired partition."""

    # -- listener of the table

    def restore(self, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Take recovered records of the changelog."""
        values = self._partition(partition)
        for record in records:
            values.restore(
                record.key, record.value, fence_from_headers(record.headers) if record.value is None else None
            )
        values.cold.advance(max(records[-1].offset, values.cold.position))

    def recovered(self, partitions: set[int]) -> None:
        """Acquire the partitions that are new; the others continue."""
        self.drop(set(self._stores) - partitions)
        acquired = {partition for partition in partitions if self._must_acquire(partition)}
        for partition in sorted(acquired):
            self._release_partition(partition)
            self._partition(partition).acquire()
            self._on_acquired(partition)
            self._acquired.add(partition)
        self._lost = False
        self.recovered_keys = sum(len(self._stores[partition]) for partition in acquired)
        self.recovery_seconds = monotonic() - self._rebalance_started_at

    def on_rebalance_started(self) -> None:
        """Note that partitions were reassigned and recovery begins."""
        self._rebalance_started_at = monotonic()

    def drop(self, partitions: set[int]) -> None:
        """Drop partitions that went to another worker."""
        for partition in partitions:
            values = self._stores.pop(partition, None)
            if values is not None:
                values.cold.close()
            self._release_partition(partition)

    def on_partitions_lost(self) -> None:
        """End the epoch of every partition. What comes back is acquired again, from the changelog."""
        self._lost = True
        for partition, values in self._stores.items():
            values.release()
            self._release_partition(partition)

    def close(self) -> None:
        """Drop all partitions when the worker ends."""
        self.drop(set(self._stores))

    async def resolve_conflicts(self) -> bool:
        """Read what other workers wrote between this worker's records, and write the affected keys again.

        Returns:
            Whether something was written, so that the changelog must be flushed and checked again.

        Raises:
            Fenced: another owner has a higher fence; nothing of this worker may be committed.
        """
        written = False
        for partition, values in list(self._stores.items()):
            while values.gaps:
                gap = values.gaps[0]
                for record in await read_range(self._settings, self._changelog, partition, gap):
                    values.on_foreign_record(record.key, record.value, fence_from_headers(record.headers))
                values.close_gap(gap)
            if values.rewrite_overwritten() and partition in self._acquired:
                self._flush_partition(partition)
                written = True
        return written

    def persisted_offset(self, partition: int) -> int | None:
        """Return the changelog offset up to which the partition is complete; None before the first record."""
        position = self._partition(partition).cold.position
        return None if position < 0 else position

    def flush(self) -> None:
        """Write every changed value. The offsets to commit are chosen right after."""
        for partition in sorted(self._acquired):
            self._flush_partition(partition)

    async def write_ahead(self) -> None:
        """Write changed values in small slices, so that `flush` has little left to do."""

    @property
    def _sender(self) -> Sender:
        return self._get_sender()

    def _must_acquire(self, partition: int) -> bool:
        """Whether a partition is new, or another owner had it meanwhile, whatever Faust reports."""
        return partition not in self._acquired or not self._partition(partition).owned

    def _release_partition(self, partition: int) -> None:
        if partition in self._acquired:
            self._acquired.discard(partition)
            self._on_released(partition)

    def _partition(self, partition: int) -> Partition:
        if partition not in self._stores:
            self._stores[partition] = self._create_partition(partition, partial(self._write, partition))
        return self._stores[partition]

    async def _stop(self, error: Exception) -> None:
        """Fail the worker and never return: Faust would otherwise acknowledge the chunk and continue."""
        self._sender.fail(error)
        await asyncio.Event().wait()

    def _write(
        self, partition: int, pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Any]:
        values = self._stores[partition]
        rows = [
            OutgoingRecord(key, value, fence_headers(values.fence) if value is None else None) for key, value in pairs
        ]
        written = self._sender.enqueue_all(self._changelog, partition, rows, after)
        written.add_done_callback(partial(_on_written, values, pairs, values.fence))
        return written


def _on_written(
    values: StorePartition[Any], pairs: Sequence[Pair], fence: int, written: asyncio.Future[list[int]]
) -> None:
    if not written.cancelled() and written.exception() is None:
        for (key, value), offset in zip(pairs, written.result(), strict=True):
            values.on_acknowledged(key, value, offset, fence)
