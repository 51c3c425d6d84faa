"""Replay: runs history through a worker's log processor, scores and decisions, without Kafka.

A replay uses the worker's own processor and user store. History in time order fills one partition with all users.
A replay of the log itself has as many partitions as the log. Each output goes to a listener in place of a topic, and
counts as acknowledged. The model learns each labelled row when the processor sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from math import floor

from msgspec.structs import replace

from models.churn.learner import ChurnLearner
from models.churn.scorer import Scorer, build_scorer
from models.offers.campaign import Campaign
from models.retention.context import Context
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.training.examples import ExampleLearner
from streams.agents.users.log_reader import AcceptedEvent
from streams.agents.users.partition import ProcessorFactory
from streams.agents.users.processor import LogProcessor
from streams.agents.users.store import UserStore
from streams.clock import NOT_YET, PartitionClock, TimeBudget
from streams.delivery.dead_letters import DeadLetterQueue
from streams.history.recording import RecordingSink, RecordListener, ReplayRecord, unusable_record
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.kafka import codec, topics
from streams.kafka.codec import Record
from streams.metrics import Metrics
from streams.settings import Settings

MAX_CHUNK = 8_192
"""The most events to apply before the timers are checked again."""
TIMER_INTERVAL = 6 * 3_600.0
"""Seconds of event time between two runs of the timers. After each run, scores use the newest model."""


class Replay:
    """Replays history. Create it inside a running event loop, call `play` or `play_log`, then read the results.

    Args:
        settings: of the worker that would have run; partitions, topics and chunk sizes are ignored.
        listener: receives every output once, with the bytes that would be written to its topic.
        learner: learns from every labelled row; without one, the model never changes.
        model: scores users until the learner has learned something.
        campaign: the campaign that is active throughout.
        names: the names of the sources; an entry refers to one by its index.
        partitions: of the log that is replayed; 1 for history in time order.
    """

    def __init__(
        self,
        settings: Settings,
        listener: RecordListener,
        learner: ChurnLearner | None = None,
        model: Scorer | None = None,
        campaign: Campaign | None = None,
        names: tuple[str, ...] = ("history",),
        partitions: int = 1,
    ) -> None:
        rules = settings.rules()
        self.metrics = Metrics()
        self._examples = ExampleLearner(learner, self.metrics)
        self.context = Context(rules=rules, model=model, campaign=campaign, shadow=settings.mode == "shadow")
        self._settings = settings
        self._listener = listener
        self._names = names
        self._updates_used = 0
        self._number = 0
        self._next_timers = NOT_YET
        sink = RecordingSink(self._on_record)
        self._dead_letters = DeadLetterQueue(sink, "", self.metrics)
        factory = ProcessorFactory(settings, partitions, lambda: sink, self.metrics, lambda: self.context, "")
        self._write_ahead = factory.write_ahead
        expiry_clock = PartitionClock(follows_log=True)  # a replay delivers nothing, so no output expires
        self.processors = [
            factory.create(partition, sink.user_store(rules, settings.cached_users), PartitionClock(), expiry_clock)
            for partition in range(partitions)
        ]

    @property
    def processor(self) -> LogProcessor:
        """The only processor."""
        (processor,) = self.processors
        return processor

    @property
    def users(self) -> UserStore:
        """The users of the only partition."""
        return self.processor.users

    @property
    def user_count(self) -> int:
        """The number of users in all partitions."""
        return sum(len(processor.users) for processor in self.processors)

    @property
    def now(self) -> float:
        """The latest event time that any partition has reached."""
        return max(processor.clock.now for processor in self.processors)

    async def play(self, entries: Iterable[HistoryEntry | UnusableEntry], until: float | None = None) -> None:
        """Replay entries in time order. Then advance time to `until`, or to the time of the last event.

        Raises:
            TooManyFailures: too many failures in a row; continuing would turn every record into a dead letter.
        """
        chunk: list[AcceptedEvent] = []
        for entry in entries:
            self._number += 1
            if isinstance(entry, UnusableEntry):
                self._dead_letters.send(unusable_record(entry, self._names), entry.error)
                continue
            event = entry.event
            if event.time >= self._next_timers or len(chunk) >= MAX_CHUNK:
                self.processor.process_accepted(chunk)
                chunk = []
                await self._advance_time(event.time)
            if isinstance(event, ev.Event):
                record = self._record(entry, event)
                try:
                    codec.check_user_id(event.user_id)
                except InvalidEvent as bad:
                    self._dead_letters.send(record, bad)
                    continue
                chunk.append(self.processor.reader.accept(record, event))
            elif isinstance(event, ev.Tick):
                self.processor.clock.advance(event.time)
        self.processor.process_accepted(chunk)
        end = self.processor.clock.now if until is None else until
        await self._advance_time(end)
        self.processor.clock.advance(end)
        await self._flush_all()

    async def _advance_time(self, time: float) -> None:
        """Advance time step by step: each step runs the timers and then scores with the newest model."""
        if self._next_timers == NOT_YET:
            self._next_timers = _next_boundary(time)
        while self._next_timers <= time:
            self.processor.clock.advance(self._next_timers)
            await self._run_timers()
            due = self.processor.timers.earliest() + self.context.rules.lateness
            self._next_timers = max(self._next_timers + TIMER_INTERVAL, _next_boundary(min(due, time)))
        if len(self.users.dirty) > self._settings.cached_users:
            self.processor.flush()
        await asyncio.sleep(0)

    async def play_log(self, records: Iterable[Record], until: float | None = None) -> None:
        """Replay the log itself: each partition in its own order and by its own clock, as its owner processed it.

        Args:
            records: of `events`, in order within each partition.
            until: the event time to advance to afterwards; if left out, time stops where the log ends.

        Raises:
            TooManyFailures: as in `play`.
        """
        waiting: list[list[Record]] = [[] for _ in self.processors]
        count, boundary = 0, NOT_YET
        for record in records:
            waiting[record.partition].append(record)
            count += 1
            if count == MAX_CHUNK or record.timestamp / 1000.0 >= boundary:
                await self._apply(waiting)
                count, boundary = 0, _next_boundary(record.timestamp / 1000.0)
        await self._apply(waiting)
        if until is not None:
            for processor in self.processors:
                processor.clock.advance(until)
        await self._flush_all()

    async def _apply(self, waiting: list[list[Record]]) -> None:
        for processor, records in zip(self.processors, waiting, strict=True):
            processor.process(records)
            records.clear()
            if len(processor.users.dirty) > self._settings.cached_users:
                processor.flush()
        await self._run_timers()

    async def _run_timers(self) -> None:
        """Run the timers, send all waiting outputs, and use the newest model from now on."""
        for processor in self.processors:
            processor.run_timers(TimeBudget(float("inf")))
            if waiting := sorted(key for key in processor.users.dirty if processor.users.hot[key].outbox):
                processor.outbox.write_then_send(waiting)
        self._write_ahead.send()
        await asyncio.sleep(0)
        learner = self._examples.learner
        if learner is not None and learner.labels and learner.updates > self._updates_used:
            self._updates_used = learner.updates
            self.context = replace(self.context, model=build_scorer(learner.snapshot()))

    async def _flush_all(self) -> None:
        """Flush until no user has unsaved changes."""
        await self._run_timers()
        while any(processor.users.dirty for processor in self.processors):
            for processor in self.processors:
                processor.flush()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _on_record(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        self._listener(topic, key, value, headers)
        if topic == topics.EXAMPLES:
            self._examples.process_record(value)

    def _record(self, entry: HistoryEntry, event: ev.Event) -> ReplayRecord:
        name, key = self._names[entry.source], event.user_id.encode()
        return ReplayRecord(name, self._number, key, int(event.time * 1000), event)


def _next_boundary(time: float) -> float:
    return (floor(time / TIMER_INTERVAL) + 1) * TIMER_INTERVAL
