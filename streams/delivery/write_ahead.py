"""What goes ahead of the state: outputs that follow from the log alone leave at once, and the state behind them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from models.schema.outputs import Output
from streams.delivery.batching import OutgoingRecord
from streams.delivery.sender import Place, RecordSink
from streams.kafka import codec, topics
from streams.kafka.topics import partition_of
from streams.metrics import Metrics

SINGLE = (topics.EXAMPLES,)
"""Topics of one partition; the others have as many as the log."""
MANY = 1_000
"""Outputs that wait for company at most."""

Word = tuple[Place, OutgoingRecord]


class WriteAheadFailed(Exception):
    """Something that had to be in Kafka before a state will never be."""


class InFlight:
    """Outputs that left together.

    Attributes:
        open: how many lots of them are not in Kafka.
        speakers: whose they are.
        done: completes when Kafka has them, and all that departed before.
    """

    __slots__ = ("done", "open", "speakers")

    def __init__(self, lots: int, speakers: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.open = lots
        self.speakers = speakers
        self.done: asyncio.Future[None] = loop.create_future()

    def fail(self, error: WriteAheadFailed) -> None:
        """Have whoever waits hear of an error."""
        self.done.set_exception(error)
        self.done.exception()  # whoever does not ask has been told: the sender has failed, or all of it is void


class WriteAheadOutputs:
    """Sends the `certain` outputs of a worker's people, many together.

    Whoever was in the state with such an output before it left would owe it for ever after a crash; so the state waits
    until Kafka has the output. A crash in between has the log applied again, which says the same under the same id:
    nothing is lost, and nothing has to be kept of it. (A labelled row may name another model as the one that scored it,
    should one have been published in between.)

    Args:
        to: what takes records, once it is there.
        prefix: of topics.
        partitions: of the log.
        metrics: are told what has arrived.
    """

    def __init__(self, to: Callable[[], RecordSink], prefix: str, partitions: int, metrics: Metrics) -> None:
        self._to = to
        self._prefix = prefix
        self._partitions = partitions
        self._metrics = metrics
        self._said: dict[bytes, list[Word]] = {}
        self._waiting = 0
        self._departed: deque[InFlight] = deque()
        self._lost: WriteAheadFailed | None = None
        self._under_way: dict[bytes, asyncio.Future[None]] = {}

    def say(self, speaker: bytes, output: Output) -> None:
        """Take an output of a person; it leaves with others, and when there are many of them."""
        topic, key = codec.address(output)
        place = Place(topic, 0 if topic in SINGLE else partition_of(key, self._partitions))
        self._said.setdefault(speaker, []).append((place, OutgoingRecord(key, codec.encode_output(output))))
        self._waiting += 1
        if self._waiting >= MANY:
            self.leave()

    def leave(self) -> None:
        """Send what was said."""
        if self._said:
            said, self._said, self._waiting = self._said, {}, 0
            self._send(said)

    def behind(self, keys: Iterable[bytes]) -> asyncio.Future[None] | None:
        """Return what the state of some people has to wait for, if anything: all that they have said is in Kafka."""
        said = {key: words for key in keys if (words := self._said.pop(key, None)) is not None}
        if said:
            self._waiting -= sum(map(len, said.values()))
            self._send(said)
        if not self._under_way:
            return None
        waits = {id(found): found for key in keys if (found := self._under_way.get(key)) is not None}
        if len(waits) < 2:
            return next(iter(waits.values()), None)
        return self._departed[-1].done  # it waits for all before it

    def _send(self, said: dict[bytes, list[Word]]) -> None:
        lots = dict[Place, list[OutgoingRecord]]()
        for words in said.values():
            for place, row in words:
                lots.setdefault(place, []).append(row)
        sent = [(place.topic, len(rows), self._put(place, rows)) for place, rows in lots.items()]
        departure = InFlight(len(sent), list(said), sent[0][2].get_loop())
        self._departed.append(departure)
        if self._lost is not None:
            departure.fail(self._lost)
        self._under_way.update(dict.fromkeys(said, departure.done))
        for topic, count, lot in sent:
            lot.add_done_callback(partial(self._settled, departure, topic, count))

    def _put(self, place: Place, rows: list[OutgoingRecord]) -> asyncio.Future[Any]:
        return self._to().enqueue_all(self._prefix + place.topic, place.partition, rows)

    def _settled(self, departure: InFlight, topic: str, count: int, lot: asyncio.Future[Any]) -> None:
        """Count what has arrived; whoever waited for a departure goes on when all before it are there as well."""
        if lot.cancelled() or lot.exception() is not None:
            self._fail(departure)
            return
        self._metrics.add("encore_outputs_total", topic, by=count)
        departure.open -= 1
        while self._lost is None and self._departed and not self._departed[0].open:
            there = self._departed.popleft()
            there.done.set_result(None)
            for speaker in there.speakers:
                if self._under_way.get(speaker) is there.done:
                    del self._under_way[speaker]

    def _fail(self, departure: InFlight) -> None:
        """Give up what departed, then or later: its states must not be written, now or ever."""
        if self._lost is None:
            self._lost = WriteAheadFailed(f"outputs of {len(departure.speakers)} people were lost ahead of their state")
            for other in self._departed:
                other.fail(self._lost)
