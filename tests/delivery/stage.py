"""A stage for delivery tests: Encore's topics on a real broker, workers as processes, and what ought to come out.

What ought to come out is worked out by the two functions of `models.retention` alone (`reference`); what did come out
is read from the topics (`scribe`).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiokafka
import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from models.churn.scorer import build_scorer
from models.churn.snapshot import decode_snapshot
from models.offers.campaign import Arm, Campaign
from models.person.rules import Rules
from models.retention.context import Context
from models.schema import events as ev
from streams import settings as settings_
from streams.kafka import admin, topics
from streams.kafka.topics import partition_of
from streams.settings import Settings
from tests.brokers import Kafka
from tests.delivery.comparison import agree, differences
from tests.delivery.history import LEARNING, PURCHASES, Sent, slices
from tests.delivery.process import CHECKOUT, Worker
from tests.delivery.reference import OUT, Reference, frozen_model
from tests.delivery.scribe import Scribe

PARTITIONS = 4
PATIENCE = 120.0
"""A bound for waiting: it only turns a hang into a failure."""
SETTINGS = {
    "ENCORE_PARTITIONS": str(PARTITIONS),
    "ENCORE_INPUTS": f"{LEARNING},{PURCHASES}",
    "ENCORE_CLOCK": "source",
    "ENCORE_EXPIRY": "log",
    "ENCORE_AGENTS": "ingest,users",
    "ENCORE_HORIZON": "1d",
    "ENCORE_LOOKBACK": "2d",
    "ENCORE_WAKE_EVERY": "6h",
    "ENCORE_DWELL": "0s",
    "ENCORE_ALERT_LASTS": "3650d",
    "ENCORE_LABELS_NEEDED": "1",
    "ENCORE_SESSION_TIMEOUT": "6s",
}
CAMPAIGN = Campaign(
    id="spring",
    arm=Arm(name="tenner", amount=10.0, valid_days=0.5),
    cap_per_person=5,
    cool_down_days=0.5,
    contact_cool_down_days=0.25,
    hold_out=0.2,
    needs_consent=False,
    quiet_from=0.0,
    quiet_until=0.0,
    version="1",
)

Outputs = dict[str, dict[str, set[bytes]]]


Way = dict[str, str]
"""A way to run a worker, as settings (see conftest)."""


class Stage:
    """Encore on a broker under a prefix of its own: `with Stage(...) as stage`."""

    def __init__(self, broker: Kafka, prefix: str, **changed: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="encore-delivery-")
        given = {f"ENCORE_{name.upper()}": value for name, value in changed.items()}
        own = {"ENCORE_BROKER": broker.url, "ENCORE_PREFIX": f"{prefix}-", "ENCORE_GROUP": prefix}
        self.given = {**SETTINGS, **own, "ENCORE_DATA_FOLDER": self._folder.name, **given}
        self.settings: Settings = settings_.load(self.given)
        self.broker = broker
        self.workers: list[Worker] = []
        self._disks = (f"disk-{number}" for number in count())

    def __enter__(self) -> Self:
        admin.create_topics(self.settings)
        snapshot = frozen_model(self.rules)
        self._publish(topics.SNAPSHOTS, b"churn", snapshot)
        self._publish(topics.CAMPAIGNS, CAMPAIGN.id.encode(), msgspec.json.encode(CAMPAIGN))
        self.world = Context(rules=self.rules, model=build_scorer(decode_snapshot(snapshot)), campaign=CAMPAIGN)
        self.scribe = Scribe(
            self.broker, self.settings.prefix, (topics.EVENTS, topics.PEOPLE, topics.DEAD_LETTERS, *OUT)
        )
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            if worker.running:
                worker.kill()
        if error[0] is not None:
            print(self.story())
        self.scribe.close()
        self._folder.cleanup()

    @property
    def rules(self) -> Rules:
        """The rules of the settings."""
        return self.settings.rules()

    def worker(self, disk: str = "", **changed: str) -> Worker:
        """Start a worker on a disk, or on one that nobody had before."""
        changed = {"data_folder": f"{self._folder.name}/{disk or next(self._disks)}", **changed}
        given = {f"ENCORE_{name.upper()}": value for name, value in changed.items()}
        path = os.environ.get("PYTHONPATH", "")
        environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}:{path}", **self.given, **given}
        self.workers.append(Worker(environment, Path(self._folder.name)))
        return self.workers[-1]

    def story(self) -> str:
        """Return what the workers wrote to their logs, for a test that failed."""
        return "\n".join(f"--- {worker.log.name}\n{worker.log.read_text()[-4_000:]}" for worker in self.workers)

    # -- sending

    def send(
        self, *pieces: list[Sent], transaction: str | None = None, abort: bool = False
    ) -> dict[tuple[str, int], int]:
        """Send events to their input topics, a person always to one partition, under keys that are not the person's.

        Returns:
            By topic and partition, the offset of the last one.
        """

        async def put(producer: aiokafka.AIOKafkaProducer) -> dict[tuple[str, int], int]:
            sent = [await self._put(producer, one) for piece in pieces for one in piece]
            marks = [await acknowledged for acknowledged in sent]
            return {(mark.topic.removeprefix(self.settings.prefix), mark.partition): mark.offset for mark in marks}

        return asyncio.run(self._produce(put, transaction, abort))

    def tell(
        self, records: Iterable[tuple[int, ev.Event | ev.Tick]], transaction: str | None = None, abort: bool = False
    ) -> None:
        """Write straight into partitions of the log."""

        async def put(producer: aiokafka.AIOKafkaProducer) -> dict[tuple[str, int], int]:
            topic = self.settings.prefix + topics.EVENTS
            for partition, event in records:
                key = event.user_id.encode() if isinstance(event, ev.Event) else None
                await producer.send(topic, ev.encode(event), key=key, partition=partition)
            await producer.flush()
            return {}

        asyncio.run(self._produce(put, transaction, abort))

    def told(self, sent: Iterable[Sent]) -> list[tuple[int, ev.Event | ev.Tick]]:
        """Return events with the partitions of the log in which they belong."""
        return [(partition_of(one.event.user_id.encode(), PARTITIONS), one.event) for one in sent]

    def tick(self, moment: float) -> None:
        """Write a tick into every partition of the log."""
        self.tell([(partition, ev.Tick(time=moment)) for partition in range(PARTITIONS)])

    async def _put(self, producer: aiokafka.AIOKafkaProducer, one: Sent) -> asyncio.Future[Any]:
        key = one.event.user_id.encode()
        place = partition_of(key[::-1], PARTITIONS)
        acknowledged: asyncio.Future[Any] = await producer.send(
            self.settings.prefix + one.topic, ev.encode(one.event), key=b"device of " + key, partition=place
        )
        return acknowledged

    async def _produce(self, put: Callable[[Any], Any], transaction: str | None, abort: bool) -> Any:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.broker.bootstrap, linger_ms=2, transactional_id=transaction, enable_idempotence=True
        )
        await producer.start()
        try:
            if transaction is None:
                return await put(producer)
            await producer.begin_transaction()
            marks = await put(producer)
            await (producer.abort_transaction() if abort else producer.commit_transaction())
            return marks
        finally:
            await producer.stop()

    def play(self, sent: list[Sent], seconds: float, between: Mapping[int, Callable[[], object]]) -> None:
        """Send a history in slices of event time, never more than two ahead of what has come into the log.

        Args:
            sent: the history.
            seconds: of event time in a slice.
            between: what to do right after a slice was sent, by its number.
        """
        marks: list[dict[tuple[str, int], int]] = []
        for number, piece in enumerate(slices(sent, seconds)):
            marks.append(self.send(piece))
            between.get(number, lambda: None)()
            if number >= 2:
                self.until_ingested(marks[number - 2])
        for mark in marks[-2:]:
            self.until_ingested(mark)

    def _publish(self, topic: str, key: bytes, value: bytes) -> None:
        asyncio.run(admin.publish(self.settings, topic, key, value))

    # -- waiting

    def held(self, worker: Worker, partitions: int) -> None:
        """Wait until a worker holds so many partitions of the log and is ready."""

        def holds() -> bool:
            assert worker.running, "the worker has ended"
            figures = worker.metrics()
            return figures.get("encore_partitions") == partitions and figures.get("encore_ready") == 1

        self.until(holds, f"{partitions} partitions held")

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
            time.sleep(0.05)

    def until_ingested(self, marks: Mapping[tuple[str, int], int]) -> None:
        """Wait until the log has what was sent up to some offsets."""
        self.until(lambda: all(self.scribe.ingested().get(at, -1) >= mark for at, mark in marks.items()), "ingested")

    def until_applied(self) -> None:
        """Wait until the users agents have committed everything that stands in the log."""
        self.until(lambda: self.behind() == 0, "applied and committed")

    def behind(self) -> int:
        """Return how many records of the log, as far as it is seen, the users agents have not committed."""
        committed = asyncio.run(self._committed(self.settings.group, topics.EVENTS))
        return sum(
            max(0, self.scribe.last(topics.EVENTS, place) + 1 - committed.get(place, 0)) for place in range(PARTITIONS)
        )

    async def _committed(self, group: str, topic: str) -> dict[int, int]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        await client.start()
        try:
            offsets = await client.list_consumer_group_offsets(group)
        finally:
            await client.close()
        return {
            place.partition: mark.offset
            for place, mark in offsets.items()
            if place.topic == self.settings.prefix + topic
        }

    # -- comparing

    def finish(self, sent: Iterable[Sent], until: float) -> None:
        """Tick a last time, and wait until people and outputs are those of an undisturbed run; then end all workers."""
        self.until_applied()
        self.tick(until)
        self.settle(sent, until)
        for worker in self.workers:
            if worker.running:
                assert worker.stop() == 0
        agree(self.scribe, Reference.of(sent, self.world, until))

    def settle(self, sent: Iterable[Sent], until: float) -> None:
        """Wait until people and outputs are those of an undisturbed run."""
        reference = Reference.of(sent, self.world, until)
        deadline = time.monotonic() + PATIENCE / 2
        while differences(self.scribe, reference) and time.monotonic() < deadline:
            time.sleep(0.3)
        agree(self.scribe, reference)
