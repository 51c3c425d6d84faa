"""The outbox: an output is sent when Kafka has the state that contains it, and removed when Kafka has the output."""

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
    """Sends the outbox messages of the users of one partition.

    The order is always the same. Kafka acknowledges the user's value with the output in its outbox. The output is
    sent. Kafka acknowledges it. It is removed from the value, which is written again with the next commit. A crash
    between two of these steps repeats the output with the same id, and loses none.
    """

    def __init__(
        self,
        users: UserStore,
        write_ahead: WriteAheadOutputs,
        sink: RecordSink,
        prefix: str,
        clock: PartitionClock,
        metrics: Metrics,
    ) -> None:
        self.write_ahead = write_ahead
        self._users = users
        self._sink = sink
        self._prefix = prefix
        self._clock = clock
        self._metrics = metrics
        self._in_flight: dict[str, tuple[str, float]] = {}
        self._closed = False

    def write_then_send(self, keys: Sequence[bytes], since: float = 0.0) -> None:
        """Write users to the changelog together; when Kafka has their state, send their outbox messages.

        Args:
            keys: the users, at least one.
            since: arrival time of the cause, in seconds since 1970 UTC, to measure latency; 0 measures nothing.
        """
        get = self._users.get
        waiting = [(key, messages) for key in keys if (messages := get(key).outbox)]
        written = self._users.write(*keys, after=self.write_ahead.before_state(keys))
        if waiting:
            written.add_done_callback(partial(self._on_written, waiting, since))

    def send(self, key: bytes, messages: tuple[OutboxMessage, ...], since: float = 0.0) -> None:
        """Send messages whose state Kafka has, except those in flight."""
        for message in messages:
            if message.id not in self._in_flight:
                topic, sending = self._send(message)
                self._in_flight[message.id] = topic, since
                sending.add_done_callback(partial(self._on_sent, key, message))

    def close(self) -> None:
        """Stop: another worker owns the partition now, and sends what is left."""
        self._closed = True

    def __len__(self) -> int:
        return len(self._in_flight)

    def _send(self, message: OutboxMessage) -> tuple[str, asyncio.Future[Any]]:
        """Send a message, or, if it has expired, a notice in its place; return the topic too."""
        if not self._clock.is_past(message.expires_at):
            return message.topic, self._sink.enqueue(self._prefix + message.topic, message.key, message.value)
        self._metrics.add("encore_undelivered_total")
        notice = Undelivered(
            id=message.id,
            user=message.user,
            time=message.expires_at,
            expires_at=message.expires_at,
            topic=message.topic,
        )
        topic, key = codec.address(notice)
        return topic, self._sink.enqueue(self._prefix + topic, key, codec.encode_output(notice))

    def _on_written(
        self, waiting: Sequence[tuple[bytes, tuple[OutboxMessage, ...]]], since: float, written: asyncio.Future[Any]
    ) -> None:
        if self._closed or written.cancelled() or written.exception() is not None:
            return
        for key, messages in waiting:
            left = {message.id for message in self._users.get(key).outbox}
            self.send(key, tuple(message for message in messages if message.id in left), since)

    def _on_sent(self, key: bytes, message: OutboxMessage, sent: asyncio.Future[Any]) -> None:
        topic, since = self._in_flight.pop(message.id)
        if self._closed or sent.cancelled() or sent.exception() is not None:
            return
        self._metrics.add("encore_outputs_total", topic)
        if since:
            self._metrics.observe("encore_decision_seconds", max(0.0, self._clock.wall() - since))
        envelope = self._users.get(key)
        left = tuple(other for other in envelope.outbox if other.id != message.id)
        if len(left) < len(envelope.outbox):
            self._users.put(key, replace(envelope, outbox=left))
