"""Where things meet: a worker put together from settings, run, and ended."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
from collections.abc import Coroutine
from typing import Any

import aiokafka
from msgspec.structs import replace

from streams.agents.courses.view import CourseView
from streams.agents.global_state import GlobalState
from streams.agents.group import AgentGroup
from streams.agents.ingest import mapping_file
from streams.agents.ingest.agent import IngestAgent
from streams.agents.users.envelope import Envelope
from streams.agents.users.ticks import write_ticks
from streams.clock import Ticker
from streams.delivery.sender import Sender
from streams.engine.app import new_app
from streams.kafka import clients, topics
from streams.kafka.lag import watch_lag
from streams.kafka.readers import GlobalTopicReader
from streams.kafka.topics import name, partition_of
from streams.metrics import GaugeName, Metrics
from streams.runtime import limit_blas_threads, tune_gc
from streams.settings import Settings
from streams.web import WorkerQueries, serve

STOP_TIMEOUT = 20.0
LAG_TOPICS = (topics.EVENTS, topics.INTERACTIONS, topics.EXAMPLES, topics.LISTS)
"""Topics whose lag is counted."""
EXIT_TIMEOUT = 2 * STOP_TIMEOUT + 4.0
_log = logging.getLogger(__name__)


class Worker:
    """One process: the agents that were asked for, the web server, and what they share."""

    def __init__(self, settings: Settings, partitions: dict[str, int]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.failure: BaseException | None = None
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ticker = Ticker(settings.stall)
        self._newest = GlobalState(settings, self.metrics, self._ticker)
        self._library = CourseView(settings, self.metrics) if self._recommends else None
        if self._library is not None:
            self._newest.world = replace(self._newest.world, shelf=self._library.catalogue)
        self._broadcast = GlobalTopicReader(settings, self._topics(), self._heard)
        self._partitions = partitions[name(settings, topics.EVENTS)]
        self._inputs = {
            aiokafka.TopicPartition(topic, number)
            for topic in (name(settings, short) for short in settings.inputs)
            for number in range(partitions[topic])
        }
        self.agents: AgentGroup | None = None
        self.ingest: IngestAgent | None = None
        if {"users", "courses", "trainer"} & set(settings.agents):
            self.agents = self._faust()
        self.metrics.watch(self._gauges)

    async def run(self) -> int:
        """Run until a signal or a failure; return the exit code. Everything that was started is ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        web = await serve(self.settings, self.metrics, self._answers())
        try:
            self._spawn(self._start())
            await self._stop.wait()
        finally:
            _arm_exit_timer()
            await self._end()
            await web.cleanup()
            if self.agents is not None:
                shutil.rmtree(self.agents.app.conf.datadir, ignore_errors=True)
        if self.failure is not None:
            _log.error("the worker stopped: %r", self.failure)
        return 1 if self.failure is not None else 0

    async def _start(self) -> None:
        self._spawn(self._broadcast.run())
        await self._broadcast.caught_up.wait()
        if self._library is not None:
            await self._library.load()
        if "ingest" in self.settings.agents:
            self._spawn(self._ingest())
        if self.agents is not None:
            self._spawn(self._until_crash(self.agents))
            await self.agents.app.start()
        self._spawn(watch_lag(self.settings, self._owned, self.metrics))

    async def _end(self) -> None:
        """End in order, each with its deadline: what reads first, then what writes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT)
        if self.agents is not None:
            stopped, _ = await asyncio.wait([asyncio.ensure_future(self.agents.app.stop())], timeout=STOP_TIMEOUT)
            for stop in stopped:
                if stop.exception() is not None:
                    self._fail(stop.exception())
            self.agents.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the worker runs; its failure ends the worker."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._fail(task.exception())

        task = asyncio.ensure_future(work)
        task.add_done_callback(ended)
        self._tasks.append(task)

    def _fail(self, error: BaseException | None) -> None:
        self.failure = self.failure or error
        self._stop.set()

    async def _until_crash(self, agents: AgentGroup) -> None:
        app = agents.app
        while not app.crashed and app.refused is None:
            await asyncio.sleep(0.1)
        self._fail(agents.sender.failure or app.refused or app.crash_reason or RuntimeError("Faust crashed"))

    @property
    def _recommends(self) -> bool:
        return self.settings.recommend and "users" in self.settings.agents

    def _topics(self) -> list[str]:
        """Return the topics that are read whole."""
        return sorted({*self._newest.topics, *(self._library.topics if self._library is not None else ())})

    def _faust(self) -> AgentGroup:
        world, app = lambda: self._newest.world, new_app(self.settings)
        agents = AgentGroup(app, self.settings, self.metrics, self._partitions, world, self._library)
        if agents.users is not None:
            app.task(self._tick)
        return agents

    def _heard(self, record: Any) -> None:
        """Take a record of a compacted topic."""
        if record.topic in self._newest.topics:
            self._newest.heard(record)
        if self._library is not None and record.topic in self._library.topics:
            self._library.on_record(record)
        if self.agents is not None and record.topic == name(self.settings, topics.SNAPSHOTS):
            self.agents.heard(record)

    async def _tick(self) -> None:
        assert self.agents is not None and self.agents.users is not None
        users, sender = self.agents.users, self.agents.sender
        await write_ticks(
            self.settings,
            sender,
            self._ticker,
            lambda: {place: fold.log for place, fold in users.folds.items()},
            self._inputs,
            self.metrics,
        )

    # -- what runs beside it

    async def _ingest(self) -> None:
        sender = Sender(self._fail)
        producer = clients.producer(
            self.settings,
            linger_ms=5,
            max_batch_size=256 << 10,
            max_request_size=self.settings.max_record_bytes + 100_000,
            request_timeout_ms=120_000,
        )
        await producer.start()
        pump = asyncio.ensure_future(sender.run(producer))
        self.ingest = IngestAgent(self.settings, sender, self.metrics, self._partitions)
        try:
            await self.ingest.run()
        finally:
            pump.cancel()
            await producer.stop()

    # -- what the outside asks

    def _answers(self) -> WorkerQueries:
        answers = WorkerQueries()
        answers.ready = self._not_ready
        answers.person = self._person
        answers.holder = lambda key: self.agents.holder(key) if self.agents is not None else None
        answers.now = self._now
        answers.world = lambda: self._newest.world
        return answers

    def _not_ready(self) -> str:
        if not self._broadcast.caught_up.is_set():
            return "the model and campaigns are still being read"
        if self.agents is not None and (why := self.agents.not_ready()):
            return why
        if "ingest" in self.settings.agents and self.ingest is None:
            return "ingest has not started"
        return ""

    def _person(self, key: bytes) -> Envelope | None:
        users = self.agents.users if self.agents is not None else None
        return users.look_up(partition_of(key, self._partitions), key) if users is not None else None

    def _now(self, key: bytes) -> float:
        users = self.agents.users if self.agents is not None else None
        return users.now(partition_of(key, self._partitions)) if users is not None else 0.0

    def _owned(self) -> dict[str, set[aiokafka.TopicPartition]]:
        owned: dict[str, set[aiokafka.TopicPartition]] = {}
        if self.agents is not None:
            tps = self.agents.app.consumer.assignment()
            read = {name(self.settings, topic) for topic in LAG_TOPICS}
            owned[self.settings.group] = {aiokafka.TopicPartition(*tp) for tp in tps if tp.topic in read}
        if self.ingest is not None:
            owned[f"{self.settings.group}-ingest"] = self.ingest.places
        return owned

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_ready", ()): float(not self._not_ready())}


def _arm_exit_timer() -> None:
    """End the process after all deadlines, whatever still hangs then: a client's thread, a task that will not end."""

    def end() -> None:
        _log.error("the worker did not end within %.0f s; it is ended without more words", EXIT_TIMEOUT)
        os._exit(1)

    watch = threading.Timer(EXIT_TIMEOUT, end)
    watch.daemon = True
    watch.start()


def run(settings: Settings, partitions: dict[str, int]) -> int:
    """Run a worker in this process until it is told to stop.

    Returns:
        The exit code: 0 after a signal, 1 after a failure.

    Raises:
        OperatorError: it cannot start, and why.
    """

    limit_blas_threads()
    tune_gc()

    async def main() -> int:
        return await Worker(settings, partitions).run()

    # Ingest reads the files again; what is wrong with one is told before anything starts.
    mapping_file.of_topics(settings)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not (settings.pseudonym_key or settings.embedded):
        _log.warning("pseudonym_key is empty: whoever knows a person's id finds them on topics that cannot forget")
    return asyncio.run(main())
