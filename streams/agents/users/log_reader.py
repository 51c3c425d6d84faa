"""Reading one partition's log: what a record says, how far it moves time, and who they are about."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container, Iterable
from math import nextafter

from msgspec import Struct

from models.person.activity import DAY
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.clock import PartitionClock
from streams.delivery.dead_letters import DeadLetterQueue
from streams.kafka import codec
from streams.kafka.codec import Record
from streams.metrics import Metrics
from streams.settings import Settings

BUSY = 24

Origin = tuple[str, int] | None


class AcceptedEvent(Struct, frozen=True, gc=False):
    """A record that is to be applied, once the person's due work up to a moment has been done."""

    key: bytes
    record: Record
    origin: Origin
    event: ev.Event
    until: float


class LogReader:
    """Reads the log of one partition, in its order; what cannot be read is buried with its reason.

    `announced` holds the courses that were announced and not offered yet.

    Args:
        partition: which.
        partitions: how many there are.
        settings: of the worker.
        known: keys of people who are known to belong here.
        dead_letters: for what cannot be read.
        clock: the partition's; accepted events and ticks move it.
        metrics: are told of ticks.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        settings: Settings,
        known: Container[bytes],
        dead_letters: DeadLetterQueue,
        clock: PartitionClock,
        metrics: Metrics,
    ) -> None:
        self.announced: list[ev.Announced] = []
        self.clock = clock
        self._partition = partition
        self._partitions = partitions
        self._settings = settings
        self._lateness = settings.rules().lateness
        self._inputs = frozenset(settings.prefix + topic for topic in settings.inputs)
        self._known = known
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._latest: deque[float] = deque(maxlen=BUSY)

    @property
    def last_event(self) -> float:
        """When the partition's latest event happened, as far as is known."""
        return self._latest[-1] if self._latest else 0.0

    @property
    def busy(self) -> bool:
        """Whether the log is one in which silence means something: many events in the day before the latest."""
        return len(self._latest) == BUSY and self._latest[-1] - self._latest[0] <= DAY

    def recovered(self, lasts: Iterable[float]) -> None:
        """Take up when people were last active."""
        self._latest.extend(sorted(heapq.nlargest(BUSY, lasts)))

    def applied(self, times: list[float]) -> None:
        """Note when events happened that were applied, in any order; repetitions are none."""
        for time in sorted(times)[-BUSY:]:
            self._latest.append(max(self.last_event, time))

    def taken(self, record: Record) -> AcceptedEvent | None:
        """Read a record, move the clock, and note what is to be done before it, if it is about a person."""
        settings = self._settings
        try:
            event = codec.decode_event(
                record.value, record.timestamp / 1000.0, settings.max_record_bytes, settings.skew
            )
            event = codec.check_log_record(event, record.key, self._partition, self._partitions, self._known)
        except InvalidEvent as bad:
            self._dead_letters.send(record, bad)
            return None
        if isinstance(event, ev.Event):
            return self.accepted(record, event)
        if isinstance(event, ev.Tick):
            self.clock.advance(event.time)
            self._metrics.add("encore_ticks_total")
        else:
            self.announced.append(event)
        return None

    def accepted(self, record: Record, event: ev.Event) -> AcceptedEvent:
        """Move the clock with an accepted event, and note what is to be done before it."""
        clock, time = self.clock, event.time
        clock.advance(time)
        until, passed = nextafter(time, 0.0), clock.now - self._lateness
        if passed > until:
            until = passed
        return AcceptedEvent(record.key or b"", record, codec.origin_of(record, self._inputs), event, until)
