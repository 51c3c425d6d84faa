"""Where things meet: a worker put together from settings, run, and ended."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
from collections.abc import Coroutine
from typing import Any, cast

import aiokafka
from faust.tables.manager import TableManager
from msgspec.structs import replace

from streams import shadows, topics
from streams.broadcast import Broadcast
from streams.clock import Ticker
from streams.courses import Courses
from streams.delivery.sender import Sender
from streams.engine.app import App, BeforeCommit, new_app
from streams.engine.producer import Producer
from streams.engine.table import Keeper, WriteBehindTable, changelog
from streams.envelope import Envelope
from streams.garbage import search_seldom
from streams.ingest import Ingest
from streams.inputs import mapping
from streams.library import Library
from streams.listing import Listing
from streams.metrics import GaugeName, Metrics
from streams.operation.lag import watch_lag
from streams.ranking import Ranking
from streams.security import client
from streams.settings import Settings
from streams.snapshots import Newest
from streams.threads import one_thread
from streams.ticks import write_ticks
from streams.topics import name, partition_of
from streams.trainer import Trainer
from streams.users import Users
from streams.web import Answers, serve

LAST_WORDS = 20.0
THE_END = 2 * LAST_WORDS + 4.0
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
        self._newest = Newest(settings, self.metrics, self._ticker)
        self._library = Library(settings, self.metrics) if self._recommends else None
        if self._library is not None:
            self._newest.world = replace(self._newest.world, shelf=self._library.shelf)
        self._broadcast = Broadcast(settings, self._topics(), self._heard)
        self._learners: dict[str, Trainer | Ranking] = {}
        self._partitions = partitions[name(settings, topics.EVENTS)]
        self._inputs = {
            aiokafka.TopicPartition(topic, number)
            for topic in (name(settings, short) for short in settings.inputs)
            for number in range(partitions[topic])
        }
        self.app: App | None = None
        self.users: Users | None = None
        self.courses: Courses | None = None
        self.ingest: Ingest | None = None
        if {"users", "courses", "trainer"} & set(settings.agents):
            self.app = self._faust()
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
            _end_for_sure()
            await self._end()
            await web.cleanup()
            if self.app is not None:
                shutil.rmtree(self.app.conf.datadir, ignore_errors=True)
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
        if self.app is not None:
            self._spawn(self._until_crash(self.app))
            await self.app.start()
        self._spawn(watch_lag(self.settings, self._owned, self.metrics))

    async def _end(self) -> None:
        """End in order, each with its deadline: what reads first, then what writes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=LAST_WORDS)
        if self.app is not None:
            stopped, _ = await asyncio.wait([asyncio.ensure_future(self.app.stop())], timeout=LAST_WORDS)
            for stop in stopped:
                if stop.exception() is not None:
                    self._fail(stop.exception())
        for owner in (self.users, self.courses):
            if owner is not None:
                owner.close()

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

    async def _until_crash(self, app: App) -> None:
        while not app.crashed and app.refused is None:
            await asyncio.sleep(0.1)
        sender = cast(Producer, app.producer).sender
        self._fail(sender.failure or app.refused or app.crash_reason or RuntimeError("Faust crashed"))

    @property
    def _recommends(self) -> bool:
        return self.settings.recommend and "users" in self.settings.agents

    def _topics(self) -> list[str]:
        """Return the topics that are read whole."""
        return sorted({*self._newest.topics, *(self._library.topics if self._library is not None else ())})

    # -- what runs inside Faust

    def _faust(self) -> App:
        settings, app = self.settings, new_app(self.settings)
        flushes = []
        if "users" in settings.agents:
            self.users = Users(app, settings, self.metrics, lambda: self._newest.world, self._partitions)
            self._table(app, "people", topics.PEOPLE, self.users)
            app.deliver(name(settings, topics.EVENTS), "users", self.users.take)
            app.task(self.users.idle)
            app.task(self._tick)
            flushes.append(self.users.flush)
            if self._library is not None:
                self.users.listing = self._listing(app, self._library)
                app.task(self.users.listing.run)
        if "courses" in settings.agents and settings.recommend:
            self.courses = Courses(app, settings, self.metrics)
            self._table(app, "courses", topics.ROWS, self.courses)
            app.deliver(name(settings, topics.INTERACTIONS), "courses", self.courses.take)
            flushes.append(self.courses.flush)
        if "trainer" in settings.agents:
            self._learning(app, flushes)
        app.sensors.add(BeforeCommit(lambda: [flush() for flush in flushes]))
        return app

    def _table(self, app: App, called: str, topic: str, keeper: Keeper) -> None:
        """Add a table whose values a keeper holds."""
        table = WriteBehindTable(
            app,
            name=called,
            key_type=bytes,
            value_type=bytes,
            partitions=self._partitions,
            changelog_topic=changelog(app, name(self.settings, topic), partitions=self._partitions),
        )
        table.keeper = keeper
        app.tables.add(table)

    def _listing(self, app: App, library: Library) -> Listing:
        def sender() -> Sender:
            return cast(Producer, app.producer).sender

        return Listing(self.settings, library, lambda: self._newest.world, sender, self.metrics)

    def _learning(self, app: App, flushes: list[Any]) -> None:
        """Add what learns: of churn, and of lists."""
        if self.settings.challenger:
            shadows.challenger(self.settings.challenger)  # what cannot be one is refused before anything starts
        self._learner(app, topics.EXAMPLES, "trainer", Trainer, flushes)
        if self.settings.recommend:
            self._learner(app, topics.LISTS, "ranking", Ranking, flushes)

    def _learner(
        self, app: App, topic: str, agent: str, kind: type[Trainer] | type[Ranking], flushes: list[Any]
    ) -> None:
        """Add one that learns from a topic of one partition, whose owner alone it is."""

        def learner() -> Trainer | Ranking:
            if agent not in self._learners:
                self._learners[agent] = kind(self.settings, cast(Producer, app.producer).sender, self.metrics)
            return self._learners[agent]

        async def take(_: int, records: list[Any]) -> bool:
            await learner().take(records)
            return True

        async def given(*_: Any, **__: Any) -> None:
            mine = name(self.settings, topic) in {tp.topic for tp in app.consumer.assignment()}
            await learner().own(mine)

        app.deliver(name(self.settings, topic), agent, take)
        app.on_rebalance_complete.connect(given, weak=False)
        flushes.append(lambda: learner().flush())

    def _heard(self, record: Any) -> None:
        """Take a record of a compacted topic."""
        if record.topic in self._newest.topics:
            self._newest.heard(record)
        if self._library is not None and record.topic in self._library.topics:
            self._library.heard(record)
        if record.topic == name(self.settings, topics.SNAPSHOTS):
            for learner in self._learners.values():
                learner.heard(record)

    async def _tick(self) -> None:
        assert self.users is not None and self.app is not None
        users, sender = self.users, cast(Producer, self.app.producer).sender
        await write_ticks(self.settings, sender, self._ticker, lambda: dict(users.folds), self._inputs, self.metrics)

    # -- what runs beside it

    async def _ingest(self) -> None:
        sender = Sender(self._fail)
        producer = aiokafka.AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=256 << 10,
            max_request_size=self.settings.most_bytes + 100_000,
            request_timeout_ms=120_000,
            **client(self.settings),
        )
        await producer.start()
        pump = asyncio.ensure_future(sender.run(producer))
        self.ingest = Ingest(self.settings, sender, self.metrics, self._partitions)
        try:
            await self.ingest.run()
        finally:
            pump.cancel()
            await producer.stop()

    # -- what the outside asks

    def _answers(self) -> Answers:
        answers = Answers()
        answers.ready = self._not_ready
        answers.person = self._person
        answers.holder = self._holder
        answers.now = lambda key: self.users.now(partition_of(key, self._partitions)) if self.users else 0.0
        answers.world = lambda: self._newest.world
        return answers

    def _not_ready(self) -> str:
        if not self._broadcast.caught_up.is_set():
            return "the model and campaigns are still being read"
        if self.app is not None:
            if self.app.rebalancing or not cast(TableManager, self.app.tables).recovery.completed.is_set():
                return "partitions are being given out or recovered"
            if not self.app.consumer.assignment() and self.users is not None:
                return "no partition is ours"
        if "ingest" in self.settings.agents and self.ingest is None:
            return "ingest has not started"
        return ""

    def _person(self, key: bytes) -> Envelope | None:
        return self.users.look_up(partition_of(key, self._partitions), key) if self.users else None

    def _holder(self, key: bytes) -> str | None:
        if self.app is None or self.users is None:
            return None
        holder = str(self.app.router.key_store("people", key))
        mine = str(self.app.conf.canonical_url)
        return None if holder.rstrip("/") == mine.rstrip("/") else holder

    def _owned(self) -> dict[str, set[aiokafka.TopicPartition]]:
        owned: dict[str, set[aiokafka.TopicPartition]] = {}
        if self.app is not None:
            tps = self.app.consumer.assignment()
            log = {name(self.settings, topics.EVENTS), name(self.settings, topics.EXAMPLES)}
            owned[self.settings.group] = {aiokafka.TopicPartition(*tp) for tp in tps if tp.topic in log}
        if self.ingest is not None:
            owned[f"{self.settings.group}-ingest"] = self.ingest.places
        return owned

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_ready", ()): float(not self._not_ready())}


def _end_for_sure() -> None:
    """End the process after all deadlines, whatever still hangs then: a client's thread, a task that will not end."""

    def end() -> None:
        _log.error("the worker did not end within %.0f s; it is ended without more words", THE_END)
        os._exit(1)

    watch = threading.Timer(THE_END, end)
    watch.daemon = True
    watch.start()


def run(settings: Settings, partitions: dict[str, int]) -> int:
    """Run a worker in this process until it is told to stop.

    Returns:
        The exit code: 0 after a signal, 1 after a failure.

    Raises:
        OperatorError: it cannot start, and why.
    """

    one_thread()
    search_seldom()

    async def main() -> int:
        return await Worker(settings, partitions).run()

    mapping.of_topics(settings)  # ingest reads the files again; what is wrong with one is told before anything starts
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not (settings.pseudonym_key or settings.embedded):
        _log.warning("pseudonym_key is empty: whoever knows a person's id finds them on topics that cannot forget")
    return asyncio.run(main())
