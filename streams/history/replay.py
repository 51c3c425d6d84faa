"""Replay: history through the fold, the scores and the decisions of a worker, without Kafka.

It is the worker's own fold over the worker's own people: one partition that holds everybody, or, where the log itself
is played again, as many as it has. What would go to a topic goes to whoever listens instead, and counts as
acknowledged; labelled rows are learned as they are told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from models.churn.learner import ChurnLearner
from models.churn.scorer import Scorer, build_scorer
from models.offers.campaign import Campaign
from models.person.rules import Rules
from models.retention.context import Context
from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.training.examples import ExampleLearner
from streams.agents.users.log_reader import AcceptedEvent
from streams.agents.users.outbox import Outbox
from streams.agents.users.processor import LogProcessor
from streams.agents.users.store import UserStore
from streams.clock import NOT_YET, PartitionClock, TimeBudget
from streams.delivery.batching import Headers, OutgoingRecord
from streams.delivery.dead_letters import DeadLetterQueue
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.kafka import codec, topics
from streams.kafka.codec import Record
from streams.metrics import Metrics
from streams.settings import Settings
from streams.state.partition import Pair

CHUNK = 8_192
"""Most events applied between two looks at what is due."""
TURN = 6 * 3_600.0
"""Seconds of event time after which due work is done, and what was learned is scored with."""

Heard = Callable[[str, bytes | None, bytes | None, Mapping[str, bytes]], None]
"""Takes what goes to a topic: the topic's name, key, value and headers."""


class ReplayRecord(Struct, frozen=True, gc=False):
    """An entry of a source as the record that it would be, in the only partition there is."""

    topic: str
    offset: int
    key: bytes | None
    timestamp: int
    event: ev.AnyEvent | None = None
    raw: bytes = b""
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def value(self) -> bytes:
        """What the record would hold."""
        return self.raw if self.event is None else event_codec.encode(self.event)


