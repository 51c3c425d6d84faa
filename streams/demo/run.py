"""The demo: a broker, a worker, and a platform whose people live fast and answer; all of it ends with the demo.

The platform's events go straight to the log, as from a platform that speaks Encore's format, and every step ends with
its ticks, since whoever sends history ticks for it. The platform holds back while the worker lags.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from aiokafka.errors import KafkaError

from streams import settings as settings_
from streams.clock import monotonic
from streams.demo.driver import DemoDriver
from streams.demo.kafka_link import KafkaLink
from streams.demo.source import DemoSource, SampleSource, SimulationSource
from streams.demo.state import DemoState
from streams.demo.summary import summary
from streams.demo.view import View
from streams.demo.worker import WorkerEnded, WorkerProcess, free_port
from streams.history.simulation.drift import DriftName
from streams.kafka import topics
from streams.kafka.embedded import EmbeddedBroker

WORKER = {
    "ENCORE_PARTITIONS": "4",
    "ENCORE_AGENTS": "users,courses,trainer",
    "ENCORE_CLOCK": "source",
    "ENCORE_EXPIRY": "log",
    "ENCORE_COMMIT_EVERY": "0.2",
    "ENCORE_PSEUDONYM_KEY": "demo",
    "ENCORE_EMBEDDED": "1",
    # Where everybody is new, the first labels say little of those who will stay.
    "ENCORE_LABELS_NEEDED": "2000",
}
"""The settings of the demo's worker, beside those of the play."""


def run(
    source: str = "simulation",
    forever: bool = False,
    seed: int = 1,
    days: float = 92,
    learners: int = 2_000,
    seconds: float = 120,
    drift: DriftName | None = None,
) -> int:
    """Play, show it, sum it up.

    Args:
        source: `simulation`, the platform that answers, or `sample`, of real history.
        forever: run on at the same speed until Ctrl-C; only the simulation can.
        seed: of the simulated lives.
        days: how long the simulation is.
        learners: how many people it has.
        seconds: how long it takes, as long as the worker keeps up.
        drift: what changes in the simulated world halfway.

    Returns:
        The exit code: 0 after the summary, 1 if the worker failed, 130 after Ctrl-C, 143 after SIGTERM.
    """
    play: DemoSource = SampleSource() if source == "sample" else SimulationSource(seed, days, learners, forever, drift)
    seen = DemoState(play.title, play.begins, play.ends, forever=forever and source == "simulation")
    return asyncio.run(_until_signal(_demo(play, seen, seconds)))


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end, or to a signal: then everything that was started is ended first."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    signals: list[int] = []

    def stop(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:  # a second one must not cut the ending short: it has its deadlines
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        return 128 + signals[0] if signals else 1


async def _demo(play: DemoSource, seen: DemoState, seconds: float) -> int:
    """Play with a broker and a worker of its own; whatever happens, both are gone afterwards."""
    environment = {**WORKER, **play.settings, "ENCORE_WEB_PORT": str(free_port())}
    broker = EmbeddedBroker(topics.partitions_of(settings_.load(environment)))
    view, began = View(seen), monotonic()
    try:
        broker.start()
    except RuntimeError as failure:
        return _failed(failure)
    try:
        await _play(play, seen, view, {**environment, "ENCORE_BROKER": broker.url}, seconds)
    except (WorkerEnded, KafkaError) as failure:
        return _failed(failure)
    finally:
        broker.close()
        # Also of what was seen until Ctrl-C, which is the only end that a demo which runs on has.
        if seen.now:
            view.say(summary(seen, monotonic() - began))
    return 0


def _failed(failure: Exception) -> int:
    sys.stderr.write(f"encore: {failure}\n")
    return 1


async def _play(play: DemoSource, seen: DemoState, view: View, environment: dict[str, str], seconds: float) -> None:
    chosen = settings_.load(environment)
    seen.horizon = chosen.horizon
    seen.knows_truth = play.truth is not None
    seen.page = f"http://127.0.0.1:{chosen.web_port}/metrics"
    async with KafkaLink(chosen) as wire, WorkerProcess(environment) as worker:
        with view:
            await DemoDriver(play, chosen.rules(), seen, wire, worker, view, seconds).play()
