"""The changelog beyond what the table reads: fences of deletions, and what stands between our own records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiokafka

from streams.delivery.batching import Headers
from streams.kafka import clients
from streams.settings import Settings

FENCE_HEADER = "fence"
PATIENCE = 30.0


def fenced(fence: int) -> Headers:
    """Return the headers of a deletion, which has no value to carry the fence."""
    return [(FENCE_HEADER, b"%d" % fence)]


def fence_in(headers: Iterable[tuple[str, bytes]] | None) -> int | None:
    """Return the fence of a deletion, if it says."""
    found = dict(headers or ()).get(FENCE_HEADER)
    return int(found) if found and found.isdigit() else None


async def between(settings: Settings, topic: str, partition: int, offsets: range) -> list[Any]:
    """Read the records that stand at some offsets of a partition; where compaction took some, the others.

    Raises:
        KafkaError, asyncio.TimeoutError: they could not be read.
    """
    place, found = aiokafka.TopicPartition(topic, partition), list[Any]()
    consumer = clients.consumer(settings, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([place])
        consumer.seek(place, offsets.start)
        async with asyncio.timeout(PATIENCE):
            while await consumer.position(place) < offsets.stop:
                for records in (await consumer.getmany(place, timeout_ms=500)).values():
                    found += [record for record in records if record.offset < offsets.stop]
    finally:
        await consumer.stop()
    return found
