"""Dead letters: records that could not be applied, with their original bytes, their source and the reason."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from models.schema.errors import InvalidEvent
from streams.delivery.sender import RecordSink
from streams.kafka import topics
from streams.kafka.codec import Record
from streams.metrics import Metrics

MAX_VALUE_BYTES = 500_000
"""A larger value is cut to this size. Topic, partition and offset lead to the whole record."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record that could not be applied. On the topic, its bytes are the value and all other fields are headers."""

    topic: str
    partition: int
    offset: int
    reason: str
    field: str
    detail: str
    key: bytes | None
    value: bytes
    log_time: float
    cut_from: int = 0
    replayed: str = ""

    @property
    def id(self) -> str:
        """Source topic, partition and offset. It is the key on the topic, so a repeat replaces the same dead letter."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def headers(self) -> list[tuple[str, bytes]]:
        """Return everything but the value as Kafka headers."""
        fields = {
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "reason": self.reason,
            "field": self.field,
            "detail": self.detail,
            "log_time": repr(self.log_time),
            "cut_from": str(self.cut_from),
            "replayed": self.replayed,
        }
        headers = [(name, text.encode()) for name, text in fields.items()]
        return [*headers, ("key", self.key)] if self.key is not None else headers


def dead_letter(record: Record, bad: InvalidEvent) -> DeadLetter:
    """Return the dead letter for a record that could not be applied."""
    value = record.value or b""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=bad.reason,
        field=bad.field or "",
        detail=bad.detail[:1_000],
        key=record.key[:1_000] if record.key is not None else None,
        value=value[:MAX_VALUE_BYTES],
        log_time=record.timestamp / 1000.0,
        cut_from=len(value) if len(value) > MAX_VALUE_BYTES else 0,
    )


def parse_dead_letter(record: Record) -> DeadLetter:
    """Parse a record of the dead-letter topic.

    Raises:
        KeyError, ValueError: the record is not a dead letter of Encore.
    """
    headers = dict(record.headers)
    return DeadLetter(
        topic=headers["topic"].decode(),
        partition=int(headers["partition"]),
        offset=int(headers["offset"]),
        reason=headers["reason"].decode(),
        field=headers["field"].decode(),
        detail=headers["detail"].decode(),
        key=headers.get("key"),
        value=record.value or b"",
        log_time=float(headers["log_time"]),
        cut_from=int(headers["cut_from"]),
        replayed=headers["replayed"].decode(),
    )


class DeadLetterQueue:
    """Sends dead letters. Kafka acknowledges a dead letter before the offset of its record is committed."""

    def __init__(self, sink: RecordSink, prefix: str, metrics: Metrics) -> None:
        self._sink = sink
        self._topic = prefix + topics.DEAD_LETTERS
        self._metrics = metrics

    def send(self, record: Record, bad: InvalidEvent) -> None:
        """Send a record with the reason why it could not be applied."""
        self._metrics.add("encore_dead_letters_total", bad.reason)
        self.write(dead_letter(record, bad))

    def send_timer_failure(self, pseudonym: str, key: bytes, partition: int, due: float, detail: str) -> None:
        """Send a dead letter for a failed timer. There is no record, so it carries the user's key and the due time."""
        self._metrics.add("encore_dead_letters_total", "due_failed")
        self.write(
            DeadLetter(
                topic=f"{topics.PEOPLE}/{pseudonym}",
                partition=partition,
                offset=int(due),
                reason="due_failed",
                field="",
                detail=detail[:1_000],
                key=key,
                value=b"",
                log_time=due,
            )
        )

    def write(self, letter: DeadLetter) -> asyncio.Future[Any]:
        """Write a dead letter. Writing it again has no effect, because the key is the same."""
        return self._sink.enqueue(self._topic, letter.id.encode(), letter.value, headers=letter.headers())
