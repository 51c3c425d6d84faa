"""Sending: records leave in the order in which they were put, and what is not acknowledged is not forgotten."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import aiokafka

from streams.delivery.lease import Hold, Lease

UNSURE_FOR = 0.02
FEW = 4
"""Fewer records than this are sent one by one: the producer puts them into a batch that others share."""
LARGE = 50_000

Headers = list[tuple[str, bytes]]


class Outlet(Protocol):
    """Where what people have to say goes, and dead letters: a `Sender`, or whoever listens to a replay."""

    def put(
        self, topic: str, key: bytes | None, value: bytes | None, *, headers: Headers | None = None
    ) -> asyncio.Future[Any]:
        """Hand over a record; the future completes when it is safe."""


class Outgoing(NamedTuple):
    """A record on its way out, and who waits for its acknowledgement."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: Headers | None
    timestamp_ms: int | None
    done: asyncio.Future[Any]


class Acknowledged(NamedTuple):
    """Where a record that left in a batch stands."""

    offset: int


class Sender:
    """Puts an aiokafka producer behind a plain call, and makes `flush` a barrier.

    What is put for a partition leaves in the order of the puts, many records as one batch; so does what is put without
    one, record by record. After a failure nothing more is flushed: `failure` says what it was, and whoever made the
    sender is told once. With a lease, nothing leaves while it is unsure whether our partitions are ours, and once they
    are lost, what was put is void: its futures are cancelled.
    """

    def __init__(self, on_failure: Callable[[BaseException], None], lease: Lease | None = None) -> None:
        self.failure: BaseException | None = None
        self._lease = lease
        self._lanes: dict[tuple[str, int] | None, Lane] = {}
        self._waiting: set[asyncio.Future[Any]] = set()
        self._on_failure = on_failure
        self._begin: Callable[[Lane], Any] = lambda lane: None

    def put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        """Hand over a record; the future completes with Kafka's acknowledgement, or fails the sender."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(done)
        done.add_done_callback(self._finished)
        place = None if partition is None else (topic, partition)
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = Lane(self._lease)
            self._begin(lane)
        lane.put(Outgoing(topic, key, value, partition, headers, timestamp_ms, done))
        return done

    @property
    def backlog(self) -> int:
        """How many records have not been acknowledged yet."""
        return len(self._waiting)

    async def flush(self) -> None:
        """Wait until everything put before this call is acknowledged.

        Raises:
            BaseException: the first failure; then nothing may be committed.
        """
        waiting = list(self._waiting)
        if waiting and self.failure is None:
            await asyncio.wait(waiting)
        if self.failure is not None:
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """Give up because of an error: no flush succeeds from here on."""
        if self.failure is None:
            self.failure = error
            self._on_failure(error)

    async def run(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send what is put, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._begin = lambda lane: group.create_task(lane.run(producer))
            for lane in self._lanes.values():
                self._begin(lane)
            await asyncio.Event().wait()

    def discard(self) -> None:
        """Let go of everything that was put and has not left."""
        for lane in self._lanes.values():
            lane.discard()

    def _finished(self, done: asyncio.Future[Any]) -> None:
        self._waiting.discard(done)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self.fail(error)


class Lane:
    """Records that leave one after another: those of one partition, or those whose partition the producer chooses."""

    def __init__(self, lease: Lease | None) -> None:
        self._lease = lease
        self._queue: deque[Outgoing] = deque()
        self._filled = asyncio.Event()

    def put(self, out: Outgoing) -> None:
        """Put a record behind the others."""
        self._queue.append(out)
        self._filled.set()

    async def run(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send what is put, until cancelled."""
        while True:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
            hold = Hold.OURS if self._lease is None else self._lease.state
            if hold is Hold.UNSURE:
                await asyncio.sleep(UNSURE_FOR)
            elif hold is Hold.LOST:
                self.discard()
            elif len(self._queue) < FEW or self._queue[0].partition is None or _large(self._queue[0]):
                await self._post(producer, self._queue.popleft())
            else:
                await self._post_batch(producer)

    def discard(self) -> None:
        """Let go of everything that has not left."""
        while self._queue:
            self._queue.popleft().done.cancel()

    async def _post(self, producer: aiokafka.AIOKafkaProducer, out: Outgoing) -> None:
        try:
            sent = await producer.send(
                out.topic,
                out.value,
                key=out.key,
                partition=out.partition,
                headers=out.headers,
                timestamp_ms=out.timestamp_ms,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the record's fate, and fails the sender
            _refuse(out, error)
            return
        sent.add_done_callback(lambda ack: _settle(out.done, ack))

    async def _post_batch(self, producer: aiokafka.AIOKafkaProducer) -> None:
        """Send as many records as a batch takes: a tenth of the work of sending them one by one."""
        batch, taken = producer.create_batch(), list[Outgoing]()
        while self._queue and not _large(self._queue[0]):
            out = self._queue[0]
            if batch.append(timestamp=out.timestamp_ms, key=out.key, value=out.value, headers=out.headers) is None:
                break
            taken.append(self._queue.popleft())
        batch.close()
        try:
            sent = await producer.send_batch(batch, taken[0].topic, partition=taken[0].partition)
        except Exception as error:  # noqa: BLE001 - as in `_post`
            for out in taken:
                _refuse(out, error)
            return
        sent.add_done_callback(lambda ack: _settle_batch(taken, ack))


def _large(out: Outgoing) -> bool:
    """Whether a record goes alone, so that the producer looks at its size."""
    return out.value is not None and len(out.value) > LARGE


def _refuse(out: Outgoing, error: Exception) -> None:
    if not out.done.done():
        out.done.set_exception(error)


def _settle_batch(taken: list[Outgoing], ack: asyncio.Future[Any]) -> None:
    if ack.cancelled() or ack.exception() is not None:
        for out in taken:
            _settle(out.done, ack)
        return
    first = ack.result().offset
    for number, out in enumerate(taken):
        if not out.done.done():
            out.done.set_result(Acknowledged(first + number))


def _settle(done: asyncio.Future[Any], ack: asyncio.Future[Any]) -> None:
    if done.done():
        return
    if ack.cancelled():
        done.set_exception(ConnectionAbortedError("the producer gave a record up"))
    elif (error := ack.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(ack.result())
