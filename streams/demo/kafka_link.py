"""The demo's link to the broker: sends events and ticks, reads outputs, and measures how far behind the worker is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import OUTPUTS, Output
from streams.history.batches import BATCH_BYTES, BatchProducer, RecordToSend, committed_offsets
from streams.kafka import clients, topics
from streams.settings import Settings

OUTPUT_TOPICS = (
    topics.ALERTS,
    topics.TRIGGERS,
    topics.DECISIONS,
    topics.EXAMPLES,
    topics.PROFILES,
    topics.RECOMMENDATIONS,
)
FETCH_WAIT_MS = 50
"""How long a fetch waits. The embedded broker always waits that long, even if records arrive in the meantime."""

_decoder: msgspec.json.Decoder[Output] = msgspec.json.Decoder(functools.reduce(operator.or_, OUTPUTS))


class Lag(NamedTuple):
    """How far the worker is behind what was sent: in records, and in seconds of event time."""

    records: int
    seconds: float


class Step(NamedTuple):
    """A step that was sent: the time of its ticks, and the end offset of each partition after it."""

    at: float
    ends: tuple[int, ...]


class KafkaLink:
    """Sends the events of a platform that writes history directly into the log. Every step ends with ticks.

    Attributes:
        output_count: how many outputs of the worker were read so far.
    """

    def __init__(self, settings: Settings) -> None:
        self.output_count = 0
        self._settings = settings
        self._partitions = settings.partitions
        self._events = topics.name(settings, topics.EVENTS)
        self._sent: deque[Step] = deque()
        self._applied = 0.0
        self._outputs: list[Output] = []
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._producer = clients.producer(self._settings, acks=1, enable_idempotence=False, max_batch_size=BATCH_BYTES)
        self._batches = BatchProducer(self._producer, self._events, self._partitions)
        self._admin = clients.admin(self._settings)
        self._consumer = clients.consumer(
            self._settings,
            *(topics.name(self._settings, topic) for topic in OUTPUT_TOPICS),
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        async with contextlib.AsyncExitStack() as opened:
            for opening, end in (
                (self._producer, self._producer.stop),
                (self._admin, self._admin.close),
                (self._consumer, self._consumer.stop),
            ):
                opened.push_async_callback(end)
                await opening.start()
            self._reading = asyncio.create_task(self._read_outputs())
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)  # `take_outputs` raises a failure
        await self._opened.aclose()

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        """Write one record to a topic and wait until it is acknowledged."""
        await self._producer.send_and_wait(topics.name(self._settings, topic), value, key=key.encode())

    async def send(self, events: Iterable[ev.Event], until: float) -> None:
        """Write events to the partitions of their users, then a tick of the time `until` to every partition."""
        rows_by_partition: list[list[RecordToSend]] = [[] for _ in range(self._partitions)]
        for event in events:
            key = event.user_id.encode()
            partition = topics.partition_of(key, self._partitions)
            rows_by_partition[partition].append(RecordToSend(key, event_codec.encode(event), event.time))
        tick = RecordToSend(None, event_codec.encode(ev.Tick(time=until)), until)
        await self._batches.write([[*rows, tick] for rows in rows_by_partition])
        self._sent.append(Step(until, tuple(self._batches.ends)))

    def take_outputs(self) -> list[Output]:
        """Return the outputs that the worker has sent since the last call.

        Raises:
            Exception: reading the outputs failed, for this reason.
        """
        if self._reading is not None and self._reading.done():
            self._reading.result()
        outputs, self._outputs = self._outputs, []
        return outputs

    async def lag(self) -> Lag:
        """Return how far the worker's committed offsets are behind what was sent."""
        offsets = await committed_offsets(self._admin, self._settings.group, self._events, self._partitions)
        while self._sent and all(done >= end for done, end in zip(offsets, self._sent[0].ends, strict=True)):
            self._applied = self._sent.popleft().at
        records = sum(max(0, end - done) for done, end in zip(offsets, self._batches.ends, strict=True))
        if not self._sent:
            return Lag(records, 0.0)
        return Lag(records, self._sent[-1].at - (self._applied or self._sent[0].at))

    async def _read_outputs(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                outputs = [_decoder.decode(record.value) for record in records if record.value is not None]
                self._outputs += outputs
                self.output_count += len(outputs)
