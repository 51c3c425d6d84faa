"""Reads the log of one partition: decodes records, advances the clock, and tells how active the log is."""

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
from streams.kafka.codec import LogDecoder, Origin, Record
from streams.metrics import Metrics
from streams.settings import Settings

BUSY = 24
"""Events within a day that make a log a busy one."""


class AcceptedEvent(Struct, frozen=True, gc=False):
    """A decoded and checked event. The user's timers that are due at or before `until` run before it."""

    key: bytes
    record: Record
    origin: Origin | None
    event: ev.Event
    until: float


class LogReader:
    """Reads the log of one partition in order. Records that cannot be decoded go to the dead-letter queue.

    `announced` holds announced courses for which no audience has been selected yet.

    Args:
        partition: the partition.
        partitions: partition count.
        settings: settings of the worker.
        verified: keys of users that are known to belong to this partition.
        dead_letters: takes records that cannot be decoded.
        clock: the partition's clock; accepted events and ticks advance it.
        metrics: counts ticks.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        settings: Settings,
        verified: Container[bytes],
        dead_letters: DeadLetterQueue,
        clock: PartitionClock,
        metrics: Metrics,
    ) -> None:
        self.announced: list[ev.Announced] = []
        self.clock = clock
        self._lateness = settings.rules().lateness
        inputs = frozenset(settings.prefix + topic for topic in settings.inputs)
        decoder = LogDecoder(partition, partitions, inputs, settings.max_record_bytes, settings.skew, verified)
        self._decode = decoder.decode
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._latest: deque[float] = deque(maxlen=BUSY)

    @property
    def last_event(self) -> float:
        """Time of the partition's latest known event; 0 if there is none."""
        return self._latest[-1] if self._latest else 0.0

    @property
    def busy(self) -> bool:
        """Whether a silence of this log is a fault: it had many events in the day before its latest event."""
        return len(self._latest) == BUSY and self._latest[-1] - self._latest[0] <= DAY

    def resume(self, last_active: Iterable[float]) -> None:
        """Continue after a recovery, with the times at which users were last active."""
        self._latest.extend(sorted(heapq.nlargest(BUSY, last_active)))

    def note_applied(self, times: list[float]) -> None:
        """Note the times of applied events, in any order and without duplicates."""
        for time in sorted(times)[-BUSY:]:
            self._latest.append(max(self.last_event, time))

    def read(self, record: Record) -> AcceptedEvent | None:
        """Decode a record and advance the clock; return the event if it is about a user."""
        try:
            event, origin = self._decode(record)
        except InvalidEvent as bad:
            self._dead_letters.send(record, bad)
            return None
        if type(event) is ev.Tick:  # `isinstance` costs four times as much for msgspec's structs
            self.clock.advance(event.time)
            self._metrics.add("encore_ticks_total")
        elif type(event) is ev.Announced:
            self.announced.append(event)
        else:
            return self.accept(record, event, origin)
        return None

    def accept(self, record: Record, event: ev.Event, origin: Origin | None = None) -> AcceptedEvent:
        """Advance the clock with a checked event, and determine which timers run before it."""
        clock, time = self.clock, event.time
        clock.advance(time)
        until, passed = nextafter(time, 0.0), clock.now - self._lateness
        if passed > until:
            until = passed
        return AcceptedEvent(record.key or b"", record, origin, event, until)
