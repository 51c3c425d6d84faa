"""Replay: history through the fold, the scores and the decisions of a worker, without Kafka.

It is the worker's own fold over the worker's own people, for one partition that holds everybody. What would go to a
topic goes to whoever listens instead, and counts as acknowledged; labelled rows are learned as they are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from math import floor
from typing import Any, NamedTuple

from msgspec.structs import replace

from models import churn, features
from models import events as ev
from models.churn import Learner, Scorer
from models.offers import Campaign
from models.world import World
from streams import codec, topics
from streams.clock import NOT_YET, Clock, Slice
from streams.deadletters import Cemetery
from streams.fold import Fold, Taken
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.people import People
from streams.sender import Headers
from streams.settings import Settings
from streams.sources.source import Entry, Unusable

CHUNK = 512
"""Most events applied between two looks at what is due."""
TURN = 6 * 3_600.0
"""Seconds of event time after which due work is done, and what was learned is scored with."""

Heard = Callable[[str, bytes | None, bytes | None, Mapping[str, bytes]], None]
"""Takes what goes to a topic: the topic's name, key, value and headers."""


class Played(NamedTuple):
    """An entry of a source as the record that it would be."""

    topic: str
    offset: int
    key: bytes | None
    timestamp: int
    event: ev.AnyEvent | None = None
    raw: bytes = b""

    @property
    def partition(self) -> int:
        """The only one."""
        return 0

    @property
    def value(self) -> bytes:
        """What the record would hold."""
        return self.raw if self.event is None else ev.encode(self.event)

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """None: it came straight from its source."""
        return ()


class Listener:
    """An outlet that acknowledges at once."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._done.set_result(None)

    def put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Hand a record to the listener."""
        self._heard(topic, key, value, dict(headers or ()))
        return self._done

    def written(self, key: bytes, value: bytes | None) -> asyncio.Future[Any]:
        """Acknowledge a person's value; it stays in memory alone."""
        return self._done


class Replay:
    """Plays history. Make it where an event loop runs, `play` it, and ask for what became of it.

    Args:
        settings: of the worker that would have run; its partitions, topics and chunks do not matter.
        heard: takes every output, each once, with the bytes that would stand on its topic.
        learner: learns from every labelled row; none leaves the model as it is given.
        model: scores until something was learned.
        campaign: that would have run.
        names: of the sources, by their number in the entries.
    """

    def __init__(
        self,
        settings: Settings,
        heard: Heard,
        learner: Learner | None = None,
        model: Scorer | None = None,
        campaign: Campaign | None = None,
        names: tuple[str, ...] = ("history",),
    ) -> None:
        rules = settings.rules()
        self.metrics = Metrics()
        self.learner = learner
        self.world = World(rules=rules, model=model, campaign=campaign, shadow=settings.mode == "shadow")
        self._settings = settings
        self._heard = heard
        self._names = names
        self._learned = 0
        self._number = 0
        self._turn = NOT_YET
        outlet = Listener(self._listen)
        self.people = People(rules, settings.hot_people, outlet.written)
        self._cemetery = Cemetery(outlet, "", self.metrics)
        never_late = Clock(follows_log=True)  # nothing is mailed, so nothing is old news
        self._outbox = Outbox(self.people, outlet, "", never_late, self.metrics)
        self.fold = Fold(
            0, 1, settings, self.people, self._outbox, self._cemetery, Clock(), self.metrics, lambda: self.world
        )

    async def play(self, entries: Iterable[Entry | Unusable], until: float | None = None) -> None:
        """Play entries in the order of their times; then let time pass until a moment, or to the last event.

        Raises:
            TooManyFailures: so many defects in a row that going on would bury everything.
        """
        chunk: list[Taken] = []
        for entry in entries:
            self._number += 1
            if isinstance(entry, Unusable):
                self._cemetery.bury(self._unusable(entry), entry.error)
                continue
            event = entry.event
            if event.time >= self._turn or len(chunk) >= CHUNK:
                self.fold.move(chunk)
                chunk = []
                await self._pass(event.time)
            if isinstance(event, ev.Event):
                chunk.append(self.fold.accepted(self._played(entry, event), event))
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
        if len(self.people.dirty) > self._settings.hot_people:
            self.fold.flush()
        await asyncio.sleep(0)

    async def _do_what_is_due(self) -> None:
        """Do due work, let everybody say what they have to say, and score with what was learned of it from now on."""
        self.fold.drain(Slice(float("inf")))
        for key in sorted(key for key in self.people.dirty if self.people.hot[key].outbox):
            self._outbox.save(key)
        await asyncio.sleep(0)
        learner = self.learner
        if learner is not None and learner.labels > self._learned:
            self._learned = learner.labels
            self.world = replace(self.world, model=churn.scorer(learner.snapshot()))

    async def _rest(self) -> None:
        """Commit until nothing is left to be said."""
        await self._do_what_is_due()
        while self.people.dirty:
            self.fold.flush()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def _listen(self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> None:
        self._heard(topic, key, value, headers)
        if topic == topics.EXAMPLES and self.learner is not None and value is not None:
            example = codec.example(value)
            if not example.treated:
                self.learner.learn(features.array(example.x), example.churned)

    def _played(self, entry: Entry, event: ev.Event) -> Played:
        name, key = self._names[entry.source], event.user_id.encode()
        return Played(name, self._number, key, int(event.time * 1000), event)

    def _unusable(self, entry: Unusable) -> Played:
        return Played(self._names[entry.source], entry.position, None, 0, None, entry.raw)


def _turn_after(time: float) -> float:
    return (floor(time / TURN) + 1) * TURN
