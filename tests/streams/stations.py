"""One partition at one worker, with real people, outbox and dead_letters, over a sink that a test acknowledges."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

import orjson
from msgspec.structs import replace

from models.retention.context import Context
from models.schema import event_codec
from models.schema import events as ev
from streams.agents.users.envelope import Envelope, unseal
from streams.agents.users.outbox import Outbox
from streams.agents.users.processor import LogProcessor
from streams.agents.users.store import TOMBSTONE, UserStore
from streams.delivery.dead_letters import DeadLetterQueue
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.kafka import codec, topics
from streams.metrics import Metrics
from streams.settings import Settings
from streams.state.partition import FENCE
from tests.models.people import make_campaign, make_context, make_model
from tests.streams.doubles import ManualSink, Put, Record, Still, Times

PEOPLE = "people-changelog"
NIGHTS = make_context(
    campaign=make_campaign(quiet_from=22.0, quiet_until=7.5, hold_out=0.3, cool_down_days=2.0), model=make_model()
)
Changelog = list[tuple[bytes, bytes | None]]


def record(event: ev.AnyEvent, offset: int, origin: tuple[str, int, int] | None = None, **changes: Any) -> Record:
    """A record of the log, as ingest or a platform writes it; the log's time is the event's."""
    key = event.user_id.encode() if isinstance(event, ev.Event) else None
    headers = tuple(codec.origin_header(*origin)) if origin else ()
    return Record("events", 0, offset, int(event.time * 1_000), key, event_codec.encode(event), headers)._replace(
        **changes
    )


class Said(NamedTuple):
    """An output as it stands on a topic: its id (a dead letter's is its key) and its bytes."""

    topic: str
    id: str
    value: bytes | None


class Station:
    """A partition, recovered from a changelog. Its wall clock stands at the beginning, so nothing is old news."""

    def __init__(
        self, changelog: Iterable[tuple[bytes, bytes | None]] = (), partition: int = 0, of: int = 1, **changes: Any
    ) -> None:
        self.world: Context = changes.pop("world", NIGHTS)
        self.settings = replace(Settings(), **{"clock": "source", "inputs": ("in", "other"), **changes})
        self.sink, self.metrics, self.clock = ManualSink(), Metrics(), Still(0.0)
        rules, hot = self.settings.rules(), self.settings.cached_users
        self.people = UserStore(rules, hot, self.sink.changelog(PEOPLE, partition))
        for key, value in changelog:
            self.people.restore(key, value)
        self.people.acquire()
        self.ahead = WriteAheadOutputs(lambda: self.sink, "", of, self.metrics)
        self.fold = LogProcessor(
            partition,
            of,
            self.settings,
            self.people,
            Outbox(self.people, self.ahead, self.sink, "", self.clock, self.metrics),
            DeadLetterQueue(self.sink, "", self.metrics),
            self.clock,
            self.metrics,
            lambda: self.world,
        )
        self.fold.recovered()

    def apply(self, *records: Record) -> None:
        self.fold.apply(records)
        self.ahead.send()

    def drain(self) -> None:
        """Do all due work there is."""
        while self.fold.drain(Times(1_000)):
            pass
        self.ahead.send()

    def rest(self) -> None:
        """Commit until everything is written and has left."""
        self.sink.settle()
        while self.people.dirty:
            self.fold.flush()
            self.sink.settle()

    def count(self, counter: Any, *labels: str) -> int:
        return self.metrics.value(counter, *labels)

    def counted(self) -> int:
        """How many records are accounted for, by what became of them."""
        counters = ("encore_events_total", "encore_duplicates_total", "encore_ticks_total", "encore_dead_letters_total")
        mourned = self.count("encore_dead_letters_total", "due_failed")
        return sum(self.count(counter) for counter in counters) - mourned

    @property
    def changelog(self) -> Changelog:
        return changelog(self.sink.all)

    @property
    def said(self) -> list[Said]:
        return said(self.sink.all)

    @property
    def known(self) -> dict[bytes, Envelope]:
        return known(self.people.cold)


def changelog(puts: Iterable[Put]) -> Changelog:
    return [(put.key or b"", put.value) for put in puts if put.topic == PEOPLE]


def known(values: dict[bytes, bytes]) -> dict[bytes, Envelope]:
    """Everybody by key, as last written."""
    return {key: unseal(value) for key, value in values.items() if key != FENCE}


def named(values: dict[bytes, bytes]) -> list[bytes]:
    """Who stands under a name, and not under a stone."""
    return [key for key in values if not key.startswith(TOMBSTONE)]


def said(puts: Iterable[Put]) -> list[Said]:
    """Everything that went to the world, in order."""
    heard = []
    for put in puts:
        if put.topic == topics.DEAD_LETTERS or put.value is None:
            heard.append(Said(put.topic, (put.key or b"").decode(), put.value))
        elif put.topic != PEOPLE:
            heard.append(Said(put.topic, orjson.loads(put.value)["id"], put.value))
    return [each for each in heard if each.topic != PEOPLE]


def lived(log: list[Record], crashes: list[int], seed: int, **changes: Any) -> tuple[Station, list[Put]]:
    """A log applied by workers that follow one another, and everything that reached Kafka meanwhile.

    Each worker but the last crashes when so many of its records have reached Kafka; what it had put beyond is lost.
    The next one recovers what the changelog holds and reads the log from the offset committed last. Chunks,
    acknowledgements, due work and commits come as the dice fall. The log ends with a tick.
    """
    dice, durable, committed = Random(seed), list[Put](), 0
    for budget in [*crashes, 1_000_000]:
        station = Station(changelog(durable), **changes)
        committed, ended = _life(station, log, committed, budget, dice)
        durable += station.sink.all[:budget]
        if ended:
            return station, durable
    raise AssertionError("the last worker reaches the end")


def _life(station: Station, log: list[Record], committed: int, budget: int, dice: Random) -> tuple[int, bool]:
    """Apply the log from the committed offset on; return the offset committed last, and whether all is done."""
    position, sink = committed, station.sink
    if position == len(log):  # the next tick comes, and with it the time
        station.apply(log[-1])
    while position < len(log):
        step = dice.randint(1, 6)
        station.apply(*log[position : position + step])
        position = min(position + step, len(log))
        if dice.random() < 0.4:
            station.fold.drain(Times(dice.randint(1, 3)))
        if dice.random() < 0.4:
            sink.acknowledge([put for put in sink.all[:budget] if not put.done.done()][: dice.randint(1, 9)])
        if dice.random() < 0.3 and _committed(station, budget):
            committed = position
        if len(sink.all) > budget:
            return committed, False
    station.drain()
    while station.people.dirty or sink.open():
        if not _committed(station, budget):
            return committed, False
        committed = position
    return committed, True


def _committed(station: Station, budget: int) -> bool:
    """Write everybody and wait for all that was put; a worker that crashes meanwhile has committed nothing."""
    station.fold.flush()
    while station.sink.open():
        if len(station.sink.all) > budget:
            return False
        station.sink.acknowledge()
    return len(station.sink.all) <= budget
