"""Where history is sent: directly into `events`, or to an input topic and through ingest.

Ticks always go to `events`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import aiokafka

from models.schema import event_codec
from models.schema import events as ev
from streams.clock import wall
from streams.delivery.batching import Headers
from streams.delivery.sender import Sender
from streams.history.batches import BATCH_BYTES, BatchProducer, RecordToSend, committed_offsets
from streams.kafka import clients, topics
from streams.kafka.codec import Record
from streams.kafka.topics import name, partition_of
from streams.settings import Settings

CACHED_KEYS = 200_000
"""How many keys keep their partition in memory."""
TIMEOUT_SECONDS = 10.0


class KafkaSession:
    """A producer, an admin client, a consumer and a record sender for one broker. Enter it to connect."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sender = Sender(lambda error: None)
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.producer = clients.producer(
            self.settings,
            max_batch_size=BATCH_BYTES,
            max_request_size=self.settings.max_record_bytes + 100_000,
        )
        self.admin = clients.admin(self.settings)
        self.consumer = clients.consumer(self.settings, group_id=None)
        async with contextlib.AsyncExitStack() as opened:
            for opening, end in (
                (self.producer, self.producer.stop),
                (self.admin, self.admin.close),
                (self.consumer, self.consumer.stop),
            ):
                opened.push_async_callback(end)
                await opening.start()
            self._sending = asyncio.create_task(self.sender.run(self.producer))
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await self._opened.aclose()

    async def ends(self, partitions: Iterable[tuple[str, int]]) -> list[int]:
        """Return the current end offsets of partitions."""
        wanted = [aiokafka.TopicPartition(*partition) for partition in partitions]
        found = await self.consumer.end_offsets(wanted)
        return [found[partition] for partition in wanted]

    async def last_records(self, topic: str, partitions: int) -> list[Record]:
        """Return the last record of every partition that has one."""
        topic_partitions = [aiokafka.TopicPartition(topic, number) for number in range(partitions)]
        begins, ends = (
            await self.consumer.beginning_offsets(topic_partitions),
            await self.consumer.end_offsets(topic_partitions),
        )
        non_empty = [partition for partition in topic_partitions if ends[partition] > begins[partition]]
        found: list[Record] = []
        for partition in non_empty:
            self.consumer.assign([partition])
            self.consumer.seek(partition, ends[partition] - 1)
            for records in (await self.consumer.getmany(timeout_ms=int(TIMEOUT_SECONDS * 1_000))).values():
                found += records[:1]
        return found


class Backlog(NamedTuple):
    """How many sent records the workers have not processed, and how many they have processed in all."""

    records: int
    processed: int


class HistorySink(Protocol):
    """Receives history in time order. It writes nothing before `flush`."""

    @property
    def waiting(self) -> int:
        """The number of records that wait for `flush`."""

    def add(self, event: ev.Event | ev.CourseEvent, origin: Headers) -> None:
        """Add an event. The origin is its idempotence key."""

    def tick(self, time: float, origin: Headers) -> None:
        """Add a tick for every partition. Every event added so far is earlier; every later one is not."""

    async def flush(self) -> None:
        """Write everything that was added."""

    async def backlog(self) -> Backlog:
        """Return how far behind the workers are."""


class LogSink:
    """Writes into the log itself. Each event goes to the partition of its user, as ingest would send it."""

    def __init__(self, session: KafkaSession, partitions: int) -> None:
        settings = session.settings
        self._session = session
        self._topic = name(settings, topics.EVENTS)
        self._batches = BatchProducer(session.producer, self._topic, partitions)
        self._rows: list[list[RecordToSend]] = [[] for _ in range(partitions)]
        self._partition_for = _partitioner(partitions)
        self.waiting = 0

    def add(self, event: ev.Event | ev.CourseEvent, origin: Headers) -> None:
        """Add an event to the partition of its user. A course event goes to the catalogue topic."""
        if isinstance(event, ev.CourseEvent):
            catalogue = name(self._session.settings, topics.CATALOG)
            self._session.sender.enqueue(catalogue, event.course_id.encode(), event_codec.encode(event), headers=origin)
            return
        key = event.user_id.encode()
        self._rows[self._partition_for(key)].append(
            RecordToSend(key, event_codec.encode(event), _record_time(event.time), origin)
        )
        self.waiting += 1

    def tick(self, time: float, origin: Headers) -> None:
        """Append a tick to every partition."""
        row = _tick_record(time, origin)
        for rows in self._rows:
            rows.append(row)
        self.waiting += len(self._rows)

    async def flush(self) -> None:
        """Write everything that was added."""
        await self._session.sender.flush()
        await self._batches.write(self._rows)
        self._rows = [[] for _ in self._rows]
        self.waiting = 0

    async def backlog(self) -> Backlog:
        """Return how far behind the users agents are."""
        offsets = await committed_offsets(
            self._session.admin, self._session.settings.group, self._topic, len(self._rows)
        )
        ends = self._batches.ends
        return Backlog(sum(max(0, end - done) for end, done in zip(ends, offsets, strict=True)), sum(offsets))


