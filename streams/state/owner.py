"""Whoever owns partitions of a table: values recovered, reigns begun and ended, and all of it written.

It is the table's keeper: Faust tells it what recovery read, which partitions it has and which it lost. What is done
with the values is up to those who own them: the agents.
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
from streams.state.changelog import between, fence_in, fenced
from streams.state.partition import ChangelogRecord, ChangelogWriter, Pair, StorePartition

Held = TypeVar("Held", bound=StorePartition[Any])


class PartitionedStore(ABC, Generic[Held]):
    """Keeps the values of the partitions this worker owns.

    Args:
        sender: what writes, once it is there.
        settings: the worker's.
        changelog: the full name of the table's changelog.
    """

    def __init__(self, sender: Callable[[], Sender], settings: Settings, changelog: str) -> None:
        self.recovery_seconds = 0.0
        self.brought_back = 0
        self._to = sender
        self._settings = settings
        self._changelog = changelog
        self._values: dict[int, Held] = {}
        self._begun: set[int] = set()
        self._given_at = monotonic()
        self._lost = False

    # -- what the agents add

    @abstractmethod
    def _made(self, partition: int, write: ChangelogWriter) -> Held:
        """Return an empty partition, or what a disk has of it."""

    @abstractmethod
    def _begin(self, partition: int) -> None:
        """Go on with a partition: its values stand as the changelog ends, and our reign has begun."""

    @abstractmethod
    def _end(self, partition: int) -> None:
        """Let go of a partition that was begun: it is another worker's, or our own anew."""

    @abstractmethod
    def _flush(self, partition: int) -> None:
        """Write every value of a begun partition that changed."""

    # -- the table's keeper

    def restore(self, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Take values from the changelog."""
        values = self._of(partition)
        for record in records:
            values.restore(record.key, record.value, fence_in(record.headers) if record.value is None else None)
        values.cold.reached(max(records[-1].offset, values.cold.position))

    def recovered(self, partitions: set[int]) -> None:
        """Begin to apply the partitions that came; those that stayed go on."""
        self.drop(set(self._values) - partitions)
        came = {partition for partition in partitions if self._ended(partition)}
        for partition in sorted(came):
            self._close(partition)
            self._of(partition).begin()
            self._begin(partition)
            self._begun.add(partition)
        self._lost = False
        self.brought_back = sum(len(self._values[partition]) for partition in came)
        self.recovery_seconds = monotonic() - self._given_at

    def given(self) -> None:
        """Partitions were given out anew: recovery begins."""
        self._given_at = monotonic()

    def drop(self, partitions: set[int]) -> None:
        """Forget partitions that went to another worker."""
        for partition in partitions:
            values = self._values.pop(partition, None)
            if values is not None:
                values.cold.close()
            self._close(partition)

    def lost(self) -> None:
        """End all reigns: whoever comes back begins anew, from what the changelog has."""
        self._lost = True
        for partition, values in self._values.items():
            values.abdicate()
            self._close(partition)

    def close(self) -> None:
        """Forget all partitions, at the end."""
        self.drop(set(self._values))

    async def unsettled(self) -> bool:
        """Look at what others wrote between our own records, and have written again what they wrote over.

        Raises:
            Dethroned: another owner began a reign; nothing of ours may be committed.
        """
        wrote = False
        for partition, values in list(self._values.items()):
            while values.gaps:
                gap = values.gaps[0]
                for record in await between(self._settings, self._changelog, partition, gap):
                    values.met(record.key, record.value, fence_in(record.headers))
                values.filled(gap)
            if values.settle() and partition in self._begun:
                self._flush(partition)
                wrote = True
        return wrote

    def persisted(self, partition: int) -> int | None:
        """Return how far the changelog of a partition is in what we hold."""
        position = self._of(partition).cold.position
        return None if position < 0 else position

    def flush(self) -> None:
        """Write every value that changed; offsets are chosen right after."""
        for partition in sorted(self._begun):
            self._flush(partition)

    async def write_ahead(self) -> None:
        """Write what changed by now, in turns with everything else, so that `flush` has little left to do at once."""

    @property
    def _sender(self) -> Sender:
        return self._to()

    def _ended(self, partition: int) -> bool:
        """Whether a partition is new to us, or another owner had it meanwhile, whatever Faust says."""
        return partition not in self._begun or not self._of(partition).reigns

    def _close(self, partition: int) -> None:
        if partition in self._begun:
            self._begun.discard(partition)
            self._end(partition)

    def _of(self, partition: int) -> Held:
        if partition not in self._values:
            self._values[partition] = self._made(partition, partial(self._write, partition))
        return self._values[partition]

    async def _stop(self, error: Exception) -> None:
        """Fail the worker, and never come back: Faust would acknowledge the chunk and go on."""
        self._sender.fail(error)
        await asyncio.Event().wait()

    def _write(
        self, partition: int, pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Any]:
        values = self._values[partition]
        rows = [OutgoingRecord(key, value, fenced(values.fence) if value is None else None) for key, value in pairs]
        written = self._sender.enqueue_all(self._changelog, partition, rows, after)
        written.add_done_callback(partial(_written, values, pairs, values.fence))
        return written


def _written(
    values: StorePartition[Any], pairs: Sequence[Pair], fence: int, written: asyncio.Future[list[int]]
) -> None:
    if not written.cancelled() and written.exception() is None:
        for (key, value), offset in zip(pairs, written.result(), strict=True):
            values.logged(key, value, offset, fence)
