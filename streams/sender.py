"""Sending: records leave in the order in which they were put, and what is not acknowledged is not forgotten."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import aiokafka

from streams.lease import Hold, Lease

UNSURE_FOR = 0.02

Headers = list[tuple[str, bytes]]


class Outlet(Protocol):
    """Where records go: a `Sender`, or in a test a list."""

    def put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
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


class Sender:
    """Puts an aiokafka producer behind a plain call, and makes `flush` a barrier.

    After a failure nothing more is flushed: `failure` says what it was, and whoever made the sender is told once.
    With a lease, nothing leaves while it is unsure whether our partitions are ours, and once they are lost, what was
    put is void: its futures are cancelled.
    """

    def __init__(self, on_failure: Callable[[BaseException], None], lease: Lease | None = None) -> None:
        self.failure: BaseException | None = None
        self._lease = lease
        self._queue: deque[Outgoing] = deque()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._filled = asyncio.Event()
        self._on_failure = on_failure

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
        self._queue.append(Outgoing(topic, key, value, partition, headers, timestamp_ms, done))
        self._filled.set()
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
        while True:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
            hold = Hold.OURS if self._lease is None else self._lease.state
            if hold is Hold.OURS:
                await self._post(producer, self._queue.popleft())
            elif hold is Hold.UNSURE:
                await asyncio.sleep(UNSURE_FOR)
            else:
                self.discard()

    def discard(self) -> None:
        """Let go of everything that was put and has not left."""
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
            out.done.set_exception(error)
            return
        sent.add_done_callback(lambda ack: _settle(out.done, ack))

    def _finished(self, done: asyncio.Future[Any]) -> None:
        self._waiting.discard(done)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self.fail(error)


def _settle(done: asyncio.Future[Any], ack: asyncio.Future[Any]) -> None:
    if done.done():
        return
    if ack.cancelled():
        done.set_exception(ConnectionAbortedError("the producer gave a record up"))
    elif (error := ack.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(ack.result())
