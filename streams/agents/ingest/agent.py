"""Ingest: any topics in, one log out. Maps, checks, keys by person, appends, and says where each record came from.

It reads with a consumer of its own and not through a Faust stream, because alignment has to choose which partition
to read next, before anything of it is delivered.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest import mapping_file
from streams.agents.ingest.alignment import WatermarkAligner
from streams.agents.ingest.assignor import SingleConsumerAssignor
from streams.agents.ingest.backlog import BacklogMonitor, Place
from streams.clock import NOT_YET, TimeBudget, monotonic, wall
from streams.delivery.batching import Headers, OutgoingRecord
from streams.delivery.dead_letters import DeadLetterQueue
from streams.delivery.sender import Sender
from streams.kafka import clients, codec, topics
from streams.kafka.clients import FATAL_GROUP_ERRORS
from streams.kafka.codec import Record
from streams.kafka.readers import has_reached
from streams.kafka.topics import INGEST_PROGRESS_KEY, name, partition_of
from streams.metrics import Metrics
from streams.settings import Settings

MOST_RECORDS = 2_000
IDLE = 0.02
MOST_UNACKNOWLEDGED = 20_000
FETCH_WAIT_MS = 100
"""For which a fetch waits at the broker, and what is asked behind it: how far a partition goes."""

Found = tuple[Record, ev.AnyEvent | InvalidEvent | None]
"""A record and what it is; none if a mapping file leaves it out."""


class IngestAgent:
    """Appends what the input topics hold to the log, each record at least once, in each source partition's order.

    The origin stands on every record it writes, so what it repeats after a crash is known as a repeat. Every few
    seconds it says of which moment everything is in the log that stood in the inputs then: ticks go no further.
    """

    def __init__(self, settings: Settings, sender: Sender, metrics: Metrics, partitions: int) -> None:
        self._settings = settings
        self._sender = sender
        self._metrics = metrics
        self._dead_letters = DeadLetterQueue(sender, settings.prefix, metrics)
        self._aligner: WatermarkAligner[Place, Found] = WatermarkAligner(settings.lateness / 2)
        self._done: dict[Place, int] = {}
        self._unread = BacklogMonitor()
        self._log = name(settings, topics.EVENTS)
        self._partitions = partitions
        self._mappings = mapping_file.of_topics(settings)
        self._inputs = {name(settings, topic) for topic in settings.inputs}
        self._aim: tuple[float, dict[Place, int]] | None = None
        self._said_at = NOT_YET
        self.places: set[Place] = set()

    async def run(self) -> None:
        """Read, append and commit until cancelled; what was appended is committed before it ends."""
        consumer = clients.consumer(
            self._settings,
            group_id=f"{self._settings.group}-ingest",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(SingleConsumerAssignor,),
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=int(self._settings.session_timeout * 1000),
            heartbeat_interval_ms=int(min(3.0, self._settings.session_timeout / 3) * 1000),
        )
        await consumer.start()
        watch = asyncio.ensure_future(self._unread.watch())
        try:
            consumer.subscribe(self._inputs, listener=_Listener(self, consumer))
            while True:
                due = TimeBudget(self._settings.commit_every)
                while not due.over():
                    await self._round(consumer)
                moment = await self._passed(consumer)
                await self.commit(consumer)
                if moment is not None:
                    self._said_at = monotonic()
                    self._sender.enqueue(name(self._settings, topics.META), INGEST_PROGRESS_KEY, repr(moment).encode())
        finally:
            watch.cancel()
            try:
                await self.commit(consumer)
            finally:
                await consumer.stop()

    async def commit(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Commit what the log has acknowledged."""
        done = dict(self._done)
        await self._sender.flush()
        mine = {place: offset for place, offset in done.items() if place in consumer.assignment()}
        if not mine:
            return
        try:
            await consumer.commit(mine)
        except KafkaError:
            return  # the partitions went, or the broker is away: it is repeated, and the origin tells
        for place, offset in mine.items():
            if self._done.get(place) == offset:
                del self._done[place]

    def assigned(self, places: set[Place]) -> None:
        """Go on with the partitions that we were given, and forget all others."""
        self.revoked(self._aligner.places() - places)
        self.places, self._aim = places, None

    def revoked(self, places: set[Place]) -> None:
        """Forget what is held of partitions that go."""
        self._aligner.forget(places)
        for place in places:
            self._done.pop(place, None)

    async def _passed(self, consumer: aiokafka.AIOKafkaConsumer) -> float | None:
        """Return a moment such that all that stood in the inputs then has been put; nothing while there is no such."""
        every = max(1.0, min(10.0, self._settings.tick_every))
        whole = {place.topic for place in self.places} == self._inputs
        if self._settings.clock != "wall" or not whole or monotonic() < self._said_at + every:
            return None
        places = self.places
        try:
            if self._aim is None:
                now = wall()
                self._aim = now, await consumer.end_offsets(list(places))
            moment, ends = self._aim
            there = all(map(self._aligner.wants, places)) and await has_reached(consumer, ends)
        except KafkaError:
            return None  # the partitions went, or the broker is away
        if not there or self.places is not places:
            return None
        self._aim = None
        return moment

    async def _round(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Read the partitions of which nothing is held, and append what may go."""
        busy = await self._fetch(consumer)
        offered = {place for place in consumer.assignment() if not self._aligner.wants(place)}
        unread = await self._unread.of(consumer, offered)
        if going := self._aligner.take(unread, set(consumer.assignment())):
            self._append(going)
            busy = True
        await asyncio.sleep(0 if busy else IDLE)  # as behind a transaction that is open: what is held waits for it
        while self._sender.backlog > MOST_UNACKNOWLEDGED:
            await asyncio.sleep(0.01)

    async def _fetch(self, consumer: aiokafka.AIOKafkaConsumer) -> bool:
        assigned = consumer.assignment()
        wanted = [place for place in assigned if self._aligner.wants(place)]
        if not assigned:
            await self._stand_by(consumer)
            return False
        if not wanted:
            await asyncio.sleep(0)
            return False
        wait = 0 if len(self._aligner) else 200
        fetched = await consumer.getmany(*wanted, timeout_ms=wait, max_records=MOST_RECORDS)
        for place, records in fetched.items():
            if place in consumer.assignment():  # else a rebalance came between
                self._metrics.add("encore_records_total", "ingest", by=len(records))
                for record in records:
                    self._offer(place, record)
        return bool(fetched)

    async def _stand_by(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Wait to be given partitions; a group that will never take us is a failure."""
        await asyncio.sleep(0.05)
        try:
            consumer._coordinator.check_errors()
        except FATAL_GROUP_ERRORS:
            raise
        except KafkaError:
            return  # it joins again

    def _offer(self, place: Place, record: Record) -> None:
        event = self._read(record)
        moment = 0.0 if event is None or isinstance(event, InvalidEvent) else event.time
        self._aligner.offer(place, moment, (record, event))

    def _read(self, record: Record) -> ev.AnyEvent | InvalidEvent | None:
        settings, value, mapped = self._settings, record.value, self._mappings.get(record.topic)
        try:
            if mapped is not None and value is not None and len(value) <= settings.max_record_bytes:
                value = mapped.translate(value)
                if value is None:
                    return None
            event = codec.decode_event(value, record.timestamp / 1000.0, settings.max_record_bytes, settings.skew)
        except InvalidEvent as bad:
            return bad
        if isinstance(event, ev.LOG_KINDS):
            return InvalidEvent("unknown_type", "type", "such records belong to `events` alone")
        return event

    def _append(self, going: Sequence[tuple[Place, Found]]) -> None:
        """Put records into the log, those of a partition together."""
        lots: defaultdict[int, list[OutgoingRecord]] = defaultdict(list)
        for place, (record, event) in going:
            self._done[place] = record.offset + 1
            if isinstance(event, ev.Event):
                key = event.user_id.encode()
                origin = codec.origin_header(place.topic, place.partition, record.offset)
                row = OutgoingRecord(key, self._value(record, event), origin, record.timestamp)
                lots[partition_of(key, self._partitions)].append(row)
                continue
            if isinstance(event, ev.CourseEvent):  # it may be announced in the log, behind what was before it
                self._put(lots)
            self._append_other(record, event)
        self._put(lots)

    def _put(self, lots: dict[int, list[OutgoingRecord]]) -> None:
        for partition, rows in lots.items():
            self._sender.enqueue_all(self._log, partition, rows)
        lots.clear()

    def _append_other(self, record: Record, event: ev.AnyEvent | InvalidEvent | None) -> None:
        if event is None:
            self._metrics.add("encore_skipped_total", record.topic)
        elif isinstance(event, InvalidEvent):
            self._dead_letters.send(record, event)
        elif isinstance(event, ev.CourseEvent):
            headers = codec.origin_header(record.topic, record.partition, record.offset)
            key, value = event.course_id.encode(), self._value(record, event)
            self._sender.enqueue(name(self._settings, topics.CATALOG), key, value, headers=headers)
            if isinstance(event, ev.CoursePublished) and event.audience:
                self._announce(event, headers, record.timestamp)

    def _value(self, record: Record, event: ev.AnyEvent) -> bytes | None:
        return ev.encode(event) if record.topic in self._mappings else record.value

    def _announce(self, event: ev.CoursePublished, headers: Headers, timestamp: int) -> None:
        """Have every partition of the log look for an audience among its own people."""
        value = ev.encode(ev.Announced(time=event.time, course=event))
        for place in range(self._partitions):
            self._sender.enqueue(name(self._settings, topics.EVENTS), None, value, place, headers, timestamp)


class _Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, ingest: IngestAgent, consumer: aiokafka.AIOKafkaConsumer) -> None:
        self._ingest = ingest
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._ingest.commit(self._consumer)
        self._ingest.revoked(set(revoked))

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._ingest.assigned(set(assigned))
