"""A scenario of the delivery tests: Encore's topics on a real Kafka, workers as processes, and the expected outputs.

The expected outputs come from the two functions of `models.retention` alone (`reference`). The outputs that workers
published are read from the topics (`recorder`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, Self

import aiokafka
import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from models.churn.scorer import build_scorer
from models.churn.snapshot import decode_snapshot
from models.offers.campaign import Arm, Campaign
from models.person.rules import Rules
from models.retention.context import Context
from models.schema import event_codec
from models.schema import events as ev
from streams.kafka import admin, topics
from streams.kafka.topics import partition_of
from tests.delivery.differences import assert_as_undisturbed, find_differences
from tests.delivery.history import LEARNING, PURCHASES, Sent, slices
from tests.delivery.recorder import TopicRecorder
from tests.delivery.reference import OUTPUT_TOPICS, Reference, frozen_model
from tests.harness.deployment import SHORT_SESSION, Deployment
from tests.harness.kafka import Kafka
from tests.harness.process import wait_until
from tests.harness.worker import WorkerProcess

PARTITIONS = 4
SETTINGS = {
    **SHORT_SESSION,
    "partitions": PARTITIONS,
    "inputs": f"{LEARNING},{PURCHASES}",
    "agents": "ingest,users",
    "horizon": "1d",
    "lookback": "2d",
    "wake_every": "6h",
    "dwell": "0s",
    "alert_lasts": "3650d",
    "labels_needed": "1",
}
UNHURRIED = {"session_timeout": "60s"}
"""For tests in which no worker may be expelled from its group, however busy the machine is."""
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


class Scenario(Deployment):
    """A deployment whose model and campaign are published: `with Scenario(...) as scenario`.

    Leaving the block kills the workers that still run. If the block fails, the ends of all their logs are printed.
    """

    def __init__(self, broker: Kafka, prefix: str, **settings: str) -> None:
        super().__init__(broker.bootstrap, prefix, **{**SETTINGS, **settings})
        self.environment["ENCORE_DATA_FOLDER"] = str(self.folder)
        self.broker = broker
        self.workers: list[WorkerProcess] = []
        self._disks = (f"disk-{number}" for number in count())

    def __enter__(self) -> Self:
        admin.create_topics(self.settings)
        snapshot = frozen_model(self.rules)
        self._publish(topics.SNAPSHOTS, b"churn", snapshot)
        self._publish(topics.CAMPAIGNS, CAMPAIGN.id.encode(), msgspec.json.encode(CAMPAIGN))
        self.context = Context(rules=self.rules, model=build_scorer(decode_snapshot(snapshot)), campaign=CAMPAIGN)
        self.recorder = TopicRecorder(
            self.broker, self.settings.prefix, (topics.EVENTS, topics.PEOPLE, topics.DEAD_LETTERS, *OUTPUT_TOPICS)
        )
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            if worker.running:
                worker.kill()
        if error[0] is not None:
            print("\n".join(f"--- {worker.log.name}\n{worker.log_tail()}" for worker in self.workers))
        self.recorder.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def rules(self) -> Rules:
        """The rules of the settings."""
        return self.settings.rules()

    def worker(self, disk: str = "", **settings: object) -> WorkerProcess:
        """Start a worker whose data folder is the disk of this name, or one that no worker had before."""
        settings = {"data_folder": self.folder / (disk or next(self._disks)), **settings}
        self.workers.append(super().worker(**settings))
        return self.workers[-1]

    # -- sending

    def send_inputs(
        self, *pieces: list[Sent], transaction: str | None = None, abort: bool = False
    ) -> dict[tuple[str, int], int]:
        """Send events to their input topics: a user always to one partition, under keys that are not the user's.

        Returns:
            By topic and partition, the offset of the last event.
        """

        async def put(producer: aiokafka.AIOKafkaProducer) -> dict[tuple[str, int], int]:
            sent = [await self._put(producer, one) for piece in pieces for one in piece]
            acknowledged = [await each for each in sent]
            return {(one.topic.removeprefix(self.settings.prefix), one.partition): one.offset for one in acknowledged}

        return asyncio.run(self._produce(put, transaction, abort))

    def append(
        self, records: Iterable[tuple[int, ev.Event | ev.Tick]], transaction: str | None = None, abort: bool = False
    ) -> None:
        """Write records straight into partitions of the log."""

        async def put(producer: aiokafka.AIOKafkaProducer) -> dict[tuple[str, int], int]:
            topic = self.settings.prefix + topics.EVENTS
            for partition, event in records:
                key = event.user_id.encode() if isinstance(event, ev.Event) else None
                await producer.send(topic, event_codec.encode(event), key=key, partition=partition)
            await producer.flush()
            return {}

        asyncio.run(self._produce(put, transaction, abort))

    def with_partitions(self, sent: Iterable[Sent]) -> list[tuple[int, ev.Event | ev.Tick]]:
        """Return events with the partitions of the log to which they belong."""
        return [(partition_of(one.event.user_id.encode(), PARTITIONS), one.event) for one in sent]

    def tick(self, time: float) -> None:
        """Write a tick to every partition of the log."""
        self.append([(partition, ev.Tick(time=time)) for partition in range(PARTITIONS)])

    async def _put(self, producer: aiokafka.AIOKafkaProducer, one: Sent) -> asyncio.Future[Any]:
        key = one.event.user_id.encode()
        place = partition_of(key[::-1], PARTITIONS)
        acknowledged: asyncio.Future[Any] = await producer.send(
            self.settings.prefix + one.topic, event_codec.encode(one.event), key=b"device of " + key, partition=place
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
            offsets = await put(producer)
            await (producer.abort_transaction() if abort else producer.commit_transaction())
            return offsets
        finally:
            await producer.stop()

    def play(self, sent: list[Sent], seconds: float, between: Mapping[int, Callable[[], object]]) -> None:
        """Send a history in slices of event time, at most two slices ahead of what has come into the log.

        Args:
            sent: the history.
            seconds: of event time in a slice.
            between: what to do right after a slice was sent, by the slice's number.
        """
        offsets: list[dict[tuple[str, int], int]] = []
        for number, piece in enumerate(slices(sent, seconds)):
            offsets.append(self.send_inputs(piece))
            between.get(number, lambda: None)()
            if number >= 2:
                self.until_ingested(offsets[number - 2])
        for last in offsets[-2:]:
            self.until_ingested(last)

    def _publish(self, topic: str, key: bytes, value: bytes) -> None:
        asyncio.run(admin.publish(self.settings, topic, key, value))

    # -- waiting

    def until_held(self, worker: WorkerProcess, partitions: int) -> None:
        """Wait until a worker holds so many partitions of the log and is ready."""

        def holds() -> bool:
            metrics = worker.metrics()
            return metrics.get("encore_partitions") == partitions and metrics.get("encore_ready") == 1

        worker.until(holds, f"{partitions} partitions held")

    def until_ingested(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Wait until the log has the input records up to some offsets."""

        def ingested() -> bool:
            last = self.recorder.ingested()
            return all(last.get(at, -1) >= offset for at, offset in offsets.items())

        wait_until(ingested, "ingested")

    def until_applied(self) -> None:
        """Wait until the users agents have committed every record of the log."""
        wait_until(lambda: self.lag() == 0, "applied and committed")

    def lag(self) -> int:
        """Return how many records of the log, as far as the recorder has read it, the users agents did not commit."""
        committed = asyncio.run(self._committed(self.settings.group, topics.EVENTS))
        return sum(
            max(0, self.recorder.last_offset(topics.EVENTS, place) + 1 - committed.get(place, 0))
            for place in range(PARTITIONS)
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
        """Tick a last time, wait for the users and outputs of an undisturbed run, and stop all workers."""
        self.until_applied()
        self.tick(until)
        reference = self.settle(sent, until)
        for worker in self.workers:
            if worker.running:
                assert worker.stop() == 0
        assert_as_undisturbed(self.recorder, reference)

    def settle(self, sent: Iterable[Sent], until: float) -> Reference:
        """Wait until users and outputs are those of an undisturbed run, and return that run."""
        reference = Reference.of(sent, self.context, until)
        with contextlib.suppress(AssertionError):  # the differences say more than that they stay
            wait_until(lambda: not find_differences(self.recorder, reference), "as undisturbed", every=0.2)
        assert_as_undisturbed(self.recorder, reference)
        return reference
