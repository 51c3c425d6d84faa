"""A worker process: it is built from the settings, runs the agents and the web server, and shuts down in order."""

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

from models.retention.context import Context
from streams.agents.courses.view import GlobalCourseView
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
from streams.web import serve

STOP_TIMEOUT = 20.0
"""Seconds that each step of a shutdown may take."""
LAG_TOPICS = (topics.EVENTS, topics.INTERACTIONS, topics.EXAMPLES, topics.LISTS)
"""Topics of the log whose lag is a metric."""
EXIT_TIMEOUT = 2 * STOP_TIMEOUT + 4.0
"""Seconds after which a process that is shutting down is ended by force."""
_log = logging.getLogger(__name__)


class Worker:
    """One process: the agents of the settings, the web server, and the state that they share."""

    def __init__(self, settings: Settings, partitions: dict[str, int]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.failure: BaseException | None = None
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ticker = Ticker(settings.stall)
        self._global_state = GlobalState(settings, self.metrics, self._ticker)
        self._courses = GlobalCourseView(settings, self.metrics) if self._recommends else None
        if self._courses is not None:
            self._global_state.context = replace(self._global_state.context, catalogue=self._courses.catalogue)
        self._global_reader = GlobalTopicReader(settings, self._global_topics(), self._on_global_record)
        self._partitions = partitions[name(settings, topics.EVENTS)]
        self._inputs = {
            aiokafka.TopicPartition(topic, number)
            for topic in (name(settings, short) for short in settings.inputs)
            for number in range(partitions[topic])
        }
        self.agents: AgentGroup | None = None
        self.ingest: IngestAgent | None = None
        if {"users", "courses", "trainer"} & set(settings.agents):
            self.agents = self._build_agents()
        self.metrics.watch(self._gauges)

    async def run(self) -> int:
        """Run until a signal or a failure, then stop everything that was started. Return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        web = await serve(self.settings, self.metrics, self)
        try:
            self._run_task(self._start())
            await self._stop.wait()
        finally:
            _arm_exit_timer()
            await self._shut_down()
            await web.cleanup()
            if self.agents is not None:
                shutil.rmtree(self.agents.app.conf.datadir, ignore_errors=True)
        if self.failure is not None:
            _log.error("the worker stopped: %r", self.failure)
        return 1 if self.failure is not None else 0

    async def _start(self) -> None:
        self._run_task(self._global_reader.run())
        await self._global_reader.caught_up.wait()
        if self._courses is not None:
            await self._courses.load()
        if "ingest" in self.settings.agents:
            self._run_task(self._run_ingest())
        if self.agents is not None:
            self._run_task(self._until_crash(self.agents))
            await self.agents.app.start()
        self._run_task(watch_lag(self.settings, self._read_partitions, self.metrics))

    async def _shut_down(self) -> None:
        """Stop in order, each step with a deadline: first the readers, then the writers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT)
        if self.agents is not None:
            stopped, _ = await asyncio.wait([asyncio.ensure_future(self.agents.app.stop())], timeout=STOP_TIMEOUT)
            for stop in stopped:
                if stop.exception() is not None:
                    self._fail(stop.exception())
            self.agents.close()

    def _run_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as long as the worker runs; its failure stops the worker."""

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

    def _global_topics(self) -> list[str]:
        """Return the topics that every worker reads completely."""
        return sorted({*self._global_state.topics, *(self._courses.topics if self._courses is not None else ())})

    def _build_agents(self) -> AgentGroup:
        app = new_app(self.settings)
        agents = AgentGroup(app, self.settings, self.metrics, self._partitions, self.context, self._courses)
        if agents.users is not None:
            app.task(self._tick)
        return agents

    def _on_global_record(self, record: Any) -> None:
        """Process a record of a topic that every worker reads completely."""
        if record.topic in self._global_state.topics:
            self._global_state.on_record(record)
        if self._courses is not None and record.topic in self._courses.topics:
            self._courses.on_record(record)
        if self.agents is not None and record.topic == name(self.settings, topics.SNAPSHOTS):
            self.agents.on_record(record)

    async def _tick(self) -> None:
        assert self.agents is not None and self.agents.users is not None
        users, sender = self.agents.users, self.agents.sender
        await write_ticks(
            self.settings,
            sender,
            self._ticker,
            lambda: {place: processor.reader for place, processor in users.processors.items()},
            self._inputs,
            self.metrics,
        )

    async def _run_ingest(self) -> None:
        sender = Sender(self._fail)
        producer = clients.producer(
            self.settings,
            linger_ms=5,
            max_batch_size=256 << 10,
            max_request_size=self.settings.max_record_bytes + 100_000,
            request_timeout_ms=120_000,
        )
        await producer.start()
        sending = asyncio.ensure_future(sender.run(producer))
        self.ingest = IngestAgent(self.settings, sender, self.metrics, self._partitions)
        try:
            await self.ingest.run()
        finally:
            sending.cancel()
            await producer.stop()

    # -- what the web server asks

    def not_ready(self) -> str:
        """Return why the worker is not ready, or an empty text."""
        if not self._global_reader.caught_up.is_set():
            return "the model and campaigns are still being read"
        if self.agents is not None and (why := self.agents.not_ready()):
            return why
        if "ingest" in self.settings.agents and self.ingest is None:
            return "ingest has not started"
        return ""

    def user(self, key: bytes) -> Envelope | None:
        """Return the state of a user, or None if this worker does not own the user's partition."""
        users = self.agents.users if self.agents is not None else None
        return users.look_up(partition_of(key, self._partitions), key) if users is not None else None

    def holder(self, key: bytes) -> str | None:
        """Return the URL of the other worker that owns a user's partition, or None if this worker does."""
        return self.agents.owner_url(key) if self.agents is not None else None

    def now(self, key: bytes) -> float:
        """Return the time of the clock of a user's partition, in seconds since 1970 UTC."""
        users = self.agents.users if self.agents is not None else None
        return users.now(partition_of(key, self._partitions)) if users is not None else 0.0

    def context(self) -> Context:
        """Return the models, rules and catalogue in use."""
        return self._global_state.context

    # -- metrics

    def _read_partitions(self) -> dict[str, set[aiokafka.TopicPartition]]:
        owned: dict[str, set[aiokafka.TopicPartition]] = {}
        if self.agents is not None:
            tps = self.agents.app.consumer.assignment()
            read = {name(self.settings, topic) for topic in LAG_TOPICS}
            owned[self.settings.group] = {aiokafka.TopicPartition(*tp) for tp in tps if tp.topic in read}
        if self.ingest is not None:
            owned[f"{self.settings.group}-ingest"] = self.ingest.assignment
        return owned

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_ready", ()): float(not self.not_ready())}


def _arm_exit_timer() -> None:
    """End the process by force after all deadlines, even if a thread of a client or a task still hangs."""

    def end() -> None:
        _log.error("the worker did not stop within %.0f s and is ended by force", EXIT_TIMEOUT)
        os._exit(1)

    timer = threading.Timer(EXIT_TIMEOUT, end)
    timer.daemon = True
    timer.start()


def run(settings: Settings, partitions: dict[str, int]) -> int:
    """Run a worker in this process until a signal stops it.

    Returns:
        The exit code: 0 after a signal, 1 after a failure.

    Raises:
        OperatorError: it cannot start; the message gives the reason.
    """
    limit_blas_threads()
    tune_gc()

    async def main() -> int:
        return await Worker(settings, partitions).run()

    # Ingest reads the mapping files again. Reading them here reports an error before anything starts.
    mapping_file.load_mappings(settings)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not (settings.pseudonym_key or settings.embedded):
        _log.warning(
            "pseudonym_key is empty: anyone who knows a user id finds that user in records that cannot be erased"
        )
    return asyncio.run(main())
