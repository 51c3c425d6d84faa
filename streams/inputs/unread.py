"""What stands in the inputs and nobody has read, as far as a consumer can know it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TypeAlias

import aiokafka
from aiokafka.errors import IllegalStateError, KafkaError

from streams.clock import NOT_YET, monotonic

Place: TypeAlias = aiokafka.TopicPartition
PATIENCE = 1.0
"""Seconds in which a broker says how far its partitions go."""
ASKED_AGAIN = 10.0
"""Seconds for which nobody is asked who did not answer: the others do not wait for a partition without a leader."""


class Unread:
    """Tells which partitions have records that were not read.

    A consumer's high-water mark is as old as the last answer that told of the partition. Answers leave out a partition
    whose records wait to be taken, so what a partition had an answer ago says nothing of what came with this one: such
    a partition looks read to its end, and others pass its backlog by days. So one whose last answer is older than that
    with the records on offer is asked about.
    """

    def __init__(self) -> None:
        self._ends: dict[Place, int] = {}
        self._silent_until = NOT_YET

    def forget(self) -> None:
        """Begin anew, with other partitions."""
        self._ends = {}

    async def of(self, consumer: aiokafka.AIOKafkaConsumer, offered: Collection[Place]) -> set[Place]:
        """Return the partitions of a consumer that have unread records, maybe behind those on offer."""
        found = {place for place in consumer.assignment() if await self._behind(consumer, place)}
        old = self._not_told_of(consumer, found, offered)
        if old and await self._ask(consumer, old):
            found |= {place for place in old if await self._behind(consumer, place)}
        return found

    def _not_told_of(
        self, consumer: aiokafka.AIOKafkaConsumer, found: set[Place], offered: Collection[Place]
    ) -> list[Place]:
        """Return the partitions that seem read to their end, by an answer before the one with what is on offer."""
        places = consumer.assignment()
        answers = [consumer.last_poll_timestamp(place) or 0 for place in offered if place in places]
        if not answers:
            return []
        silent = (place for place in places if place not in found and place not in offered)
        return [place for place in silent if (consumer.last_poll_timestamp(place) or 0) < max(answers)]

    async def _ask(self, consumer: aiokafka.AIOKafkaConsumer, places: list[Place]) -> bool:
        if monotonic() < self._silent_until:
            return False
        try:
            self._ends |= await asyncio.wait_for(consumer.end_offsets(places), PATIENCE)
        except (KafkaError, TimeoutError):
            self._silent_until = monotonic() + ASKED_AGAIN
            return False
        return True

    async def _behind(self, consumer: aiokafka.AIOKafkaConsumer, place: Place) -> bool:
        try:
            position = await consumer.position(place)
        except IllegalStateError:
            return False  # it has just gone to another worker
        known = consumer.highwater(place) if place in consumer.assignment() else 0
        return bool(position < max(self._ends.get(place, 0), known or 0))
