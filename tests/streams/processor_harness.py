"""A log processor with real users, outbox and dead-letter queue, over a sink that a test acknowledges."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

import orjson
from msgspec.structs import replace

from models.retention.context import Context
from models.schema import event_codec
from models.schema import events as ev
from streams.agents.users.envelope import Envelope, decode_envelope
from streams.agents.users.partition import ProcessorFactory
from streams.agents.users.store import TOMBSTONE, UserStore
from streams.kafka import codec, topics
from streams.metrics import Metrics
from streams.settings import Settings
from streams.state.partition import FENCE
from tests.models.people import make_campaign, make_context, make_model
from tests.streams.doubles import CountedBudget, ManualClock, ManualSink, Put, Record

CHANGELOG = "people-changelog"
DEFAULT_CONTEXT = make_context(
    campaign=make_campaign(quiet_from=22.0, quiet_until=7.5, hold_out=0.3, cool_down_days=2.0), model=make_model()
)
Changelog = list[tuple[bytes, bytes | None]]


def record(event: ev.AnyEvent, offset: int, origin: tuple[str, int, int] | None = None, **changes: Any) -> Record:
    """A record of the log, as ingest or a platform writes it. Its timestamp is the event time."""
    key = event.user_id.encode() if isinstance(event, ev.Event) else None
    headers = tuple(codec.origin_header(*origin)) if origin else ()
    return Record("events", 0, offset, int(event.time * 1_000), key, event_codec.encode(event), headers)._replace(
        **changes
    )


class SentOutput(NamedTuple):
    """An output on a topic: its id (the key of a dead letter) and its bytes."""

    topic: str
    id: str
    value: bytes | None


class ProcessorHarness:
    """A partition that is recovered from a changelog. Its wall clock stands at zero, so that no output expires."""

    def __init__(
        self, changelog: Iterable[tuple[bytes, bytes | None]] = (), partition: int = 0, of: int = 1, **changes: Any
    ) -> None:
        self.context: Context = changes.pop("context", DEFAULT_CONTEXT)
        self.settings = replace(Settings(), **{"clock": "source", "inputs": ("in", "other"), **changes})
        self.sink, self.metrics, self.clock = ManualSink(), Metrics(), ManualClock(0.0)
        rules, max_cached = self.settings.rules(), self.settings.cached_users
        self.users = UserStore(rules, max_cached, self.sink.changelog(CHANGELOG, partition))
        for key, value in changelog:
            self.users.restore(key, value)
        self.users.acquire()
        factory = ProcessorFactory(self.settings, of, lambda: self.sink, self.metrics, lambda: self.context, "")
        self.write_ahead = factory.write_ahead
        self.processor = factory.create(partition, self.users, self.clock)
        self.processor.resume()

    def process(self, *records: Record) -> None:
        self.processor.process(records)
        self.write_ahead.send()

    def run_timers(self) -> None:
        """Run all due timers."""
        while self.processor.run_timers(CountedBudget(1_000)):
            pass
        self.write_ahead.send()

    def commit_all(self) -> None:
        """Commit until every user is written and every output is sent."""
        self.sink.settle()
        while self.users.dirty:
            self.processor.flush()
            self.sink.settle()

    def count(self, counter: Any, *labels: str) -> int:
        return self.metrics.value(counter, *labels)

    def accounted_records(self) -> int:
        """Number of records that a counter accounts for."""
        counters = ("encore_events_total", "encore_duplicates_total", "encore_ticks_total", "encore_dead_letters_total")
        failed_timers = self.count("encore_dead_letters_total", "due_failed")
        return sum(self.count(counter) for counter in counters) - failed_timers

    @property
    def changelog(self) -> Changelog:
        return changelog_of(self.sink.all)

    @property
    def outputs(self) -> list[SentOutput]:
        return outputs_of(self.sink.all)

    @property
    def envelopes(self) -> dict[bytes, Envelope]:
        return decode_all(self.users.cold)


def changelog_of(puts: Iterable[Put]) -> Changelog:
    return [(put.key or b"", put.value) for put in puts if put.topic == CHANGELOG]


def decode_all(values: dict[bytes, bytes]) -> dict[bytes, Envelope]:
    """The envelope of every key, as last written."""
    return {key: decode_envelope(value) for key, value in values.items() if key != FENCE}


def unerased_keys(values: dict[bytes, bytes]) -> list[bytes]:
    """Keys that are user ids, not the hashes of erased users."""
    return [key for key in values if not key.startswith(TOMBSTONE)]


def outputs_of(puts: Iterable[Put]) -> list[SentOutput]:
    """Every record that is not in the changelog, in order."""
    outputs = []
    for put in puts:
        if put.topic == topics.DEAD_LETTERS or put.value is None:
            outputs.append(SentOutput(put.topic, (put.key or b"").decode(), put.value))
        elif put.topic != CHANGELOG:
            outputs.append(SentOutput(put.topic, orjson.loads(put.value)["id"], put.value))
    return [output for output in outputs if output.topic != CHANGELOG]


def run_with_crashes(
    log: list[Record], crashes: list[int], seed: int, **changes: Any
) -> tuple[ProcessorHarness, list[Put]]:
    """Apply a log with workers that follow one another; return the last worker and all that reached Kafka.

    Each worker but the last crashes when the given number of its records has reached Kafka; later records are lost.
    The next worker recovers from the changelog and reads the log from the last committed offset. Sizes of chunks,
    acknowledgements, timers and commits are random. The log ends with a tick.
    """
    dice, durable, committed = Random(seed), list[Put](), 0
    for budget in [*crashes, 1_000_000]:
        worker = ProcessorHarness(changelog_of(durable), **changes)
        committed, ended = _run_worker(worker, log, committed, budget, dice)
        durable += worker.sink.all[:budget]
        if ended:
            return worker, durable
    raise AssertionError("the last worker reaches the end")


def _run_worker(
    worker: ProcessorHarness, log: list[Record], committed: int, budget: int, dice: Random
) -> tuple[int, bool]:
    """Apply the log from the committed offset on; return the offset committed last, and whether all is done."""
    position, sink = committed, worker.sink
    if position == len(log):  # everything is committed: the next tick only advances the clock
        worker.process(log[-1])
    while position < len(log):
        step = dice.randint(1, 6)
        worker.process(*log[position : position + step])
        position = min(position + step, len(log))
        if dice.random() < 0.4:
            worker.processor.run_timers(CountedBudget(dice.randint(1, 3)))
        if dice.random() < 0.4:
            sink.acknowledge([put for put in sink.all[:budget] if not put.done.done()][: dice.randint(1, 9)])
        if dice.random() < 0.3 and _commit(worker, budget):
            committed = position
        if len(sink.all) > budget:
            return committed, False
    worker.run_timers()
    while worker.users.dirty or sink.open():
        if not _commit(worker, budget):
            return committed, False
        committed = position
    return committed, True


def _commit(worker: ProcessorHarness, budget: int) -> bool:
    """Write all users and wait for every record; return False if the worker crashes meanwhile."""
    worker.processor.flush()
    while worker.sink.open():
        if len(worker.sink.all) > budget:
            return False
        worker.sink.acknowledge()
    return len(worker.sink.all) <= budget