class HeldTick(NamedTuple):
    """A tick that may be written once ingest has committed the offset `after`."""

    record: RecordToSend
    after: int


class InputTopicSink:
    """Writes to one partition of an input topic, so that ingest appends all events in time order.

    A tick waits until ingest has committed every record before it. By then, those events are in the log.
    """

    def __init__(self, session: KafkaSession, topic: str, partitions: int) -> None:
        settings = session.settings
        self._session = session
        self._input = name(settings, topic)
        self._batches = BatchProducer(session.producer, self._input, 1)
        self._rows: list[RecordToSend] = []
        self._log = name(settings, topics.EVENTS)
        self._partitions = partitions
        self._ticks = BatchProducer(session.producer, self._log, partitions)
        self._next_tick: RecordToSend | None = None
        self._held_ticks: deque[HeldTick] = deque()

    @property
    def waiting(self) -> int:
        """The number of records that wait for `flush`."""
        return len(self._rows)

    def add(self, event: ev.Event | ev.CourseEvent, origin: Headers) -> None:
        """Add an event of a user or of the catalogue. Ingest sets its own origin."""
        key = event.user_id if isinstance(event, ev.Event) else event.course_id
        self._rows.append(RecordToSend(key.encode(), event_codec.encode(event), _record_time(event.time)))

    def tick(self, time: float, origin: Headers) -> None:
        """Add a tick. Of several ticks before the next `flush`, only the last is written."""
        self._next_tick = _tick_record(time, origin)

    async def flush(self) -> None:
        """Write everything that was added. The tick follows when ingest has caught up."""
        await self._session.sender.flush()
        await self._batches.write([self._rows])
        self._rows = []
        if self._next_tick is not None:
            self._held_ticks.append(HeldTick(self._next_tick, self._batches.ends[0]))
            self._next_tick = None
        await self.backlog()

    async def backlog(self) -> Backlog:
        """Return how far behind ingest and the users agents are, and write the tick if it may be written now."""
        admin, group = self._session.admin, self._session.settings.group
        (appended,) = await committed_offsets(admin, f"{group}-ingest", self._input, 1)
        await self._send_ticks(appended)
        ends = await self._session.ends((self._log, number) for number in range(self._partitions))
        offsets = await committed_offsets(admin, group, self._log, self._partitions)
        waiting = max(0, self._batches.ends[0] - appended)
        waiting += sum(max(0, end - done) for end, done in zip(ends, offsets, strict=True))
        return Backlog(waiting, appended + sum(offsets))

    async def _send_ticks(self, appended: int) -> None:
        row = None
        while self._held_ticks and self._held_ticks[0].after <= appended:
            row = self._held_ticks.popleft().record
        if row is not None:
            await self._ticks.write([[row]] * self._partitions)


def _tick_record(time: float, origin: Headers) -> RecordToSend:
    return RecordToSend(None, event_codec.encode(ev.Tick(time=time)), _record_time(time), origin)


def _record_time(time: float) -> float:
    """Return the timestamp of a record, at least now: the broker deletes records older than the retention."""
    return max(time, wall())


def _partitioner(partitions: int) -> Callable[[bytes], int]:
    """Return a function that gives the partition of a key, with a cache for frequent keys."""

    @functools.lru_cache(CACHED_KEYS)
    def partition_for(key: bytes) -> int:
        return partition_of(key, partitions)

    return partition_for
