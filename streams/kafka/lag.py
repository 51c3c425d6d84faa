"""Lag as the broker sees it: where partitions end, less what the groups have committed there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiokafka
from aiokafka.errors import KafkaError

from streams.kafka import clients
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

POLL_SECONDS = 5.0

OwnedPartitions = Callable[[], dict[str, set[aiokafka.TopicPartition]]]


async def watch_lag(settings: Settings, owned: OwnedPartitions, metrics: Metrics) -> None:
    """Ask the broker every few seconds how far the partitions that this worker owns are behind, for ever.

    Args:
        settings: which broker.
        owned: the partitions by consumer group.
        metrics: where the figures are shown.
    """
    lags: dict[tuple[GaugeName, tuple[str, ...]], float] = {}
    metrics.watch(lambda: lags)
    while True:
        try:
            lags = {}
            for group, places in owned().items():
                for place, lag in (await lag_of(settings, group, places)).items():
                    lags["encore_lag_records", (group, place.topic, str(place.partition))] = lag
        except (KafkaError, OSError):
            lags = {}
        await asyncio.sleep(POLL_SECONDS)


async def lag_of(
    settings: Settings, group: str, places: set[aiokafka.TopicPartition]
) -> dict[aiokafka.TopicPartition, int]:
    """Return how many records of each partition a group has not committed."""
    if not places:
        return {}
    consumer = clients.consumer(settings, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(places))
        ends = await consumer.end_offsets(list(places))
        begins = await consumer.beginning_offsets(list(places))
        lags = {}
        for place in places:
            committed = await consumer.committed(place)
            lags[place] = max(0, ends[place] - (begins[place] if committed is None else committed))
        return lags
    finally:
        await consumer.stop()
