"""The demo's wire to the broker: events and ticks in, outputs back, and how far behind the worker is."""

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

HEARD = (topics.ALERTS, topics.TRIGGERS, topics.DECISIONS, topics.EXAMPLES, topics.PROFILES, topics.RECOMMENDATIONS)
WAIT_MS = 50
"""How long a fetch waits: the embedded broker waits all of it, whatever arrives meanwhile."""

_decoder: msgspec.json.Decoder[Output] = msgspec.json.Decoder(functools.reduce(operator.or_, OUTPUTS))


class Lag(NamedTuple):
    """How far the worker is behind what was sent: in records, and in seconds of the play."""

    records: int
    seconds: float


class Step(NamedTuple):
    """A step that was sent: the moment of its ticks, and where each partition ended with it."""

    at: float
    ends: tuple[int, ...]


class KafkaLink:
    """Speaks to the broker on behalf of a platform that sends its own history: every step ends with its ticks.

    Attributes:
        count: how many outputs of the worker were heard so far.
    """

    def __init__(self, settings: Settings) -> None:
        self.count = 0
        self._settings = settings
        self._partitions = settings.partitions
        self._events = topics.name(settings, topics.EVENTS)
        self._sent: deque[Step] = deque()
        self._applied = 0.0
        self._outputs: list[Output] = []
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._producer = clients.producer(self._settings, acks=1, enable_idempotence=False, max_batch_size=BATCH_BYTES)
        self._batches = BatchProducer(self._producer, self._events, self._partitions)
        self._admin = clients.admin(self._settings)
        self._consumer = clients.consumer(
            self._settings,
            *(topics.name(self._settings, topic) for topic in HEARD),
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=WAIT_MS,
        )
        async with contextlib.AsyncExitStack() as opened:
            for opening, end in (
                (self._producer, self._producer.stop),
                (self._admin, self._admin.close),
                (self._consumer, self._consumer.stop),
            ):
                opened.push_async_callback(end)
                await opening.start()
            self._listening = asyncio.create_task(self._listen())
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)  # `heard` tells of a failure
        await self._opened.aclose()

    async def publish(self, topic: str, key: str, value: bytes) -> None:
        """Write one record to a topic and wait until it is there."""
        await self._producer.send_and_wait(topics.name(self._settings, topic), value, key=key.encode())

    async def send(self, events: Iterable[ev.Event], until: float) -> None:
        """Write the events up to a moment, each where its person's stand, then a tick of that moment everywhere."""
        lines: list[list[RecordToSend]] = [[] for _ in range(self._partitions)]
        for event in events:
            key = event.user_id.encode()
            place = topics.partition_of(key, self._partitions)
            lines[place].append(RecordToSend(key, event_codec.encode(event), event.time))
        tick = RecordToSend(None, event_codec.encode(ev.Tick(time=until)), until)
        await self._batches.write([[*rows, tick] for rows in lines])
        self._sent.append(Step(until, tuple(self._batches.ends)))

    def heard(self) -> list[Output]:
        """Return what the worker has said since the last call.

        Raises:
            Exception: the listening failed, for this reason.
        """
        if self._listening is not None and self._listening.done():
            self._listening.result()
        outputs, self._outputs = self._outputs, []
        return outputs

    async def lag(self) -> Lag:
        """Return how far the worker has committed behind what was sent."""
        far = await committed_offsets(self._admin, self._settings.group, self._events, self._partitions)
        while self._sent and all(done >= end for done, end in zip(far, self._sent[0].ends, strict=True)):
            self._applied = self._sent.popleft().at
        records = sum(max(0, end - done) for done, end in zip(far, self._batches.ends, strict=True))
        if not self._sent:
            return Lag(records, 0.0)
        return Lag(records, self._sent[-1].at - (self._applied or self._sent[0].at))

    async def _listen(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                said = [_decoder.decode(record.value) for record in records if record.value is not None]
                self._outputs += said
                self.count += len(said)
