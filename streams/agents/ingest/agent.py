"""The ingest agent: appends the input topics to the log `events`.

It maps and validates records, keys them by user, and adds a header with each record's origin. It reads with its own
consumer, not through a Faust stream: alignment has to choose which partition to read next, before any of its records
is delivered.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest import mapping_file
from streams.agents.ingest.alignment import WatermarkAligner
from streams.agents.ingest.assignor import SingleConsumerAssignor
from streams.agents.ingest.backlog import BacklogMonitor, Partition
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

MAX_RECORDS = 2_000
"""Records taken from the consumer at once."""
IDLE = 0.02
"""Seconds of sleep after a round without records."""
MAX_UNACKNOWLEDGED = 20_000
"""Records sent but not acknowledged, above which ingest reads no more."""
FETCH_WAIT_MS = 100
"""Milliseconds for which a fetch, or a query queued behind it, waits at the broker."""

Decoded = ev.AnyEvent | InvalidEvent | None
"""A record's event, or why it is none; None if a mapping file skips it."""
ReadRecord = tuple[Record, Decoded]


class IngestAgent:
    """Appends the records of the input topics to the log, each at least once, in each source partition's order.

    Every record in the log carries its origin, so a record repeated after a crash is recognised as a repeat. Every few
    seconds the agent publishes its progress: a moment such that the log has all records that the inputs had then.
    Ticks go no further than this.
    """

    def __init__(self, settings: Settings, sender: Sender, metrics: Metrics, partitions: int) -> None:
        self._settings = settings
        self._sender = sender
        self._metrics = metrics
        self._dead_letters = DeadLetterQueue(sender, settings.prefix, metrics)
        self._aligner: WatermarkAligner[Partition, ReadRecord] = WatermarkAligner(settings.lateness / 2)
        self._appended: dict[Partition, int] = {}
        self._backlog = BacklogMonitor()
        self._log = name(settings, topics.EVENTS)
        self._log_partitions = partitions
        self._mappings = mapping_file.load_mappings(settings)
        self._inputs = {name(settings, topic) for topic in settings.inputs}
        self._progress_target: tuple[float, dict[Partition, int]] | None = None
        self._progress_sent_at = NOT_YET
        self.assignment: set[Partition] = set()

    async def run(self) -> None:
        """Read, append and commit until cancelled; what was appended is committed before it ends."""
        consumer = self._consumer()
        await consumer.start()
        watch = asyncio.ensure_future(self._backlog.watch_for_pauses())
        try:
            consumer.subscribe(self._inputs, listener=_RebalanceListener(self, consumer))
            while True:
                commit_interval = TimeBudget(self._settings.commit_every)
                while not commit_interval.over():
                    await self._read_and_append(consumer)
                moment = await self._progress(consumer)
                await self.commit(consumer)
                if moment is not None:
                    self._progress_sent_at = monotonic()
                    self._sender.enqueue(name(self._settings, topics.META), INGEST_PROGRESS_KEY, repr(moment).encode())
        finally:
            watch.cancel()
            try:
                await self.commit(consumer)
            finally:
                await consumer.stop()

    async def commit(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Commit the offsets of the records that the log has acknowledged."""
        appended = dict(self._appended)
        await self._sender.flush()
        offsets = {partition: offset for partition, offset in appended.items() if partition in consumer.assignment()}
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except KafkaError:
            return  # the partitions were revoked, or the broker is away: records repeat, and their origin shows it
        for partition, offset in offsets.items():
            if self._appended.get(partition) == offset:
                del self._appended[partition]

    def on_assigned(self, partitions: set[Partition]) -> None:
        """Continue with the assigned partitions, and forget all others."""
        self.on_revoked(self._aligner.known_partitions() - partitions)
        self.assignment, self._progress_target = partitions, None

    def on_revoked(self, partitions: set[Partition]) -> None:
        """Forget what is held of revoked partitions."""
        self._aligner.drop(partitions)
        for partition in partitions:
            self._appended.pop(partition, None)

    def _consumer(self) -> aiokafka.AIOKafkaConsumer:
        return clients.consumer(
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

    async def _progress(self, consumer: aiokafka.AIOKafkaConsumer) -> float | None:
        """Return a moment such that all records which the inputs had then are sent; None if it is not reached yet."""
        interval = max(1.0, min(10.0, self._settings.tick_every))
        complete = {partition.topic for partition in self.assignment} == self._inputs
        if self._settings.clock != "wall" or not complete or monotonic() < self._progress_sent_at + interval:
            return None
        assignment = self.assignment
        try:
            if self._progress_target is None:
                now = wall()
                self._progress_target = now, await consumer.end_offsets(list(assignment))
            moment, ends = self._progress_target
            reached = all(map(self._aligner.is_empty, assignment)) and await has_reached(consumer, ends)
        except KafkaError:
            return None  # the partitions were revoked, or the broker is away
        if not reached or self.assignment is not assignment:
            return None
        self._progress_target = None
        return moment

    # -- one round

    async def _read_and_append(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Read the partitions of which nothing is held, and append the records that may pass."""
        busy = await self._fetch(consumer)
        queued = {partition for partition in consumer.assignment() if not self._aligner.is_empty(partition)}
        backlogged = await self._backlog.find_backlogged(consumer, queued)
        if passing := self._aligner.dequeue(backlogged, set(consumer.assignment())):
            self._append(passing)
            busy = True
        await asyncio.sleep(0 if busy else IDLE)  # idle also behind an open transaction: what is held waits for it
        while self._sender.backlog > MAX_UNACKNOWLEDGED:
            await asyncio.sleep(0.01)

    async def _fetch(self, consumer: aiokafka.AIOKafkaConsumer) -> bool:
        """Enqueue the next records of the partitions of which nothing is held; return whether there were any."""
        assigned = consumer.assignment()
        wanted = [partition for partition in assigned if self._aligner.is_empty(partition)]
        if not assigned:
            await self._wait_for_assignment(consumer)
            return False
        if not wanted:
            await asyncio.sleep(0)
            return False
        wait = 0 if len(self._aligner) else 200
        fetched = await consumer.getmany(*wanted, timeout_ms=wait, max_records=MAX_RECORDS)
        for partition, records in fetched.items():
            if partition in consumer.assignment():  # else it was revoked meanwhile
                self._metrics.add("encore_records_total", "ingest", by=len(records))
                for record in records:
                    event = self._decode(record)
                    moment = 0.0 if event is None or isinstance(event, InvalidEvent) else event.time
                    self._aligner.enqueue(partition, moment, (record, event))
        return bool(fetched)

    async def _wait_for_assignment(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Wait for partitions.

        Raises:
            KafkaError: the group will never accept this worker.
        """
        await asyncio.sleep(0.05)
        try:
            consumer._coordinator.check_errors()
        except FATAL_GROUP_ERRORS:
            raise
        except KafkaError:
            return  # the consumer joins again

    def _decode(self, record: Record) -> Decoded:
        settings, value, mapping = self._settings, record.value, self._mappings.get(record.topic)
        try:
            if mapping is not None and value is not None and len(value) <= settings.max_record_bytes:
                value = mapping.translate(value)
                if value is None:
                    return None
            event = codec.decode_event(value, record.timestamp / 1000.0, settings.max_record_bytes, settings.skew)
        except InvalidEvent as bad:
            return bad
        if isinstance(event, ev.INTERNAL_KINDS):
            return InvalidEvent("unknown_type", "type", "such records belong to `events` alone")
        return event

    # -- the log

    def _append(self, passing: Sequence[tuple[Partition, ReadRecord]]) -> None:
        """Send records to the log; those of a log partition are sent as one batch."""
        batches: defaultdict[int, list[OutgoingRecord]] = defaultdict(list)
        for partition, (record, event) in passing:
            self._appended[partition] = record.offset + 1
            if isinstance(event, ev.Event):
                key = event.user_id.encode()
                origin = codec.origin_header(partition.topic, partition.partition, record.offset)
                row = OutgoingRecord(key, self._value(record, event), origin, record.timestamp)
                batches[partition_of(key, self._log_partitions)].append(row)
                continue
            if isinstance(event, ev.CourseEvent):  # its announcement must stand in the log behind earlier records
                self._send(batches)
            self._append_other(record, event)
        self._send(batches)

    def _send(self, batches: dict[int, list[OutgoingRecord]]) -> None:
        for partition, rows in batches.items():
            self._sender.enqueue_all(self._log, partition, rows)
        batches.clear()

    def _append_other(self, record: Record, event: Decoded) -> None:
        """Send a record that is no user's event to where it belongs, or count that it is skipped."""
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
        return event_codec.encode(event) if record.topic in self._mappings else record.value

    def _announce(self, event: ev.CoursePublished, headers: Headers, timestamp: int) -> None:
        """Announce a course in every partition of the log, which then looks for an audience among its users."""
        value = event_codec.encode(ev.Announced(time=event.time, course=event))
        for partition in range(self._log_partitions):
            self._sender.enqueue(self._log, None, value, partition, headers, timestamp)


class _RebalanceListener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, ingest: IngestAgent, consumer: aiokafka.AIOKafkaConsumer) -> None:
        self._ingest = ingest
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._ingest.commit(self._consumer)
        self._ingest.on_revoked(set(revoked))

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._ingest.on_assigned(set(assigned))
