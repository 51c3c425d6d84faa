"""Read topics completely: continuously, as every worker does with compacted topics, or once up to their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from streams.kafka import clients
from streams.settings import Settings

OnRecord = Callable[[Any], None]
"""Called with every record, in the order of each partition."""
READ_TIMEOUT = 60.0
"""Seconds in which a topic must have been read to its end."""


class GlobalTopicReader:
    """Reads topics from their beginning and continues with new records.

    It belongs to no consumer group, so every worker reads all records.

    Args:
        settings: the broker's address and the security settings.
        topics: full names of the topics.
        on_record: called with every record.

    Attributes:
        caught_up: set when the reader has reached the end offsets that the topics had when it started.
    """

    def __init__(self, settings: Settings, topics: list[str], on_record: OnRecord) -> None:
        self.caught_up = asyncio.Event()
        self._settings = settings
        self._topics = topics
        self._on_record = on_record

    async def run(self) -> None:
        """Read until cancelled; while the broker is unavailable, retry every second."""
        while True:
            consumer = clients.consumer(
                self._settings,
                *self._topics,
                group_id=None,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
            )
            try:
                await consumer.start()
                await self._read(consumer)
            except KafkaError:
                await asyncio.sleep(1.0)
            finally:
                await consumer.stop()

    async def _read(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while True:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    self._on_record(record)
            if not self.caught_up.is_set() and await has_reached(consumer, ends):
                self.caught_up.set()


async def read_all(settings: Settings, topic: str) -> list[Any]:
    """Read a topic from its beginning to its current end.

    Raises:
        TimeoutError: the end was not reached within `READ_TIMEOUT`.
    """
    records: list[Any] = []
    reader = GlobalTopicReader(settings, [topic], records.append)
    reading = asyncio.ensure_future(reader.run())
    caught_up = asyncio.ensure_future(reader.caught_up.wait())
    await asyncio.wait([reading, caught_up], timeout=READ_TIMEOUT, return_when="FIRST_COMPLETED")
    if not reading.done():
        reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    if not caught_up.done():
        caught_up.cancel()
        raise TimeoutError(f"{topic} could not be read to its end within {READ_TIMEOUT:.0f} s")
    return records


async def read_compacted(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """Read the current state of a compacted topic: the newest value of every key."""
    values: dict[bytes, bytes] = {}
    for record in await read_all(settings, topic):
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
    return values


async def has_reached(consumer: aiokafka.AIOKafkaConsumer, ends: dict[aiokafka.TopicPartition, int]) -> bool:
    """Return whether a consumer has read up to these end offsets."""
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True
