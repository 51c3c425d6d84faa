"""The tick writer: writes the current time to the log, one small record per partition and interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import aiokafka
from aiokafka.errors import KafkaError

from models.schema import event_codec
from models.schema import events as ev
from streams.clock import ActivityMonitor, Ticker, wall
from streams.delivery.sender import Sender
from streams.kafka import clients, topics
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings


async def write_ticks(
    settings: Settings,
    sender: Sender,
    ticker: Ticker,
    monitors: Callable[[], dict[int, ActivityMonitor]],
    inputs: set[aiokafka.TopicPartition],
    metrics: Metrics,
) -> None:
    """Write ticks to the partitions that this worker owns, for ever; with `clock = source` another program does.

    A tick is never later than the time up to which ingest has appended the inputs. Until ingest has reported that time,
    ticks wait if the inputs contain a record. If the inputs are empty, all events are written to the log directly.
    """
    held = False

    def gauges() -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_clock_held", ()): float(held)}

    metrics.watch(gauges)
    while settings.clock == "wall":
        await asyncio.sleep(settings.tick_every)
        now, owned = wall(), monitors()
        held = ticker.holds(list(owned.values()), now)
        if not held and not (ticker.awaits_ingest() and await has_records(settings, inputs)):
            enqueue_ticks(sender, settings, monitors(), ticker.tick_time(now))


async def has_records(settings: Settings, partitions: set[aiokafka.TopicPartition]) -> bool:
    """Return whether any of the partitions contains a record; True if the broker does not answer."""
    if not partitions:
        return False
    consumer = clients.consumer(settings)
    try:
        await consumer.start()
        consumer.assign(list(partitions))
        begins = await consumer.beginning_offsets(list(partitions))
        ends = await consumer.end_offsets(list(partitions))
    except (KafkaError, OSError):
        return True
    finally:
        await consumer.stop()
    return any(begins[partition] < ends[partition] for partition in partitions)


def enqueue_ticks(sender: Sender, settings: Settings, partitions: Iterable[int], now: float) -> None:
    """Enqueue one tick for each partition."""
    tick = event_codec.encode(ev.Tick(time=now))
    for partition in partitions:
        sender.enqueue(name(settings, topics.EVENTS), None, tick, partition)
