"""Dead letters: what could not be applied, kept byte for byte with where it came from and why, and a way back."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from models.schema.errors import InvalidEvent
from streams.delivery.sender import RecordSink
from streams.kafka import topics
from streams.kafka.codec import Record
from streams.metrics import Metrics

KEPT = 500_000
"""The most bytes of a record that are kept; a larger one is cut, and where it came from leads to the whole."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A buried record. On the topic, its bytes are the value and all else are headers."""

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
        """Where the record came from; the letter's key, so that burying it again changes nothing."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def headers(self) -> list[tuple[str, bytes]]:
        """Return everything but the value as Kafka headers."""
        said = {
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
        headers = [(name, text.encode()) for name, text in said.items()]
        return [*headers, ("key", self.key)] if self.key is not None else headers


def dead_letter(record: Record, bad: InvalidEvent) -> DeadLetter:
    """Return the letter in which a record that could not be applied is buried."""
    value = record.value or b""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=bad.reason,
        field=bad.field or "",
        detail=bad.detail[:1_000],
        key=record.key[:1_000] if record.key is not None else None,
        value=value[:KEPT],
        log_time=record.timestamp / 1000.0,
        cut_from=len(value) if len(value) > KEPT else 0,
    )


def parse_dead_letter(record: Record) -> DeadLetter:
    """Read a letter back from the topic.

    Raises:
        KeyError, ValueError: the record is no letter of ours.
    """
    said = dict(record.headers)
    return DeadLetter(
        topic=said["topic"].decode(),
        partition=int(said["partition"]),
        offset=int(said["offset"]),
        reason=said["reason"].decode(),
        field=said["field"].decode(),
        detail=said["detail"].decode(),
        key=said.get("key"),
        value=record.value or b"",
        log_time=float(said["log_time"]),
        cut_from=int(said["cut_from"]),
        replayed=said["replayed"].decode(),
    )


class DeadLetterQueue:
    """Buries records; the letter is acknowledged before the record's offset is committed."""

    def __init__(self, sink: RecordSink, prefix: str, metrics: Metrics) -> None:
        self._sink = sink
        self._topic = prefix + topics.DEAD_LETTERS
        self._metrics = metrics

    def send(self, record: Record, bad: InvalidEvent) -> None:
        """Bury a record with the reason."""
        self._metrics.add("encore_dead_letters_total", bad.reason)
        self.write(dead_letter(record, bad))

    def send_timer_failure(self, pseudonym: str, key: bytes, partition: int, due: float, detail: str) -> None:
        """Bury the notice of due work that failed: there is no record, so it bears the person's key and the time."""
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
        """Write a letter; the key makes a second writing of it the same letter."""
        return self._sink.enqueue(self._topic, letter.id.encode(), letter.value, headers=letter.headers())
