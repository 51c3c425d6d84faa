"""A deployment to measure: its topics, filled with users and a log, and its workers."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models.schema import event_codec
from models.schema import events as ev
from streams import settings as settings_
from streams.agents.users import envelope as env
from streams.agents.users.envelope import Envelope
from streams.kafka import admin, codec, topics
from streams.kafka.topics import partition_of
from streams.operation import campaigns
from streams.settings import Settings
from streams.state.partition import FENCE
from tests.benchmarks import rig, workload
from tests.benchmarks.rig import Cores, Measured, RecordToWrite
from tests.benchmarks.workload import Population, WorkloadEvent
from tests.harness.kafka import Kafka
from tests.harness.worker import WorkerProcess, as_environment

INPUT = "learning-events"


class Filled(NamedTuple):
    """A written log: its number of events, the time of the last one, and bytes an event."""

    events: int
    last: float
    size: float


class BenchmarkDeployment:
    """One Encore under a prefix of its own, with its model and campaign published."""

    def __init__(
        self, broker: Kafka, cores: Cores, population: Population, partitions: int = 16, **changed: object
    ) -> None:
        name = f"b{uuid.uuid4().hex[:8]}"
        given = {"broker": broker.url, "prefix": f"{name}-", "group": name, "partitions": partitions, "agents": "users"}
        given |= {"inputs": INPUT}
        given |= {"clock": "source", "expiry": "log", "alert_lasts": "3650d", **changed}
        self.environment = as_environment(given)
        self.settings: Settings = settings_.load(self.environment)
        self.broker, self.cores, self.population, self.partitions = broker, cores, population, partitions
        self.folder = Path(tempfile.mkdtemp(prefix="encore-bench-"))
        admin.create_topics(self.settings)
        asyncio.run(admin.publish(self.settings, topics.SNAPSHOTS, b"churn", population.snapshot))
        campaign = population.campaign
        asyncio.run(
            admin.publish(self.settings, topics.CAMPAIGNS, campaign.id.encode(), campaigns.encode_campaign(campaign))
        )

    # -- topics

    def write_users(self, people: int) -> int:
        """Write so many users to the changelog, as an earlier worker would have; return the bytes."""
        sizes = 0

        def values() -> Iterator[RecordToWrite]:
            nonlocal sizes
            for partition in range(self.partitions):
                yield RecordToWrite(
                    partition,
                    FENCE,
                    env.encode_envelope(Envelope(workload.fence_person()), 1, self.settings.rules()),
                    time.time(),
                )
            for number in range(people):
                key = workload.user_id_of(number).encode()
                value = env.encode_envelope(Envelope(self.population.person(number)), 1, self.settings.rules())
                sizes += len(value)
                yield RecordToWrite(partition_of(key, self.partitions), key, value, time.time())

        rig.fill(self.broker.bootstrap, self.settings.prefix + topics.PEOPLE, values())
        return sizes

    def write_log(self, people: int, events: int, ingested: bool = False) -> Filled:
        """Write so many events of so many users to the log, with ticks; `ingested` adds the origins of ingest."""
        size, last, written = 0, self.population.start, 0

        def records() -> Iterator[RecordToWrite]:
            nonlocal size, last, written
            for one in with_ticks(itertools.islice(self.population.log(people), events), self.partitions):
                size, last, written = size + len(one.value), max(last, one.time), written + (one.key is not None)
                yield one

        origin = (lambda number: codec.origin_header(INPUT, number % 16, number)) if ingested else None
        rig.fill(self.broker.bootstrap, self.settings.prefix + topics.EVENTS, records(), origin)
        return Filled(written, last, size / max(1, written))

    def tick(self, moment: float) -> None:
        """Write a tick to every partition of the log."""
        rig.fill(self.broker.bootstrap, self.settings.prefix + topics.EVENTS, ticks(moment, self.partitions))

    # -- workers

    def worker(self, **changed: object) -> MeasuredWorker:
        """Start a worker on its core."""
        environment = {**self.environment, **as_environment(changed)}
        return MeasuredWorker(environment, self.folder, self.cores.engine, rig.MAX_MEMORY)

    def close(self) -> None:
        """Remove the log files. The topics go with the broker: deleting them would slow down the next measurement."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> BenchmarkDeployment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MeasuredWorker(WorkerProcess, Measured):
    """A worker that is measured."""

    def seconds_to_ready(self) -> float:
        """Wait until it is ready; return the seconds since it was started."""
        self.until(lambda: self.metric("encore_ready") == 1, "the worker is ready", patience=rig.READ_TIMEOUT)
        return time.monotonic() - self.started_at

    def applied(self) -> float:
        """Return how many events it has applied."""
        return self.metric("encore_events_total")


def with_ticks(events: Iterator[WorkloadEvent], partitions: int) -> Iterator[RecordToWrite]:
    """Yield the records of a log: events by user, and from time to time a tick in every partition."""
    ticked = 0.0
    for one in events:
        if one.time - ticked >= workload.TICK:
            ticked = one.time
            yield from ticks(ticked, partitions)
        key = workload.user_id_of(one.number).encode()
        yield RecordToWrite(partition_of(key, partitions), key, one.value, one.time)


def ticks(moment: float, partitions: int) -> Iterator[RecordToWrite]:
    """Yield a tick for every partition."""
    for partition in range(partitions):
        yield RecordToWrite(partition, None, event_codec.encode(ev.Tick(time=moment)), moment)
