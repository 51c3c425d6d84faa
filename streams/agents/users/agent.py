"""The users agent: one log processor for each partition of `events` that this worker owns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import TIERS
from streams.agents.users.audience import select_audience
from streams.agents.users.envelope import Envelope
from streams.agents.users.partition import ProcessorFactory
from streams.agents.users.processor import LogProcessor
from streams.agents.users.recommending import RecommendationJob
from streams.agents.users.store import UserStore
from streams.clock import NOT_YET, PartitionClock, TimeBudget, monotonic
from streams.engine.app import App
from streams.engine.producer import Producer
from streams.kafka import codec, topics
from streams.kafka.topics import name, partition_of
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings
from streams.state.owner import PartitionedStore
from streams.state.partition import ChangelogWriter
from streams.state.rocksdb import RocksDBStore
from streams.state.stores import MemoryStore, Store

SLICE = 0.01
"""Seconds of timers, or of writing ahead of a commit, after which other tasks run."""
IDLE = 0.05
"""Seconds between two rounds of the background work."""
LINGER = 0.2
"""Seconds for which write-ahead outputs wait for more of them: a batch of one costs as much as a large one."""
ROUNDS_PER_COMMIT = 5
"""How often all changed users are written between two commits while there is no backlog. A commit with many users
to write delays decisions."""
BACKLOG_CHUNK = 200
"""Records in a chunk that show a backlog; fewer if the chunk size of the settings is smaller."""
BACKLOG_SECONDS = 1.0
"""Seconds without a full chunk after which the backlog is over."""
MAX_DIRTY = 5_000
MAX_UNACKNOWLEDGED = 50_000
"""Unacknowledged records from which chunks wait: the backpressure of the producer."""


class UsersAgent(PartitionedStore[UserStore]):
    """Holds the users of the partitions this worker owns, and applies the log to them.

    Args:
        app: the Faust app.
        settings: settings of the worker.
        metrics: metrics of the worker.
        context: returns the models, rules and catalogue in use.
        partitions: partition count of `events`.

    Attributes:
        processors: the log processor of each owned partition.
        recommendation_job: is notified of users who need new recommendations, if the worker computes them.
    """

    def __init__(
        self, app: App, settings: Settings, metrics: Metrics, context: Callable[[], Context], partitions: int
    ) -> None:
        super().__init__(lambda: cast(Producer, app.producer).sender, settings, name(settings, topics.PEOPLE))
        self._app = app
        self.processors: dict[int, LogProcessor] = {}
        self.recommendation_job: RecommendationJob | None = None
        self._metrics = metrics
        self._context = context
        self._partitions = partitions
        self._factory = ProcessorFactory(settings, partitions, lambda: self._sender, metrics, context, settings.prefix)
        self._max_dirty = MAX_DIRTY if settings.engine == "fast" else 1
        self._backlog_chunk = max(2, min(settings.chunk, BACKLOG_CHUNK))  # a chunk of one record shows no backlog
        self._backlog_at = NOT_YET
        self._next_write = 0.0
        metrics.watch(self._gauges)

    def on_rebalance_started(self) -> None:
        """Note that partitions were reassigned and recovery begins."""
        super().on_rebalance_started()
        self._metrics.add("encore_rebalances_total")

    def on_partitions_lost(self) -> None:
        """End all epochs. Outputs in flight are void: the log gives them again."""
        super().on_partitions_lost()
        self._factory.discard_outputs()

    # -- the agent

    async def process_chunk(self, partition: int, records: list[Any]) -> bool:
        """Apply a chunk; return whether the state contains it. An error stops the worker, and nothing is committed.

        After partitions were lost, nothing is applied until a recovery: the chunk is read again then.
        """
        if self._lost:
            return False
        try:
            processor = self.processors[partition]
            self._metrics.add("encore_records_total", "users", by=len(records))
            if len(records) >= self._backlog_chunk:
                self._note_backlog()
            processor.process(records)
            processor.run_timers(TimeBudget(SLICE))
            if len(processor.users.dirty) >= self._max_dirty:
                processor.flush()
            while processor.reader.announced:
                await self._send_audience_share(processor, processor.reader.announced.pop(0))
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the chunk and continue
            await self._stop(error)
        await asyncio.sleep(0)
        while self._sender.backlog > MAX_UNACKNOWLEDGED:
            await asyncio.sleep(0.01)
        return self.processors.get(partition) is processor

    def look_up(self, partition: int, key: bytes) -> Envelope | None:
        """Return the envelope of a user of an owned partition, or None."""
        processor = self.processors.get(partition)
        if processor is None or key not in processor.users:
            return None
        return processor.users.get(key)

    def now(self, partition: int) -> float:
        """Return the time of the clock of an owned partition."""
        return self.processors[partition].clock.now

    async def run_background(self) -> None:
        """Run timers, send write-ahead outputs and write changed users between chunks, for ever."""
        sent_at = monotonic()
        while True:
            await asyncio.sleep(IDLE)
            left = deque(self.processors.values())
            if monotonic() - sent_at >= LINGER:
                self._factory.write_ahead.send()
                sent_at = monotonic()
            try:
                while left and not self._app.rebalancing:
                    processor = left.popleft()
                    if self._owns(processor) and processor.run_timers(TimeBudget(SLICE)):
                        left.append(processor)
                    await asyncio.sleep(0)
                for processor in self._partitions_to_write():
                    await self._write_changed(processor)
            except Exception as error:  # noqa: BLE001 - as in `process_chunk`
                await self._stop(error)

    async def write_ahead(self) -> None:
        """Write the changed users in slices before a commit, so that the commit finds few left."""
        self._factory.write_ahead.send()  # in one batch; otherwise each slice of users would send its own outputs
        for processor in list(self.processors.values()):
            await self._write_changed(processor)

    def _partitions_to_write(self) -> list[LogProcessor]:
        """Return the partitions whose turn it is; none during a backlog, when the same user changes often."""
        if self._app.rebalancing or monotonic() < self._backlog_at + BACKLOG_SECONDS:
            return []
        processors = list(self.processors.values())
        first = self._next_write
        self._next_write += len(processors) * ROUNDS_PER_COMMIT * IDLE / self._settings.commit_every
        numbers = range(int(first), min(int(self._next_write), int(first) + len(processors)))
        return [processors[number % len(processors)] for number in numbers]

    async def _write_changed(self, processor: LogProcessor) -> None:
        keys = deque(sorted(processor.users.dirty))
        while keys and self._owns(processor):
            processor.write_some(keys, TimeBudget(SLICE))
            await asyncio.sleep(0)

    def _owns(self, processor: LogProcessor) -> bool:
        """Return whether a processor was not released meanwhile."""
        return self.processors.get(processor.partition) is processor

    def _note_backlog(self) -> None:
        self._backlog_at = monotonic()
        if self.recommendation_job is not None:
            self.recommendation_job.has_backlog = True

    async def _send_audience_share(self, processor: LogProcessor, announced: ev.Announced) -> None:
        """Send the users of a partition with the greatest interest in an announced course."""
        limit, catalogue = self._settings.max_record_bytes, self._context().catalogue
        share = await select_audience(
            processor.users, announced, processor.partition, self._partitions, catalogue, limit
        )
        topic, key = codec.address(share)
        partition = partition_of(key, self._partitions)
        self._sender.enqueue(self._settings.prefix + topic, key, codec.encode_output(share), partition)

    # -- one partition

    def _create_partition(self, partition: int, write: ChangelogWriter) -> UserStore:
        return UserStore(self._settings.rules(), self._settings.cached_users, write, self._create_store(partition))

    def _create_store(self, partition: int) -> Store:
        if self._settings.store == "memory":
            return MemoryStore()
        return RocksDBStore(Path(self._settings.data_folder) / self._settings.group / self._changelog / str(partition))

    def _on_acquired(self, partition: int) -> None:
        clock = PartitionClock(follows_log=self._settings.expiry == "log")
        processor = self._factory.create(partition, self._partition(partition), clock, listener=self.recommendation_job)
        self.processors[partition] = processor
        processor.resume()

    def _on_released(self, partition: int) -> None:
        processor = self.processors.pop(partition)
        processor.outbox.close()
        if self.recommendation_job is not None:
            self.recommendation_job.forget(processor)

    def _flush_partition(self, partition: int) -> None:
        self.processors[partition].flush()

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        stores, processors = list(self._stores.values()), list(self.processors.values())
        gauges: dict[tuple[GaugeName, tuple[str, ...]], float] = {
            ("encore_partitions", ()): len(processors),
            ("encore_cached_users", ()): sum(len(store.hot) for store in stores),
            ("encore_state_bytes", ()): sum(store.bytes for store in stores),
            ("encore_outbox", ()): sum(len(processor.outbox) for processor in processors),
            ("encore_unacknowledged", ()): self._sender.backlog,
            ("encore_recovery_seconds", ()): self.recovery_seconds,
            ("encore_recovered_people", ()): self.recovered_keys,
        }
        for index, tier in enumerate(("none", *TIERS)):
            gauges["encore_people", (tier,)] = sum(store.tiers[index] for store in stores)
        for processor in processors:
            if processor.clock.now > 0:
                gauges["encore_clock_seconds", (str(processor.partition),)] = processor.clock.now
        return gauges
