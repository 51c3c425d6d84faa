"""A Kafka topic as it stands: from its beginning to where it ends when reading begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams import topics
from streams.admin import OperatorError
from streams.mapping import Mapping
from streams.security import librdkafka
from streams.settings import Settings
from streams.sources.reading import Reader
from streams.sources.source import Entry, Unusable

TIMEOUT = 15.0
AT_ONCE = 1_000
OFFSETS = 1 << 48
"""Positions are partition times this, plus the offset."""


class KafkaTopic:
    """The committed records of a topic, partition after partition, each in its log's order.

    Whoever replays `events` itself gets what every partition's owner got, ticks included, in that owner's order.
    """

    again = True
    logged = True

    def __init__(self, topic: str, settings: Settings, mapping: Mapping | None = None) -> None:
        self.name = f"kafka:{topic}"
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

    def __iter__(self) -> Iterator[Entry | Unusable]:
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

    def where(self, position: int) -> str:
        """Return partition and offset."""
        return f"partition {position // OFFSETS}, offset {position % OFFSETS}"

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **librdkafka(self._settings),
                "group.id": f"{self._settings.group}-history",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "log_level": 0,
            }
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
        return OperatorError(f"{self.name}: {self._settings.broker}: {error.args[0].str()}")


def _records(consumer: Consumer, topic: str, partition: int, end: int) -> Iterator[Message]:
    """Yield the records of a partition from its beginning, up to an offset or where what is committed ends."""
    consumer.assign([TopicPartition(topic, partition, 0)])
    while True:
        for record in consumer.consume(AT_ONCE, timeout=1.0):
            error = record.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or (record.offset() or 0) >= end:
                return
            yield record
