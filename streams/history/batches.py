"""Writes records in large batches to the partitions of a topic, and reads the offsets that a group has committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient

from streams.delivery.batching import Headers

BATCH_BYTES = 900_000


class RecordToSend(NamedTuple):
    """A record to write; the time is in seconds since 1970 UTC."""

    key: bytes | None
    value: bytes
    time: float
    headers: Headers | None = None


class BatchProducer:
    """Writes batches to one topic.

    Args:
        producer: created with batches of `BATCH_BYTES`.
        topic: its full name.
        partitions: how many partitions it has.

    Attributes:
        ends: the end offset of each partition after the last write to it; 0 before any write.
    """

    def __init__(self, producer: aiokafka.AIOKafkaProducer, topic: str, partitions: int) -> None:
        self.ends = [0] * partitions
        self._producer = producer
        self._topic = topic

    async def write(self, batches: Sequence[Sequence[RecordToSend]]) -> None:
        """Write records to partitions, one sequence for each, in order. Return when the broker has acknowledged all."""
        await asyncio.gather(*(self._write(partition, rows) for partition, rows in enumerate(batches) if rows))

    async def _write(self, partition: int, rows: Sequence[RecordToSend]) -> None:
        """Write records to a partition in as few batches as possible."""
        done = 0
        while done < len(rows):
            batch, start = self._producer.create_batch(), done
            for key, value, time, headers in rows[done:]:
                if batch.append(key=key, value=value, timestamp=int(time * 1_000), headers=headers or []) is None:
                    break
                done += 1
            acknowledged = await self._producer.send_batch(batch, self._topic, partition=partition)
            self.ends[partition] = (await acknowledged).offset + done - start


async def committed_offsets(admin: AIOKafkaAdminClient, group: str, topic: str, partitions: int) -> list[int]:
    """Return the offset that a group has committed for each partition of a topic; 0 where it has committed none."""
    topic_partitions = [aiokafka.TopicPartition(topic, number) for number in range(partitions)]
    found = await admin.list_consumer_group_offsets(group, partitions=topic_partitions)
    return [max(0, found[partition].offset) for partition in topic_partitions]
