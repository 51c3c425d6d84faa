"""Kafka as far as the tests of streams/ need it: records, a sink that notes what is put, and a clock that stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from streams.clock import PartitionClock
from streams.delivery.batching import Headers, OutgoingRecord
from streams.state.partition import ChangelogWriter

LOOP = asyncio.new_event_loop()
"""The loop of every future made here; it turns only when a test acknowledges something."""


class Record(NamedTuple):
    """A record as aiokafka's consumer gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Put(NamedTuple):
    """A record that was handed over, and the future of its acknowledgement."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: Headers | None
    timestamp_ms: int | None
    done: asyncio.Future[Any]


class ManualSink:
    """Notes what is put, in order; a test acknowledges it or lets it fail."""

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
        """Note rows; whoever waits hears of all of them together, as of a sender. What is before them came first."""
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
        """Return what writes values there; they are acknowledged one by one."""
        return lambda pairs, after=None: asyncio.gather(
            *(self.enqueue(topic, key, value, partition) for key, value in pairs)
        )

    def open(self, topic: str | None = None) -> list[Put]:
        """What waits for its acknowledgement."""
        return [put for put in self.all if not put.done.done() and topic in (None, put.topic)]

    def on(self, topic: str) -> list[Put]:
        return [put for put in self.all if put.topic == topic]

    def acknowledge(self, puts: Iterable[Put] | None = None) -> None:
        """Acknowledge these records, or all that wait, and let whoever waited go on."""
        for put in self.open() if puts is None else puts:
            put.done.set_result(None)
        turn()

    def settle(self) -> None:
        """Acknowledge until nothing waits any more."""
        while self.open():
            self.acknowledge()

    def fail(self, puts: Iterable[Put]) -> None:
        for put in puts:
            put.done.set_exception(ConnectionError("the broker is gone"))
        turn()


class Still(PartitionClock):
    """A clock whose wall is where the test puts it."""

    def __init__(self, wall: float) -> None:
        super().__init__()
        self.at = wall

    def wall(self) -> float:
        return self.at

    def is_past(self, moment: float) -> bool:
        return moment < self.at


class Times:
    """A slice of time that is over when asked for the n-th time."""

    def __init__(self, asked: int) -> None:
        self._left = asked

    def over(self) -> bool:
        self._left -= 1
        return self._left <= 0


def turn() -> None:
    """Let callbacks run that are due now, and those that they cause."""
    for _ in range(5):
        LOOP.run_until_complete(asyncio.sleep(0))


def run(work: Callable[[], Any]) -> Any:
    """Run a coroutine function on the loop; nothing may hang for longer than ten seconds."""
    return LOOP.run_until_complete(asyncio.wait_for(work(), 10))
