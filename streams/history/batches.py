"""Many records at once: batches to partitions of a topic, and how far groups have come with what was written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient

from streams.delivery.batching import Headers

BATCH_BYTES = 900_000


class RecordToSend(NamedTuple):
    """A record to be written; the time is in seconds since 1970 UTC."""

    key: bytes | None
    value: bytes
    time: float
    headers: Headers | None = None


class BatchProducer:
    """Writes to one topic.

    Args:
        producer: with batches of `BATCH_BYTES`.
        topic: its full name.
        partitions: how many it has.

    Attributes:
        ends: where each partition ended after what was last written to it; 0 before that.
    """

    def __init__(self, producer: aiokafka.AIOKafkaProducer, topic: str, partitions: int) -> None:
        self.ends = [0] * partitions
        self._producer = producer
        self._topic = topic

    async def write(self, lines: Sequence[Sequence[RecordToSend]]) -> None:
        """Write rows to partitions, one sequence for each, in order; return when they are there."""
        await asyncio.gather(*(self._write(place, rows) for place, rows in enumerate(lines) if rows))

    async def _write(self, place: int, rows: Sequence[RecordToSend]) -> None:
        """Write rows to a partition in as few batches as hold them."""
        done = 0
        while done < len(rows):
            batch, begun = self._producer.create_batch(), done
            for key, value, time, headers in rows[done:]:
                if batch.append(key=key, value=value, timestamp=int(time * 1_000), headers=headers or []) is None:
                    break
                done += 1
            written = await self._producer.send_batch(batch, self._topic, partition=place)
            self.ends[place] = (await written).offset + done - begun


async def committed(admin: AIOKafkaAdminClient, group: str, topic: str, partitions: int) -> list[int]:
    """Return how far a group has come with each partition of a topic; 0 where it has committed nothing."""
    places = [aiokafka.TopicPartition(topic, number) for number in range(partitions)]
    found = await admin.list_consumer_group_offsets(group, partitions=places)
    return [max(0, found[place].offset) for place in places]
