"""What goes ahead of the state: outputs that follow from the log alone leave at once, and the state behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from models.outputs import Output
from streams import codec, topics
from streams.delivery.lanes import Row
from streams.delivery.sender import Outlet, Place
from streams.metrics import Metrics
from streams.topics import partition_of

SINGLE = (topics.EXAMPLES,)
"""Topics of one partition; the others have as many as the log."""


class Ahead:
    """Sends the `certain` outputs of one partition's people, many together.

    Whoever was in the state with such an output before it left would owe it for ever after a crash; so the state waits
    until Kafka has the output. A crash in between has the log applied again, which says the same under the same id:
    nothing is lost, and nothing has to be kept of it.

    Args:
        outlet: takes records.
        prefix: of topics.
        partitions: of the log.
        metrics: are told what has arrived.
    """

    def __init__(self, outlet: Outlet, prefix: str, partitions: int, metrics: Metrics) -> None:
        self._outlet = outlet
        self._prefix = prefix
        self._partitions = partitions
        self._metrics = metrics
        self._rows: dict[Place, list[Row]] = {}
        self._speakers: set[bytes] = set()
        self._newest: asyncio.Future[Any] | None = None
        self._under_way: dict[bytes, asyncio.Future[Any]] = {}

    def say(self, speaker: bytes, output: Output) -> None:
        """Take an output of a person; it leaves with the others."""
        topic, key = codec.address(output)
        place = Place(topic, 0 if topic in SINGLE else partition_of(key, self._partitions))
        row = Row(key, codec.written(output))
        if (rows := self._rows.get(place)) is None:
            self._rows[place] = [row]
        else:
            rows.append(row)
        self._speakers.add(speaker)

    def leave(self) -> None:
        """Send what was said."""
        if not self._rows:
            return
        before = self._newest
        sent: list[asyncio.Future[Any]] = [] if before is None or _is_there(before) else [before]
        for (topic, partition), rows in self._rows.items():
            some = self._outlet.put_all(self._prefix + topic, partition, rows)
            some.add_done_callback(partial(self._arrived, topic, len(rows)))
            sent.append(some)
        speakers, self._speakers, self._rows = self._speakers, set(), {}
        self._newest = newest = sent[0] if len(sent) == 1 else asyncio.gather(*sent)
        self._under_way.update(dict.fromkeys(speakers, newest))
        newest.add_done_callback(partial(self._forget, speakers))

    def behind(self, keys: Iterable[bytes]) -> asyncio.Future[Any] | None:
        """Return what the state of some people has to wait for, if anything: all that they have said is in Kafka."""
        if not self._speakers.isdisjoint(keys):
            self.leave()
        if not self._under_way:
            return None
        waits = {id(found): found for key in keys if (found := self._under_way.get(key)) is not None}
        if len(waits) < 2:
            return next(iter(waits.values()), None)
        return self._newest  # it waits for all before it

    def _arrived(self, topic: str, count: int, sent: asyncio.Future[Any]) -> None:
        if _is_there(sent):
            self._metrics.add("encore_outputs_total", topic, by=count)

    def _forget(self, speakers: Iterable[bytes], sent: asyncio.Future[Any]) -> None:
        """Nobody has to wait any more for what has arrived; for what has not, everybody has to for ever."""
        if not _is_there(sent):
            return
        for speaker in speakers:
            if self._under_way.get(speaker) is sent:
                del self._under_way[speaker]


def _is_there(sent: asyncio.Future[Any]) -> bool:
    """Whether Kafka has what was sent."""
    return sent.done() and not sent.cancelled() and sent.exception() is None
