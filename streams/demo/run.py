"""The demo: a broker, a worker and a simulated platform whose users respond to messages. All of it ends with the demo.

The platform writes its events directly into the log, in Encore's format. A sender of history must also send ticks, so
every step ends with ticks. The platform waits while the worker lags.
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
    # All users are new at first, and early labels say little about the users who stay.
    "ENCORE_LABELS_NEEDED": "2000",
}
"""The settings of the demo's worker, in addition to those of the source."""


def run(
    source: str = "simulation",
    forever: bool = False,
    seed: int = 1,
    days: float = 92,
    learners: int = 2_000,
    seconds: float = 120,
    drift: DriftName | None = None,
) -> int:
    """Play the demo, show it, and print a summary.

    Args:
        source: `simulation`, the simulated platform, or `sample`, recorded history.
        forever: continue at the same speed until Ctrl-C; only for the simulation.
        seed: of the simulated lives.
        days: how many days the simulation covers.
        learners: how many learners it has.
        seconds: how long the demo takes, if the worker keeps up.
        drift: what changes in the simulation halfway.

    Returns:
        The exit code: 0 after the summary, 1 if the worker failed, 130 after Ctrl-C, 143 after SIGTERM.
    """
    played: DemoSource = (
        SampleSource() if source == "sample" else SimulationSource(seed, days, learners, forever, drift)
    )
    state = DemoState(played.title, played.begins, played.ends, forever=forever and source == "simulation")
    return asyncio.run(_run_until_signal(_run_demo(played, state, seconds)))


async def _run_until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end or to a signal. On a signal, stop everything that was started before returning."""
    task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
    signals: list[int] = []

    def stop(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:  # a second signal must not interrupt the shutdown, which has its own timeouts
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        return 128 + signals[0] if signals else 1


async def _run_demo(source: DemoSource, state: DemoState, seconds: float) -> int:
    """Run the demo with its own broker and worker. Both are stopped in every case."""
    environment = {**WORKER, **source.settings, "ENCORE_WEB_PORT": str(free_port())}
    broker = EmbeddedBroker(topics.partitions_of(settings_.load(environment)))
    view, started = View(state), monotonic()
    try:
        broker.start()
    except RuntimeError as failure:
        return _report_failure(failure)
    try:
        await _play(source, state, view, {**environment, "ENCORE_BROKER": broker.url}, seconds)
    except (WorkerEnded, KafkaError) as failure:
        return _report_failure(failure)
    finally:
        broker.close()
        # Also after Ctrl-C, which is the only way to end a demo with `--forever`.
        if state.now:
            view.say(summary(state, monotonic() - started))
    return 0


def _report_failure(failure: Exception) -> int:
    sys.stderr.write(f"encore: {failure}\n")
    return 1


async def _play(source: DemoSource, state: DemoState, view: View, environment: dict[str, str], seconds: float) -> None:
    chosen = settings_.load(environment)
    state.horizon = chosen.horizon
    state.knows_truth = source.truth is not None
    state.metrics_url = f"http://127.0.0.1:{chosen.web_port}/metrics"
    async with KafkaLink(chosen) as link, WorkerProcess(environment) as worker:
        with view:
            await DemoDriver(source, chosen.rules(), state, link, worker, view, seconds).play()
