"""Consumer lag as the broker sees it: end offsets of partitions minus the committed offsets of the groups."""

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
"""Returns the partitions that this worker reads now, by consumer group."""


async def watch_lag(settings: Settings, owned: OwnedPartitions, metrics: Metrics) -> None:
    """Measure the lag of the partitions of this worker every few seconds, until cancelled.

    Args:
        settings: the broker's address and the security settings.
        owned: the partitions by consumer group.
        metrics: exports the lag. While the broker does not answer, there is none.
    """
    lags: dict[tuple[GaugeName, tuple[str, ...]], float] = {}
    metrics.watch(lambda: lags)
    while True:
        try:
            lags = {}
            for group, partitions in owned().items():
                for partition, lag in (await lag_of(settings, group, partitions)).items():
                    lags["encore_lag_records", (group, partition.topic, str(partition.partition))] = lag
        except (KafkaError, OSError):
            lags = {}
        await asyncio.sleep(POLL_SECONDS)


async def lag_of(
    settings: Settings, group: str, partitions: set[aiokafka.TopicPartition]
) -> dict[aiokafka.TopicPartition, int]:
    """Return how many records of each partition a group has not committed."""
    if not partitions:
        return {}
    consumer = clients.consumer(settings, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(partitions))
        ends = await consumer.end_offsets(list(partitions))
        begins = await consumer.beginning_offsets(list(partitions))
        lags = {}
        for partition in partitions:
            committed = await consumer.committed(partition)
            lags[partition] = max(0, ends[partition] - (begins[partition] if committed is None else committed))
        return lags
    finally:
        await consumer.stop()
