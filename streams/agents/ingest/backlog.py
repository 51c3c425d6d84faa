"""Which input partitions have unread records, to the best of a consumer's knowledge."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TypeAlias

import aiokafka
from aiokafka.errors import IllegalStateError, KafkaError

from streams.clock import NOT_YET, boot_time, wall

Partition: TypeAlias = aiokafka.TopicPartition
QUERY_TIMEOUT = 1.0
"""Seconds in which the brokers have to say where their partitions end."""
RETRY_AFTER = 10.0
"""Seconds without a query after one that failed: other partitions do not wait for one without a leader."""
PAUSE_THRESHOLD = 0.5
"""Seconds between two clock checks from which the process counts as paused, so that fetched answers are old."""
CLOCK_CHECK_INTERVAL = 0.1
"""Seconds between two clock checks."""


class BacklogMonitor:
    """Finds the partitions that have unread records.

    A consumer's high watermark is as old as the last fetch response that contained the partition. A partition whose
    high watermark is old looks fully read, and the others overtake its backlog by days. So before any record passes,
    the monitor asks the brokers about a partition in two cases:

    - Its last response is older than the response with the queued records. Responses leave out partitions whose
      records wait to be taken from the consumer, and say nothing of records that arrived since.
    - The process was paused (stopped, or asleep with its machine). A response waited for it. Its high watermark is
      from the moment when the first record arrived, and does not include the backlog behind it.
    """

    def __init__(self) -> None:
        self._ends: dict[Partition, tuple[int, float]] = {}
        self._pauses = 0
        self._pauses_at_query: dict[Partition, int] = {}
        self._no_query_until = NOT_YET
        self._clock_checked = boot_time()

    async def watch_for_pauses(self) -> None:
        """Count the pauses of this process, until cancelled."""
        while True:
            self._check_clock()
            await asyncio.sleep(CLOCK_CHECK_INTERVAL)

    async def find_backlogged(
        self, consumer: aiokafka.AIOKafkaConsumer, queued: Collection[Partition]
    ) -> set[Partition]:
        """Return the consumer's partitions that have records behind those already fetched.

        Args:
            consumer: that reads the partitions.
            queued: the partitions of which fetched records are waiting.
        """
        self._check_clock()
        found = {partition for partition in consumer.assignment() if await self._has_unread(consumer, partition)}
        return found | await self._query(consumer, self._outdated(consumer, queued) - found)

    def _check_clock(self) -> None:
        before, self._clock_checked = self._clock_checked, boot_time()
        self._pauses += self._clock_checked - before > PAUSE_THRESHOLD

    def _outdated(self, consumer: aiokafka.AIOKafkaConsumer, queued: Collection[Partition]) -> set[Partition]:
        """Return the partitions whose known end is too old for what is queued."""
        assigned = consumer.assignment()
        responses = [consumer.last_poll_timestamp(partition) or 0 for partition in queued if partition in assigned]
        if not responses:
            return set()
        newest = max(responses)
        overtaken = {
            partition for partition in assigned.difference(queued) if self._updated_at(consumer, partition) < newest
        }
        doubted = {partition for partition in assigned if self._pauses_at_query.get(partition, 0) < self._pauses}
        return overtaken | doubted

    def _updated_at(self, consumer: aiokafka.AIOKafkaConsumer, partition: Partition) -> float:
        """Return when the end of a partition was last known, in milliseconds since 1970."""
        _, queried_at = self._ends.get(partition, (0, NOT_YET))
        return max(consumer.last_poll_timestamp(partition) or 0, queried_at)

    async def _query(self, consumer: aiokafka.AIOKafkaConsumer, partitions: set[Partition]) -> set[Partition]:
        """Ask the brokers where partitions end now; return those that have unread records."""
        if not partitions or boot_time() < self._no_query_until:
            return set()
        for _ in range(2):
            pauses = self._pauses
            try:
                ends = await asyncio.wait_for(consumer.end_offsets(list(partitions)), QUERY_TIMEOUT)
            except (KafkaError, TimeoutError):
                ends = {}
            self._check_clock()
            if self._pauses == pauses:  # else the answer may have waited for this process
                break
        if not ends:
            self._no_query_until = boot_time() + RETRY_AFTER
        queried_at = wall() * 1000.0
        self._ends |= {partition: (end, queried_at) for partition, end in ends.items()}
        self._pauses_at_query |= dict.fromkeys(ends, pauses)
        return {partition for partition in partitions if await self._has_unread(consumer, partition)}

    async def _has_unread(self, consumer: aiokafka.AIOKafkaConsumer, partition: Partition) -> bool:
        try:
            position = await consumer.position(partition)
        except IllegalStateError:
            return False  # it has just been assigned to another worker
        return partition in consumer.assignment() and bool(position < self._known_end(consumer, partition))

    def _known_end(self, consumer: aiokafka.AIOKafkaConsumer, partition: Partition) -> int:
        """Return a partition's end: the newer one of the brokers' last answer and the consumer's high watermark."""
        end, queried_at = self._ends.get(partition, (0, NOT_YET))
        if queried_at < (consumer.last_poll_timestamp(partition) or 0):
            self._ends.pop(partition, None)
            end = 0
        return max(end, consumer.highwater(partition) or 0)
