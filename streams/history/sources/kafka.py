"""A Kafka topic as it stands: from its beginning to where it ends when reading begins."""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.agents.ingest.mapping import EventMapping
from streams.errors import OperatorError
from streams.history.sources.reader import Reader
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.kafka import clients, topics
from streams.settings import Settings

TIMEOUT = 15.0
AT_ONCE = 1_000
PAUSE = 0.1
"""Seconds for which as many are waited for, which passes once at the end of every partition."""
IN_STEP = 5_000
"""Records of a partition that are held while partitions are read in step."""
OFFSETS = 1 << 48
"""Positions are partition times this, plus the offset."""


class StoredRecord(NamedTuple):
    """A record as it stands in its partition."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class KafkaTopic:
    """The committed records of a topic, partition after partition, each in its log's order.

    Whoever replays `events` itself takes `records`: what every partition's owner got, in that owner's order.

    Attributes:
        topic: without the prefix.
        mapped: whether it holds foreign objects.
    """

    again = True
    logged = True

    def __init__(self, topic: str, settings: Settings, mapping: EventMapping | None = None) -> None:
        self.name = f"kafka:{topic}"
        self.topic = topic
        self.mapped = mapping is not None
        self._topic = topics.name(settings, topic)
        self._settings = settings
        self._mapping = mapping
        self._reader = Reader(settings, mapping)
        with closing(self._consumer()) as consumer:
            self._ends = self._found_ends(consumer)

    @property
    def skipped(self) -> int:
        """How many records the mapping file has left out."""
        return self._reader.skipped

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return len(self._ends)

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        self._reader = reader = Reader(self._settings, self._mapping)
        try:
            with closing(self._consumer()) as consumer:
                for partition, end in self._ends.items():
                    for record in _records(consumer, self._topic, partition, end):
                        position = partition * OFFSETS + (record.offset() or 0)
                        found = reader.read(position, record.value(), record.timestamp()[1] / 1000.0)
                        if found is not None:
                            yield found
        except KafkaException as error:
            raise self._lost(error) from None

    @property
    def total(self) -> int:
        """How many records there are at most."""
        return sum(self._ends.values())

    def records(self) -> Iterator[StoredRecord]:
        """Read the records as they are, every partition in its order, partitions in step by the log's own time.

        Raises:
            OperatorError: while iterating, if the broker is lost.
        """
        try:
            with closing(self._consumer()) as consumer:
                parts = [_in_parts(consumer, self._topic, *place) for place in self._ends.items()]
                yield from heapq.merge(*parts, key=operator.attrgetter("timestamp"))
        except KafkaException as error:
            raise self._lost(error) from None

    def where(self, position: int) -> str:
        """Return partition and offset."""
        return f"partition {position // OFFSETS}, offset {position % OFFSETS}"

    def _consumer(self) -> Consumer:
        return clients.librdkafka_consumer(
            self._settings,
            {
                "group.id": f"{self._settings.group}-history",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # what was there first may be gone by now
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            },
        )

    def _found_ends(self, consumer: Consumer) -> dict[int, int]:
        """Return where each partition ends now."""
        try:
            found = consumer.list_topics(self._topic, timeout=TIMEOUT).topics[self._topic]
            if found.error is not None:
                raise OperatorError(f"{self.name}: there is no topic {self._topic} at {self._settings.broker}")
            ends = {}
            for partition in sorted(found.partitions):
                _, ends[partition] = consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=TIMEOUT
                )
            return ends
        except KafkaException as error:
            raise self._lost(error) from None

    def _lost(self, error: KafkaException) -> OperatorError:
        return OperatorError(f"{self.name}: no answer of {self._settings.broker} ({error.args[0].str()})")


def _records(consumer: Consumer, topic: str, partition: int, end: int, begin: int = 0) -> Iterator[Message]:
    """Yield the records of a partition from an offset, up to another or where what is committed ends."""
    consumer.assign([TopicPartition(topic, partition, begin)])
    at = begin
    while at < end:
        for record in consumer.consume(min(AT_ONCE, end - at), timeout=PAUSE):
            error = record.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or (record.offset() or 0) >= end:
                return
            at = (record.offset() or 0) + 1
            yield record


def _in_parts(consumer: Consumer, topic: str, partition: int, end: int) -> Iterator[StoredRecord]:
    """Yield the records of a partition, with a consumer that reads others in between."""
    begin = 0
    while part := [
        StoredRecord(
            topic,
            partition,
            record.offset() or 0,
            record.timestamp()[1],
            record.key(),
            record.value(),
            cast(list[tuple[str, bytes]], record.headers() or []),
        )
        for record in itertools.islice(_records(consumer, topic, partition, end, begin), IN_STEP)
    ]:
        begin = part[-1].offset + 1
        yield from part
