"""What every worker reads of the compacted topics: the newest model, the campaigns, what operators said."""

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
READ_TIMEOUT = 60.0


class GlobalTopicReader:
    """Reads topics from the beginning and goes on; `caught_up` once it has reached where they ended at the start.

    It belongs to no consumer group: every worker hears everything.
    """

    def __init__(self, settings: Settings, topics: list[str], heard: OnRecord) -> None:
        self.caught_up = asyncio.Event()
        self._settings = settings
        self._topics = topics
        self._heard = heard

    async def run(self) -> None:
        """Read until cancelled; a broker that is away for a while is waited for."""
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
                    self._heard(record)
            if not self.caught_up.is_set() and await has_reached(consumer, ends):
                self.caught_up.set()


async def read_all(settings: Settings, topic: str) -> list[Any]:
    """Read a topic from its beginning to where it ends now."""
    records: list[Any] = []
    broadcast = GlobalTopicReader(settings, [topic], records.append)
    reading = asyncio.ensure_future(broadcast.run())
    caught_up = asyncio.ensure_future(broadcast.caught_up.wait())
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
    """Read a compacted topic as it stands: the newest value of every key."""
    values: dict[bytes, bytes] = {}
    for record in await read_all(settings, topic):
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value
    return values


async def has_reached(consumer: aiokafka.AIOKafkaConsumer, ends: dict[aiokafka.TopicPartition, int]) -> bool:
    """Return whether a consumer stands at or behind these ends."""
    for place, end in ends.items():
        if await consumer.position(place) < end:
            return False
    return True
