"""The outbox: an output leaves when the state that decided it is safe, and is forgotten when Kafka has it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from models.schema.outputs import Undelivered
from streams.agents.users.envelope import OutboxMessage
from streams.agents.users.store import UserStore
from streams.clock import PartitionClock
from streams.delivery.sender import RecordSink
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.kafka import codec
from streams.metrics import Metrics


class Outbox:
    """Delivers what the people of one partition have to say.

    The order is always: the person's value with the output in its outbox is acknowledged; the output is sent; it is
    acknowledged; it leaves the value, which is written again with the next commit. A crash between any two of these
    repeats the output with the same id, and loses none.
    """

    def __init__(
        self,
        people: UserStore,
        ahead: WriteAheadOutputs,
        sink: RecordSink,
        prefix: str,
        clock: PartitionClock,
        metrics: Metrics,
    ) -> None:
        self.ahead = ahead
        self._people = people
        self._sink = sink
        self._prefix = prefix
        self._clock = clock
        self._metrics = metrics
        self._under_way: dict[str, tuple[str, float]] = {}
        self._closed = False

    def save(self, key: bytes, since: float = 0.0) -> None:
        """Write a person through; once Kafka has the state, what stands in its outbox leaves.

        Args:
            key: the person.
            since: when the cause arrived, in seconds since 1970 UTC, where that is to be measured.
        """
        self._save((key,), since)

    def save_all(self, keys: Sequence[bytes]) -> None:
        """Write people through, at least one, together."""
        self._save(keys, 0.0)

    def deliver(self, key: bytes, parcels: tuple[OutboxMessage, ...], since: float = 0.0) -> None:
        """Send parcels whose state is safe, unless they are under way already."""
        for parcel in parcels:
            if parcel.id not in self._under_way:
                topic, sending = self._send(parcel)
                self._under_way[parcel.id] = topic, since
                sending.add_done_callback(partial(self._sent, key, parcel))

    def close(self) -> None:
        """Let go: the partition is another worker's now, which delivers what we did not."""
        self._closed = True

    def __len__(self) -> int:
        return len(self._under_way)

    def _send(self, parcel: OutboxMessage) -> tuple[str, asyncio.Future[Any]]:
        if not self._clock.is_past(parcel.expires_at):
            return parcel.topic, self._sink.enqueue(self._prefix + parcel.topic, parcel.key, parcel.value)
        self._metrics.add("encore_undelivered_total")
        notice = Undelivered(
            id=parcel.id,
            user=parcel.user,
            time=parcel.expires_at,
            expires_at=parcel.expires_at,
            topic=parcel.topic,
        )
        topic, key = codec.address(notice)
        return topic, self._sink.enqueue(self._prefix + topic, key, codec.encode_output(notice))

    def _save(self, keys: Sequence[bytes], since: float) -> None:
        get = self._people.get
        wait = [(key, parcels) for key in keys if (parcels := get(key).outbox)]
        saved = self._people.write(*keys, after=self.ahead.before_state(keys))
        if wait:
            saved.add_done_callback(partial(self._saved, wait, since))

    def _saved(
        self, wait: Sequence[tuple[bytes, tuple[OutboxMessage, ...]]], since: float, saved: asyncio.Future[Any]
    ) -> None:
        if self._closed or saved.cancelled() or saved.exception() is not None:
            return
        for key, parcels in wait:
            still = {parcel.id for parcel in self._people.get(key).outbox}
            self.deliver(key, tuple(parcel for parcel in parcels if parcel.id in still), since)

    def _sent(self, key: bytes, parcel: OutboxMessage, sent: asyncio.Future[Any]) -> None:
        topic, since = self._under_way.pop(parcel.id)
        if self._closed or sent.cancelled() or sent.exception() is not None:
            return
        self._metrics.add("encore_outputs_total", topic)
        if since:
            self._metrics.observe("encore_decision_seconds", max(0.0, self._clock.wall() - since))
        envelope = self._people.get(key)
        left = tuple(other for other in envelope.outbox if other.id != parcel.id)
        if len(left) < len(envelope.outbox):
            self._people.put(key, replace(envelope, outbox=left))