class RecordingSink:
    """A sink that acknowledges at once."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._done.set_result(None)

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        *,
        headers: Headers | None = None,
    ) -> asyncio.Future[Any]:
        """Hand a record to the listener."""
        self._heard(topic, key, value, dict(headers or ()))
        return self._done

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Any]:
        """Hand records to the listener."""
        for row in rows:
            self._heard(topic, row.key, row.value, dict(row.headers or ()))
        return self._done

    def people(self, rules: Rules, max_cached: int) -> UserStore:
        """Return people whose values are acknowledged at once, and stay in memory alone."""
        count = itertools.count()

        def written(pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
            for key, value in pairs:
                people.on_acknowledged(key, value, next(count), people.fence)
            return self._done

        people = UserStore(rules, max_cached, written)
        return people


class Replay:
    """Plays history. Make it where an event loop runs, `play` it, and ask for what became of it.

    Args:
        settings: of the worker that would have run; its partitions, topics and chunks do not matter.
        heard: takes every output, each once, with the bytes that would stand on its topic.
        learner: learns from every labelled row; none leaves the model as it is given.
        model: scores until something was learned.
        campaign: that would have run.
        names: of the sources, by their number in the entries.
        partitions: of the log that is played; 1 for histories in the order of time.
    """

    def __init__(
        self,
        settings: Settings,
        heard: Heard,
        learner: ChurnLearner | None = None,
        model: Scorer | None = None,
        campaign: Campaign | None = None,
        names: tuple[str, ...] = ("history",),
        partitions: int = 1,
    ) -> None:
        rules = settings.rules()
        self.metrics = Metrics()
        self._pupil = ExampleLearner(learner, self.metrics)
        self.world = Context(rules=rules, model=model, campaign=campaign, shadow=settings.mode == "shadow")
        self._settings = settings
        self._heard = heard
        self._names = names
        self._learned = 0
        self._number = 0
        self._turn = NOT_YET
        sink = RecordingSink(self._listen)
        self._dead_letters = DeadLetterQueue(sink, "", self.metrics)
        never_late = PartitionClock(follows_log=True)  # nothing is mailed, so nothing is old news
        self.folds: list[LogProcessor] = []
        self._outboxes: list[Outbox] = []
        self._ahead = WriteAheadOutputs(lambda: sink, "", partitions, self.metrics)
        for partition in range(partitions):
            people = sink.people(rules, settings.cached_users)
            outbox = Outbox(people, self._ahead, sink, "", never_late, self.metrics)
            self._outboxes.append(outbox)
            self.folds.append(
                LogProcessor(
                    partition,
                    partitions,
                    settings,
                    people,
                    outbox,
                    self._dead_letters,
                    PartitionClock(),
                    self.metrics,
                    lambda: self.world,
                )
            )

    @property
    def fold(self) -> LogProcessor:
        """The only one."""
        (fold,) = self.folds
        return fold

    @property
    def people(self) -> UserStore:
        """All of them."""
        return self.fold.people

    @property
    def known(self) -> int:
        """How many people there are."""
        return sum(len(fold.people) for fold in self.folds)

    @property
    def now(self) -> float:
        """How far time has come."""
        return max(fold.clock.now for fold in self.folds)

    async def play(self, entries: Iterable[HistoryEntry | UnusableEntry], until: float | None = None) -> None:
        """Play entries in the order of their times; then let time pass until a moment, or to the last event.

        Raises:
            TooManyFailures: so many defects in a row that going on would bury everything.
        """
        chunk: list[AcceptedEvent] = []
        for entry in entries:
            self._number += 1
            if isinstance(entry, UnusableEntry):
                self._dead_letters.send(buried(entry, self._names), entry.error)
                continue
            event = entry.event
            if event.time >= self._turn or len(chunk) >= CHUNK:
                self.fold.move(chunk)
                chunk = []
                await self._pass(event.time)
            if isinstance(event, ev.Event):
                record = self._played(entry, event)
                try:
                    codec.check_log_record(event, record.key, 0, 1, (record.key or b"",))
                except InvalidEvent as bad:
                    self._dead_letters.send(record, bad)
                    continue
                chunk.append(self.fold.log.accepted(record, event))
            elif isinstance(event, ev.Tick):
                self.fold.clock.advance(event.time)
        self.fold.move(chunk)
        end = self.fold.clock.now if until is None else until
        await self._pass(end)
        self.fold.clock.advance(end)
        await self._rest()

    async def _pass(self, time: float) -> None:
        """Let time pass up to a moment, turn by turn: due work is done, and what was learned is scored with."""
        if self._turn == NOT_YET:
            self._turn = _turn_after(time)
        while self._turn <= time:
            self.fold.clock.advance(self._turn)
            await self._do_what_is_due()
            due = self.fold.due.earliest() + self.world.rules.lateness
            self._turn = max(self._turn + TURN, _turn_after(min(due, time)))
        if len(self.people.dirty) > self._settings.cached_users:
            self.fold.flush()
        await asyncio.sleep(0)

    async def play_log(self, records: Iterable[Record], until: float | None = None) -> None:
        """Play the log itself: every partition in its own order and by its own clock, as its owner did.

        Args:
            records: of `events`, each partition's in order.
            until: a moment up to which time passes after that; as far as the log itself goes if left out.

        Raises:
            TooManyFailures: as in `play`.
        """
        waiting: list[list[Record]] = [[] for _ in self.folds]
        count, turn = 0, NOT_YET
        for record in records:
            waiting[record.partition].append(record)
            count += 1
            if count == CHUNK or record.timestamp / 1000.0 >= turn:
                await self._applied(waiting)
                count, turn = 0, _turn_after(record.timestamp / 1000.0)
        await self._applied(waiting)
        if until is not None:
            for fold in self.folds:
                fold.clock.advance(until)
        await self._rest()

    async def _applied(self, waiting: list[list[Record]]) -> None:
        for fold, records in zip(self.folds, waiting, strict=True):
            fold.apply(records)
            records.clear()
            if len(fold.people.dirty) > self._settings.cached_users:
                fold.flush()
        await self._do_what_is_due()

    async def _do_what_is_due(self) -> None:
        """Do due work, let everybody say what they have to say, and score with what was learned of it from now on."""
        for fold, outbox in zip(self.folds, self._outboxes, strict=True):
            fold.drain(TimeBudget(float("inf")))
            if speak := sorted(key for key in fold.people.dirty if fold.people.hot[key].outbox):
                outbox.save_all(speak)
        self._ahead.send()
        await asyncio.sleep(0)
        learner = self._pupil.learner
        if learner is not None and learner.labels and learner.updates > self._learned:
            self._learned = learner.updates
            self.world = replace(self.world, model=build_scorer(learner.snapshot()))

    async def _rest(self) -> None:
        """Commit until nothing is left to be said."""
        await self._do_what_is_due()
        while any(fold.people.dirty for fold in self.folds):
            for fold in self.folds:
                fold.flush()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _listen(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        self._heard(topic, key, value, headers)
        if topic == topics.EXAMPLES:
            self._pupil.process_record(value)

    def _played(self, entry: HistoryEntry, event: ev.Event) -> ReplayRecord:
        name, key = self._names[entry.source], event.user_id.encode()
        return ReplayRecord(name, self._number, key, int(event.time * 1000), event)


def buried(entry: UnusableEntry, names: Sequence[str]) -> ReplayRecord:
    """Return what could not be used as the record in whose place it stands among the dead letters."""
    return ReplayRecord(names[entry.source], entry.position, None, 0, None, entry.raw)


def _turn_after(time: float) -> float:
    return (floor(time / TURN) + 1) * TURN
