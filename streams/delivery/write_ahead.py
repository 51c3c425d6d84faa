"""Write-ahead outputs: outputs that follow from the log alone are sent before the state that contains them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from models.schema.outputs import Output
from streams.delivery.batching import OutgoingRecord
from streams.delivery.sender import Destination, RecordSink
from streams.kafka import codec, topics
from streams.kafka.topics import partition_of
from streams.metrics import Metrics

SINGLE_PARTITION = (topics.EXAMPLES,)
"""Topics with one partition. The others have as many as the log."""
MAX_WAITING = 1_000
"""Outputs that are collected at most before they are sent."""

Addressed = tuple[Destination, OutgoingRecord]


class WriteAheadFailed(Exception):
    """An output that had to be in Kafka before a state was lost."""


class InFlight:
    """Outputs that were sent together.

    Attributes:
        open: number of their batches that Kafka has not acknowledged.
        keys: the users that they belong to.
        done: completes when Kafka has acknowledged them and all that were sent before.
    """

    __slots__ = ("done", "keys", "open")

    def __init__(self, batches: int, keys: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.open = batches
        self.keys = keys
        self.done: asyncio.Future[None] = loop.create_future()

    def fail(self, error: WriteAheadFailed) -> None:
        """Pass an error to all that wait."""
        self.done.set_exception(error)
        self.done.exception()  # retrieved here: the sender has failed, or everything is void


class WriteAheadOutputs:
    """Sends the reproducible outputs of a worker's users, many at once.

    If the state were written first, a crash before the output left would lose the output for ever. So the state waits
    until Kafka has the output. After a crash in between, the log is applied again and gives the same output with the
    same id. Nothing is lost, and nothing must be stored. (A labelled row may name another model than the first time, if
    one was published in between.)

    Args:
        sink: returns what takes records; called when the first output is sent.
        prefix: prefix of topic names.
        partitions: number of partitions of the log.
        metrics: counts acknowledged outputs.
    """

    def __init__(self, sink: Callable[[], RecordSink], prefix: str, partitions: int, metrics: Metrics) -> None:
        self._sink = sink
        self._prefix = prefix
        self._partitions = partitions
        self._metrics = metrics
        self._collected: dict[bytes, list[Addressed]] = {}
        self._waiting = 0
        self._in_flight_queue: deque[InFlight] = deque()
        self._failure: WriteAheadFailed | None = None
        self._in_flight: dict[bytes, asyncio.Future[None]] = {}

    def add(self, key: bytes, output: Output) -> None:
        """Collect an output of a user. It is sent with others, at the latest when there are many."""
        topic, record_key = codec.address(output)
        destination = Destination(topic, 0 if topic in SINGLE_PARTITION else partition_of(record_key, self._partitions))
        self._collected.setdefault(key, []).append(
            (destination, OutgoingRecord(record_key, codec.encode_output(output)))
        )
        self._waiting += 1
        if self._waiting >= MAX_WAITING:
            self.send()

    def send(self) -> None:
        """Send all collected outputs."""
        if self._collected:
            collected, self._collected, self._waiting = self._collected, {}, 0
            self._send(collected)

    def before_state(self, keys: Iterable[bytes]) -> asyncio.Future[None] | None:
        """Send the outputs of some users; return the future that their state must wait for, if any."""
        collected = {key: outputs for key in keys if (outputs := self._collected.pop(key, None)) is not None}
        if collected:
            self._waiting -= sum(map(len, collected.values()))
            self._send(collected)
        if not self._in_flight:
            return None
        waits = {id(found): found for key in keys if (found := self._in_flight.get(key)) is not None}
        if len(waits) < 2:
            return next(iter(waits.values()), None)
        return self._in_flight_queue[-1].done  # it completes after all before it

    def _send(self, collected: dict[bytes, list[Addressed]]) -> None:
        batches = dict[Destination, list[OutgoingRecord]]()
        for outputs in collected.values():
            for destination, row in outputs:
                batches.setdefault(destination, []).append(row)
        sent = [
            (destination.topic, len(rows), self._enqueue(destination, rows)) for destination, rows in batches.items()
        ]
        in_flight = InFlight(len(sent), list(collected), sent[0][2].get_loop())
        self._in_flight_queue.append(in_flight)
        if self._failure is not None:
            in_flight.fail(self._failure)
        self._in_flight.update(dict.fromkeys(collected, in_flight.done))
        for topic, count, acknowledged in sent:
            acknowledged.add_done_callback(partial(self._on_settled, in_flight, topic, count))

    def _enqueue(self, destination: Destination, rows: list[OutgoingRecord]) -> asyncio.Future[Any]:
        return self._sink().enqueue_all(self._prefix + destination.topic, destination.partition, rows)

    def _on_settled(self, in_flight: InFlight, topic: str, count: int, acknowledged: asyncio.Future[Any]) -> None:
        """Count acknowledged outputs. What waits for them continues when all earlier ones are acknowledged too."""
        if acknowledged.cancelled() or acknowledged.exception() is not None:
            self._fail(in_flight)
            return
        self._metrics.add("encore_outputs_total", topic, by=count)
        in_flight.open -= 1
        while self._failure is None and self._in_flight_queue and not self._in_flight_queue[0].open:
            first = self._in_flight_queue.popleft()
            first.done.set_result(None)
            for key in first.keys:
                if self._in_flight.get(key) is first.done:
                    del self._in_flight[key]

    def _fail(self, in_flight: InFlight) -> None:
        """Fail everything in flight, now or later: the states behind it must never be written."""
        if self._failure is None:
            self._failure = WriteAheadFailed(f"write-ahead outputs of {len(in_flight.keys)} users were lost")
            for other in self._in_flight_queue:
                other.fail(self._failure)
