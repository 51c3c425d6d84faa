"""Where history is sent: straight into `events`, or to an input topic and through ingest; ticks always to `events`."""

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
from streams.history.batches import BATCH_BYTES, BatchProducer, RecordToSend, committed
from streams.kafka import clients, topics
from streams.kafka.codec import Record
from streams.kafka.topics import name, partition_of
from streams.settings import Settings

KNOWN_PLACES = 200_000
PATIENCE = 10.0


class KafkaSession:
    """An open line to the broker: who writes, who asks, and who sends what is not an event. Enter it to open it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sender = Sender(lambda error: None)
        self._pump: asyncio.Task[None] | None = None

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
            self._pump = asyncio.create_task(self.sender.run(self.producer))
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._opened.aclose()

    async def ends(self, places: Iterable[tuple[str, int]]) -> list[int]:
        """Return where partitions end now."""
        wanted = [aiokafka.TopicPartition(*place) for place in places]
        found = await self.consumer.end_offsets(wanted)
        return [found[place] for place in wanted]

    async def last(self, topic: str, partitions: int) -> list[Record]:
        """Return the last record of every partition that has one."""
        places = [aiokafka.TopicPartition(topic, number) for number in range(partitions)]
        begins, ends = await self.consumer.beginning_offsets(places), await self.consumer.end_offsets(places)
        filled = [place for place in places if ends[place] > begins[place]]
        found: list[Record] = []
        for place in filled:
            self.consumer.assign([place])
            self.consumer.seek(place, ends[place] - 1)
            for records in (await self.consumer.getmany(timeout_ms=int(PATIENCE * 1_000))).values():
                found += records[:1]
        return found


class Backlog(NamedTuple):
    """How many records workers have not taken of what was sent, and how many they have ever taken."""

    records: int
    taken: int


class HistorySink(Protocol):
    """Takes history in the order of time. Nothing has left before `flush`."""

    @property
    def waiting(self) -> int:
        """How many records wait for `flush`."""

    def add(self, event: ev.Event | ev.CourseEvent, origin: Headers) -> None:
        """Take what happened; the origin names it for good."""

    def tick(self, moment: float, origin: Headers) -> None:
        """Let time pass for everybody: all that was taken so far was before, all that follows is later."""

    async def flush(self) -> None:
        """Write what was taken."""

    async def behind(self) -> Backlog:
        """Ask how far workers are with it."""


class LogSink:
    """Writes into the log itself, each person's events where their state is kept, as ingest would."""

    def __init__(self, line: KafkaSession, partitions: int) -> None:
        settings = line.settings
        self._line = line
        self._topic = name(settings, topics.EVENTS)
        self._batches = BatchProducer(line.producer, self._topic, partitions)
        self._lines: list[list[RecordToSend]] = [[] for _ in range(partitions)]
        self._place = _places(partitions)
        self.waiting = 0

    def add(self, event: ev.Event | ev.CourseEvent, origin: Headers) -> None:
        """Put an event with its person's; what is about a course goes to the catalogue."""
        if isinstance(event, ev.CourseEvent):
            catalogue = name(self._line.settings, topics.CATALOG)
            self._line.sender.enqueue(catalogue, event.course_id.encode(), event_codec.encode(event), headers=origin)
            return
        key = event.user_id.encode()
        self._lines[self._place(key)].append(RecordToSend(key, event_codec.encode(event), _stamp(event.time), origin))
        self.waiting += 1

    def tick(self, moment: float, origin: Headers) -> None:
        """Put a tick behind everything in every partition."""
        row = _tick(moment, origin)
        for rows in self._lines:
            rows.append(row)
        self.waiting += len(self._lines)

    async def flush(self) -> None:
        """Write what was taken."""
        await self._line.sender.flush()
        await self._batches.write(self._lines)
        self._lines = [[] for _ in self._lines]
        self.waiting = 0

    async def behind(self) -> Backlog:
        """Ask how far the users agents are."""
        far = await committed(self._line.admin, self._line.settings.group, self._topic, len(self._lines))
        ends = self._batches.ends
        return Backlog(sum(max(0, end - done) for end, done in zip(ends, far, strict=True)), sum(far))


class Due(NamedTuple):
    """A tick that may be written once ingest has come to an offset."""

    row: RecordToSend
    after: int


class InputTopicSink:
    """Writes to one partition of an input topic, so that ingest appends everything in the order of time.

    A tick waits until ingest has committed what was written before it: then all of that stands in the log.
    """

    def __init__(self, line: KafkaSession, topic: str, partitions: int) -> None:
        settings = line.settings
        self._line = line
        self._input = name(settings, topic)
        self._batches = BatchProducer(line.producer, self._input, 1)
        self._rows: list[RecordToSend] = []
        self._log = name(settings, topics.EVENTS)
        self._partitions = partitions
        self._ticks = BatchProducer(line.producer, self._log, partitions)
        self._tick: RecordToSend | None = None
        self._due: deque[Due] = deque()

    @property
    def waiting(self) -> int:
        """How many records wait for `flush`."""
        return len(self._rows)

    def add(self, event: ev.Event | ev.CourseEvent, origin: Headers) -> None:
        """Take an event, of people or the catalogue; ingest names its own origin."""
        key = event.user_id if isinstance(event, ev.Event) else event.course_id
        self._rows.append(RecordToSend(key.encode(), event_codec.encode(event), _stamp(event.time)))

    def tick(self, moment: float, origin: Headers) -> None:
        """Take a tick; of several before the next `flush`, the last is enough."""
        self._tick = _tick(moment, origin)

    async def flush(self) -> None:
        """Write what was taken; the tick follows when it may."""
        await self._line.sender.flush()
        await self._batches.write([self._rows])
        self._rows = []
        if self._tick is not None:
            self._due.append(Due(self._tick, self._batches.ends[0]))
            self._tick = None
        await self.behind()

    async def behind(self) -> Backlog:
        """Ask how far ingest and the users agents are, and write the tick that may be written now."""
        admin, group = self._line.admin, self._line.settings.group
        (appended,) = await committed(admin, f"{group}-ingest", self._input, 1)
        await self._release(appended)
        ends = await self._line.ends((self._log, number) for number in range(self._partitions))
        far = await committed(admin, group, self._log, self._partitions)
        left = max(0, self._batches.ends[0] - appended)
        left += sum(max(0, end - done) for end, done in zip(ends, far, strict=True))
        return Backlog(left, appended + sum(far))

    async def _release(self, appended: int) -> None:
        row = None
        while self._due and self._due[0].after <= appended:
            row = self._due.popleft().row
        if row is not None:
            await self._ticks.write([[row]] * self._partitions)


def _tick(moment: float, origin: Headers) -> RecordToSend:
    return RecordToSend(None, event_codec.encode(ev.Tick(time=moment)), _stamp(moment), origin)


def _stamp(time: float) -> float:
    """Return a record's own time: now, since records older than a topic's retention would go at once."""
    return max(time, wall())


def _places(partitions: int) -> Callable[[bytes], int]:
    """Return where keys belong; those of many people are worked out once."""

    @functools.lru_cache(KNOWN_PLACES)
    def place(key: bytes) -> int:
        return partition_of(key, partitions)

    return place
