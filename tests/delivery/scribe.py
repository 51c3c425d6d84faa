"""What does come out: every committed record of Encore's topics, as a reader sees it."""

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
from tests.brokers import Kafka
from tests.delivery.history import LEARNING, PURCHASES
from tests.delivery.reference import OUT, Outputs

LAST_WORDS = 60.0


class Scribe:
    """Writes down every committed record of some topics, from a thread of its own; a broker that is away is awaited."""

    def __init__(self, broker: Kafka, prefix: str, wanted: Iterable[str]) -> None:
        self.records: dict[str, list[Any]] = defaultdict(list)
        self._seen: dict[tuple[str, int], int] = {}
        self._broker, self._prefix, self._wanted = broker, prefix, [prefix + topic for topic in wanted]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(LAST_WORDS)

    async def _write(self) -> None:
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
                    self._note(await consumer.getmany(timeout_ms=100))
            await consumer.stop()

    def _note(self, batches: Mapping[Any, list[Any]]) -> None:
        for place, records in batches.items():
            at = place.topic, place.partition
            fresh = [record for record in records if record.offset > self._seen.get(at, -1)]
            if fresh:
                self._seen[at] = fresh[-1].offset
                self.records[place.topic.removeprefix(self._prefix)] += fresh

    def last(self, topic: str, partition: int) -> int:
        """Return the offset of the last record seen in a partition; -1 before the first."""
        return self._seen.get((self._prefix + topic, partition), -1)

    def people(self, rules: Rules) -> dict[bytes, env.Envelope]:
        """Return people as a recovery finds them in the changelog."""
        partitions: dict[int, UserStore] = {}
        for record in list(self.records[topics.PEOPLE]):
            people = partitions.setdefault(record.partition, UserStore(rules, 1_000_000, _nowhere))
            people.restore(record.key, record.value)
        return {
            key: env.unseal(value)
            for people in partitions.values()
            for key, value in people.cold.items()
            if not key.startswith(b"\0")
        }

    def outputs(self) -> Outputs:
        """Return what was said: by topic and id, every content that went out under it."""
        said: Outputs = {}
        for topic in OUT:
            by_id = said[topic] = defaultdict(set)
            for record in list(self.records[topic]):
                if record.value is not None:
                    by_id[orjson.loads(record.value)["id"]].add(record.value)
        return {topic: dict(by_id) for topic, by_id in said.items()}

    def ingested(self) -> dict[tuple[str, int], int]:
        """Return how far each input partition has come into the log."""
        far: dict[tuple[str, int], int] = {}
        for record in list(self.records[topics.EVENTS]):
            origin = codec.origin_of(record, frozenset((self._prefix + LEARNING, self._prefix + PURCHASES)))
            if origin is not None:
                source, _, partition = origin[0].removeprefix(self._prefix).rpartition("/")
                far[source, int(partition)] = max(origin[1], far.get((source, int(partition)), -1))
        return far


def _nowhere(pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
    raise AssertionError("people are read here, not written")
