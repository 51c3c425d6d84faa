"""Watermark alignment: reads several partitions together in order of event time, while any of them has a backlog.

If every partition is read as fast as possible, two topics drift days apart after an outage. A user who is silent in the
slower topic then looks lost. Here no partition runs more than a bound ahead of the slowest one that still has unread
records. Of the records that may pass, the earliest pass first: partitions that are each in order are merged in order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from operator import itemgetter
from typing import Generic, TypeVar

Partition = TypeVar("Partition")
Item = TypeVar("Item")
Queued = tuple[float, float, Partition, Item]
"""The item's turn (the latest event time so far in its partition), its own event time, its partition, and the item."""
NEVER = float("inf")
_turn = itemgetter(0)


class WatermarkAligner(Generic[Partition, Item]):
    """Holds back records that are too far ahead.

    The caller enqueues the items of a partition in the partition's order, and dequeues those that may pass. A
    partition with unread records but an empty queue holds all others at its last event time, without the bound. The
    caller has to read it next, and its next record may be earlier than all that is queued.

    Args:
        max_ahead: seconds by which an item may be ahead of the slowest partition.
    """

    def __init__(self, max_ahead: float) -> None:
        self._max_ahead = max_ahead
        self._queues: dict[Partition, list[Queued[Partition, Item]]] = {}
        self._last: dict[Partition, float] = {}

    def enqueue(self, partition: Partition, time: float, item: Item) -> None:
        """Queue an item of a partition, with its event time."""
        queue = self._queues.setdefault(partition, [])
        turn = queue[-1][0] if queue and queue[-1][0] > time else time
        queue.append((turn, time, partition, item))

    def is_empty(self, partition: Partition) -> bool:
        """Return whether a partition has no queued items, so that it should be read."""
        return not self._queues.get(partition)

    def dequeue(self, backlogged: Collection[Partition], assigned: set[Partition]) -> list[tuple[Partition, Item]]:
        """Remove and return the items that may pass, by event time, in each partition's order.

        Args:
            backlogged: the partitions that have records which are not enqueued yet.
            assigned: all partitions that are waited for.
        """
        limit = self._limit(backlogged, assigned)
        passing: list[Queued[Partition, Item]] = []
        for partition, queue in self._queues.items():
            count = bisect_right(queue, limit, key=_turn)
            if count:
                passing += queue[:count]
                del queue[:count]
                self._last[partition] = max(passing[-1][0], self._last.get(partition, 0.0))
        passing.sort(key=_turn)
        return [(partition, item) for _, _, partition, item in passing]

    def drop(self, partitions: set[Partition]) -> None:
        """Forget partitions that another worker reads now."""
        for partition in partitions:
            self._queues.pop(partition, None)
            self._last.pop(partition, None)

    def known_partitions(self) -> set[Partition]:
        """Return the partitions that have had items."""
        return set(self._queues) | set(self._last)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def _limit(self, backlogged: Collection[Partition], assigned: set[Partition]) -> float:
        """Return the event time up to which items may pass.

        Nothing passes that is later than the last known item of a backlogged partition: its next record is not known.
        """
        limit = NEVER
        for partition in assigned:
            queue, last = self._queues.get(partition), self._last.get(partition, float("-inf"))
            if queue:
                limit = min(limit, queue[0][1] + self._max_ahead)
                last = max(last, queue[-1][0])
            if partition in backlogged:
                limit = min(limit, last)
        return limit
