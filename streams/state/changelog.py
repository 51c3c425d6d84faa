"""Changelog records outside recovery: the fences of deletions, and the records of other writers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiokafka

from streams.delivery.batching import Headers
from streams.kafka import clients
from streams.settings import Settings

FENCE_HEADER = "fence"
READ_TIMEOUT = 30.0
"""Seconds."""


def fence_headers(fence: int) -> Headers:
    """Return the headers of a deletion. It has no value that could carry the fence."""
    return [(FENCE_HEADER, b"%d" % fence)]


def fence_from_headers(headers: Iterable[tuple[str, bytes]] | None) -> int | None:
    """Return the fence of a deletion, or None if its headers have none."""
    found = dict(headers or ()).get(FENCE_HEADER)
    return int(found) if found and found.isdigit() else None


async def read_range(settings: Settings, topic: str, partition: int, offsets: range) -> list[Any]:
    """Read the records in a range of offsets of a partition. Records that compaction has removed are missing.

    Raises:
        KafkaError, asyncio.TimeoutError: they could not be read.
    """
    place, found = aiokafka.TopicPartition(topic, partition), list[Any]()
    consumer = clients.consumer(settings, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([place])
        consumer.seek(place, offsets.start)
        async with asyncio.timeout(READ_TIMEOUT):
            while await consumer.position(place) < offsets.stop:
                for records in (await consumer.getmany(place, timeout_ms=500)).values():
                    found += [record for record in records if record.offset < offsets.stop]
    finally:
        await consumer.stop()
    return found
