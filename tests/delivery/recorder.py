"""Records every committed record of Encore's topics, as a reader of these topics gets it."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiokafka
import orjson
from aiokafka.errors import KafkaError

from models.person.rules import Rules
from streams.agents.users import envelope as env
from streams.agents.users.store import UserStore
from streams.kafka import codec, topics
from streams.state.partition import Pair
from tests.delivery.history import LEARNING, PURCHASES
from tests.delivery.reference import OUTPUT_TOPICS, Outputs
from tests.harness.kafka import Kafka

CLOSE_SECONDS = 60.0


class TopicRecorder:
    """Collects the committed records of some topics in a thread of its own; it waits for a broker that is down."""

    def __init__(self, broker: Kafka, prefix: str, wanted: Iterable[str]) -> None:
        self.records: dict[str, list[Any]] = defaultdict(list)
        self._last: dict[tuple[str, int], int] = {}
        self._ingested: dict[tuple[str, int], int] = {}
        self._inputs = frozenset((prefix + LEARNING, prefix + PURCHASES))
        self._broker, self._prefix, self._wanted = broker, prefix, [prefix + topic for topic in wanted]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    async def _read(self) -> None:
        while not self._stop.is_set():
            consumer = aiokafka.AIOKafkaConsumer(
                *self._wanted,
                bootstrap_servers=self._broker.bootstrap,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_max_wait_ms=100,
            )
            with suppress(KafkaError, OSError):
                await consumer.start()
                while not self._stop.is_set():
                    self._store(await consumer.getmany(timeout_ms=100))
            await consumer.stop()

    def _store(self, batches: Mapping[Any, list[Any]]) -> None:
        for place, records in batches.items():
            at = place.topic, place.partition
            fresh = [record for record in records if record.offset > self._last.get(at, -1)]
            if fresh:
                self._last[at] = fresh[-1].offset
                if place.topic == self._prefix + topics.EVENTS:
                    self._note_origins(fresh)
                self.records[place.topic.removeprefix(self._prefix)] += fresh

    def _note_origins(self, records: Iterable[Any]) -> None:
        for record in records:
            origin = codec.origin_of(record, self._inputs)
            if origin is not None:
                source, _, partition = origin[0].removeprefix(self._prefix).rpartition("/")
                at = source, int(partition)
                self._ingested[at] = max(origin[1], self._ingested.get(at, -1))

    def last_offset(self, topic: str, partition: int) -> int:
        """Return the offset of the last record read from a partition; -1 before the first."""
        return self._last.get((self._prefix + topic, partition), -1)

    def users(self, rules: Rules) -> dict[bytes, env.Envelope]:
        """Return the users as a recovery finds them in the changelog."""
        partitions: dict[int, UserStore] = {}
        for record in list(self.records[topics.PEOPLE]):
            users = partitions.setdefault(record.partition, UserStore(rules, 1_000_000, _refuse))
            users.restore(record.key, record.value)
        return {
            key: env.decode_envelope(value)
            for users in partitions.values()
            for key, value in users.cold.items()
            if not key.startswith(b"\0")
        }

    def outputs(self) -> Outputs:
        """Return the outputs: by topic and id, every content that was published under that id."""
        found: Outputs = {}
        for topic in OUTPUT_TOPICS:
            by_id = found[topic] = defaultdict(set)
            for record in list(self.records[topic]):
                if record.value is not None:
                    by_id[orjson.loads(record.value)["id"]].add(record.value)
        return {topic: dict(by_id) for topic, by_id in found.items()}

    def ingested(self) -> dict[tuple[str, int], int]:
        """Return, by input topic and partition, the last offset that has come into the log."""
        return dict(self._ingested)


def _refuse(pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
    raise AssertionError("this store only reads users")
