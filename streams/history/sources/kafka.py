"""A Kafka topic as history: from its beginning to its end at the time of opening."""

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

TIMEOUT_SECONDS = 15.0
MAX_FETCH = 1_000
FETCH_SECONDS = 0.1
"""Seconds to wait for a full batch. This time passes once at the end of each partition."""
PART_RECORDS = 5_000
"""Records per partition that are held while partitions are read in parallel."""
OFFSET_RANGE = 1 << 48
"""A position is the partition times this number, plus the offset."""


class StoredRecord(NamedTuple):
    """A record as it is stored in its partition."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class KafkaTopic:
    """The committed records of a topic, partition after partition, each in log order.

    A replay of `events` itself uses `records`, which gives every partition in the order that its owner received.

    Attributes:
        topic: without the prefix.
        has_mapping: whether the topic holds foreign objects.
    """

    repeatable = True
    has_log_time = True

    def __init__(self, topic: str, settings: Settings, mapping: EventMapping | None = None) -> None:
        self.name = f"kafka:{topic}"
        self.topic = topic
        self.has_mapping = mapping is not None
        self._topic = topics.name(settings, topic)
        self._settings = settings
        self._mapping = mapping
        self._reader = Reader(settings, mapping)
        with closing(self._consumer()) as consumer:
            self._ends = self._fetch_ends(consumer)

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
                    for record in _read_partition(consumer, self._topic, partition, end):
                        position = partition * OFFSET_RANGE + (record.offset() or 0)
                        found = reader.read(position, record.value(), record.timestamp()[1] / 1000.0)
                        if found is not None:
                            yield found
        except KafkaException as error:
            raise self._connection_error(error) from None

    @property
    def total(self) -> int:
        """The largest possible number of records."""
        return sum(self._ends.values())

    def records(self) -> Iterator[StoredRecord]:
        """Yield the stored records: each partition in its order, and all partitions merged by log time.

        Raises:
            OperatorError: while iterating, if the broker is lost.
        """
        try:
            with closing(self._consumer()) as consumer:
                parts = [_read_in_parts(consumer, self._topic, *place) for place in self._ends.items()]
                yield from heapq.merge(*parts, key=operator.attrgetter("timestamp"))
        except KafkaException as error:
            raise self._connection_error(error) from None

    def describe_position(self, position: int) -> str:
        """Return partition and offset."""
        return f"partition {position // OFFSET_RANGE}, offset {position % OFFSET_RANGE}"

    def _consumer(self) -> Consumer:
        return clients.librdkafka_consumer(
            self._settings,
            {
                "group.id": f"{self._settings.group}-history",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # the first records may have been deleted
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            },
        )

    def _fetch_ends(self, consumer: Consumer) -> dict[int, int]:
        """Return the current end offset of each partition."""
        try:
            found = consumer.list_topics(self._topic, timeout=TIMEOUT_SECONDS).topics[self._topic]
            if found.error is not None:
                raise OperatorError(f"{self.name}: there is no topic {self._topic} at {self._settings.broker}")
            ends = {}
            for partition in sorted(found.partitions):
                _, ends[partition] = consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=TIMEOUT_SECONDS
                )
            return ends
        except KafkaException as error:
            raise self._connection_error(error) from None

    def _connection_error(self, error: KafkaException) -> OperatorError:
        return OperatorError(f"{self.name}: no answer of {self._settings.broker} ({error.args[0].str()})")


def _read_partition(consumer: Consumer, topic: str, partition: int, end: int, begin: int = 0) -> Iterator[Message]:
    """Yield the records of a partition from one offset up to another, or up to the end of the committed records."""
    consumer.assign([TopicPartition(topic, partition, begin)])
    at = begin
    while at < end:
        for record in consumer.consume(min(MAX_FETCH, end - at), timeout=FETCH_SECONDS):
            error = record.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or (record.offset() or 0) >= end:
                return
            at = (record.offset() or 0) + 1
            yield record


def _read_in_parts(consumer: Consumer, topic: str, partition: int, end: int) -> Iterator[StoredRecord]:
    """Yield the records of a partition with a consumer that reads other partitions in between."""
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
        for record in itertools.islice(_read_partition(consumer, topic, partition, end, begin), PART_RECORDS)
    ]:
        begin = part[-1].offset + 1
        yield from part
