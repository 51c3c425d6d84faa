"""What stands in the inputs and nobody has read, as far as a consumer can know it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TypeAlias

import aiokafka
from aiokafka.errors import IllegalStateError, KafkaError

from streams.clock import NOT_YET, boot_time, wall

Place: TypeAlias = aiokafka.TopicPartition
PATIENCE = 1.0
"""Seconds in which a broker says how far its partitions go."""
ASKED_AGAIN = 10.0
"""Seconds for which nobody is asked who did not answer: the others do not wait for a partition without a leader."""
STOOD_STILL = 0.5
"""Seconds without a look at the clock after which what came in between is old."""
LOOKS = 0.1
"""Seconds between two looks at the clock."""


class BacklogMonitor:
    """Tells which partitions have records that were not read.

    A consumer's high-water mark is as old as the last answer that told of the partition, and a partition whose mark is
    old looks read to its end: others pass its backlog by days. So a partition is asked about before anything goes:

    - if its last answer is older than that with the records on offer: answers leave out partitions whose records wait
      to be taken, and say nothing of what came to them since;
    - if this process has stood still (stopped, or asleep with its machine): the answer that waited for it tells of the
      moment when the first record came, not of the backlog behind it.
    """

    def __init__(self) -> None:
        self._ends: dict[Place, tuple[int, float]] = {}
        self._standstills = 0
        self._heard_after: dict[Place, int] = {}
        self._silent_until = NOT_YET
        self._looked = boot_time()

    async def watch(self) -> None:
        """Notice, until cancelled, whenever this process has stood still."""
        while True:
            self._look()
            await asyncio.sleep(LOOKS)

    async def of(self, consumer: aiokafka.AIOKafkaConsumer, offered: Collection[Place]) -> set[Place]:
        """Return the partitions of a consumer that have unread records, maybe behind those on offer."""
        self._look()
        found = {place for place in consumer.assignment() if await self._behind(consumer, place)}
        return found | await self._ask(consumer, self._not_told_of(consumer, found, offered))

    def _look(self) -> None:
        looked, self._looked = self._looked, boot_time()
        self._standstills += self._looked - looked > STOOD_STILL

    def _not_told_of(
        self, consumer: aiokafka.AIOKafkaConsumer, found: set[Place], offered: Collection[Place]
    ) -> set[Place]:
        """Return the partitions that seem read to their end, by an answer that is too old for what is on offer."""
        places = consumer.assignment()
        answers = [consumer.last_poll_timestamp(place) or 0 for place in offered if place in places]
        if not answers:
            return set()
        newest = max(answers)
        passed = {place for place in places.difference(offered) if self._heard_at(consumer, place) < newest}
        doubted = {place for place in places if self._heard_after.get(place, 0) < self._standstills}
        return (passed | doubted) - found

    def _heard_at(self, consumer: aiokafka.AIOKafkaConsumer, place: Place) -> float:
        """Return when the consumer heard of a partition, in milliseconds since 1970."""
        _, asked_at = self._ends.get(place, (0, NOT_YET))
        return max(consumer.last_poll_timestamp(place) or 0, asked_at)

    async def _ask(self, consumer: aiokafka.AIOKafkaConsumer, places: set[Place]) -> set[Place]:
        """Return which partitions have unread records after all, by what their brokers say now."""
        if not places or boot_time() < self._silent_until:
            return set()
        for _ in range(2):
            before = self._standstills
            try:
                ends = await asyncio.wait_for(consumer.end_offsets(list(places)), PATIENCE)
            except (KafkaError, TimeoutError):
                ends = {}
            self._look()
            if self._standstills == before:  # else what it says may have waited for us
                break
        if not ends:
            self._silent_until = boot_time() + ASKED_AGAIN
        asked_at = wall() * 1000.0
        self._ends |= {place: (end, asked_at) for place, end in ends.items()}
        self._heard_after |= dict.fromkeys(ends, before)
        return {place for place in places if await self._behind(consumer, place)}

    async def _behind(self, consumer: aiokafka.AIOKafkaConsumer, place: Place) -> bool:
        try:
            position = await consumer.position(place)
        except IllegalStateError:
            return False  # it has just gone to another worker
        return place in consumer.assignment() and bool(position < self._end(consumer, place))

    def _end(self, consumer: aiokafka.AIOKafkaConsumer, place: Place) -> int:
        """Return how far a partition goes, by the last that was heard of it."""
        end, asked_at = self._ends.get(place, (0, NOT_YET))
        if asked_at < (consumer.last_poll_timestamp(place) or 0):
            self._ends.pop(place, None)
            end = 0
        return max(end, consumer.highwater(place) or 0)
