"""The tick writer: tells the log that time passed, one small record per partition and interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from models import events as ev
from streams import topics
from streams.clock import Pulse, Ticker, wall
from streams.metrics import GaugeName, Metrics
from streams.sender import Sender
from streams.settings import Settings
from streams.topics import name


async def write_ticks(
    settings: Settings,
    sender: Sender,
    ticker: Ticker,
    pulses: Callable[[], dict[int, Pulse]],
    metrics: Metrics,
) -> None:
    """Write ticks to the partitions this worker owns, for ever; with `clock = source` somebody else does."""
    held = False

    def gauges() -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_clock_held", ()): float(held)}

    metrics.watch(gauges)
    while settings.clock == "wall":
        await asyncio.sleep(settings.tick_every)
        now, owned = wall(), pulses()
        held = ticker.holds(list(owned.values()), now)
        if not held:
            put_ticks(sender, settings, owned, now)


def put_ticks(sender: Sender, settings: Settings, partitions: Iterable[int], now: float) -> None:
    """Write one tick to each of some partitions."""
    tick = ev.encode(ev.Tick(time=now))
    for partition in partitions:
        sender.put(name(settings, topics.EVENTS), None, tick, partition)
