"""The tick writer: tells the log that time passed, one small record per partition and interval."""

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
    pulses: Callable[[], dict[int, ActivityMonitor]],
    inputs: set[aiokafka.TopicPartition],
    metrics: Metrics,
) -> None:
    """Write ticks to the partitions this worker owns, for ever; with `clock = source` somebody else does.

    They tell no time beyond that up to which ingest has appended the inputs. Until it has ever said so, they wait if
    the inputs hold anything; empty ones mean that everybody writes to the log itself.
    """
    held = False

    def gauges() -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_clock_held", ()): float(held)}

    metrics.watch(gauges)
    while settings.clock == "wall":
        await asyncio.sleep(settings.tick_every)
        now, owned = wall(), pulses()
        held = ticker.holds(list(owned.values()), now)
        if not held and not (ticker.awaits_ingest() and await anything_in(settings, inputs)):
            put_ticks(sender, settings, pulses(), ticker.tick_time(now))


async def anything_in(settings: Settings, places: set[aiokafka.TopicPartition]) -> bool:
    """Return whether any of some partitions holds a record; also where the broker does not say."""
    if not places:
        return False
    consumer = clients.consumer(settings)
    try:
        await consumer.start()
        consumer.assign(list(places))
        begins = await consumer.beginning_offsets(list(places))
        ends = await consumer.end_offsets(list(places))
    except (KafkaError, OSError):
        return True
    finally:
        await consumer.stop()
    return any(begins[place] < ends[place] for place in places)


def put_ticks(sender: Sender, settings: Settings, partitions: Iterable[int], now: float) -> None:
    """Write one tick to each of some partitions."""
    tick = event_codec.encode(ev.Tick(time=now))
    for partition in partitions:
        sender.enqueue(name(settings, topics.EVENTS), None, tick, partition)
