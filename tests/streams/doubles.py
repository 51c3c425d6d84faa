"""Test doubles: Kafka records, a sink that a test acknowledges, a clock and a time budget that a test controls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from streams.clock import PartitionClock
from streams.delivery.batching import Headers, OutgoingRecord
from streams.state.partition import ChangelogWriter

LOOP = asyncio.new_event_loop()
"""The event loop of every future of the doubles. It runs only when a test acknowledges something."""


class Record(NamedTuple):
    """A record as aiokafka's consumer returns it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Put(NamedTuple):
    """An enqueued record, and the future of its acknowledgement."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: Headers | None
    timestamp_ms: int | None
    done: asyncio.Future[Any]


class ManualSink:
    """Collects enqueued records in order; a test acknowledges them or lets them fail."""

    backlog = 0

    def __init__(self) -> None:
        self.all: list[Put] = []

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> asyncio.Future[Any]:
        put = Put(topic, key, value, partition, headers, timestamp_ms, LOOP.create_future())
        self.all.append(put)
        return put.done

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[list[int]]:
        """Enqueue rows. As with a sender, one future completes for all of them; `after` has no effect."""
        acks = asyncio.gather(
            *(self.enqueue(topic, row.key, row.value, partition, row.headers, row.timestamp_ms) for row in rows)
        )
        done: asyncio.Future[list[int]] = LOOP.create_future()

        def settle(acks: asyncio.Future[list[Any]]) -> None:
            if (error := acks.exception()) is not None:
                done.set_exception(error)
            else:
                done.set_result([-1 if ack is None else ack.offset for ack in acks.result()])

        acks.add_done_callback(settle)
        return done

    def changelog(self, topic: str, partition: int | None = None) -> ChangelogWriter:
        """Return a changelog writer for a topic; its values are acknowledged one by one."""
        return lambda pairs, after=None: asyncio.gather(
            *(self.enqueue(topic, key, value, partition) for key, value in pairs)
        )

    def open(self, topic: str | None = None) -> list[Put]:
        """Records without an acknowledgement."""
        return [put for put in self.all if not put.done.done() and topic in (None, put.topic)]

    def on(self, topic: str) -> list[Put]:
        return [put for put in self.all if put.topic == topic]

    def acknowledge(self, puts: Iterable[Put] | None = None) -> None:
        """Acknowledge these records, or all open ones, and run the callbacks."""
        for put in self.open() if puts is None else puts:
            put.done.set_result(None)
        turn()

    def settle(self) -> None:
        """Acknowledge until no record is open."""
        while self.open():
            self.acknowledge()

    def fail(self, puts: Iterable[Put]) -> None:
        for put in puts:
            put.done.set_exception(ConnectionError("the broker is gone"))
        turn()


class ManualClock(PartitionClock):
    """A clock whose wall time a test sets."""

    def __init__(self, wall: float) -> None:
        super().__init__()
        self.at = wall

    def wall(self) -> float:
        return self.at

    def is_past(self, moment: float) -> bool:
        return moment < self.at


class CountedBudget:
    """A time budget that is spent at the n-th check."""

    def __init__(self, checks: int) -> None:
        self._left = checks

    def over(self) -> bool:
        self._left -= 1
        return self._left <= 0


def turn() -> None:
    """Run the callbacks that are ready, and those that they cause."""
    for _ in range(5):
        LOOP.run_until_complete(asyncio.sleep(0))


def run(work: Callable[[], Any]) -> Any:
    """Run a coroutine function on the loop, for at most ten seconds."""
    return LOOP.run_until_complete(asyncio.wait_for(work(), 10))
