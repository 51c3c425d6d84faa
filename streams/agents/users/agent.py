"""The users agent: a fold over `events`, one per partition, and nothing else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import TIERS
from streams.agents.users.audience import offered
from streams.agents.users.envelope import Envelope
from streams.agents.users.outbox import Outbox
from streams.agents.users.processor import LogProcessor
from streams.agents.users.recommending import RecommendationJob
from streams.agents.users.store import UserStore
from streams.clock import NOT_YET, PartitionClock, TimeBudget, monotonic
from streams.delivery.dead_letters import DeadLetterQueue
from streams.delivery.write_ahead import WriteAheadOutputs
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
"""Seconds of due work, or of writing ahead, after which others have their turn."""
IDLE = 0.05
COMPANY = 0.2
"""Seconds for which what goes ahead of the state waits for more of its kind: a batch of one costs as much."""
TURNS = 5
"""How often between two commits everybody who has changed is written, while nothing waits: a commit that has much to
write at once keeps decisions waiting behind it."""
FULL = 200
"""Records at once, or as many as a chunk may hold, that are the sign of a backlog."""
CALM = 1.0
"""Seconds without a full chunk after which nothing waits."""
MOST_DIRTY = 5_000
MOST_UNACKNOWLEDGED = 50_000


class UsersAgent(PartitionedStore[UserStore]):
    """Keeps the people of the partitions this worker owns, and applies what is delivered to them."""

    def __init__(
        self, app: App, settings: Settings, metrics: Metrics, world: Callable[[], Context], partitions: int
    ) -> None:
        super().__init__(lambda: cast(Producer, app.producer).sender, settings, name(settings, topics.PEOPLE))
        self._app = app
        self.folds: dict[int, LogProcessor] = {}
        self.listing: RecommendationJob | None = None
        self._metrics = metrics
        self._world = world
        self._partitions = partitions
        self._ahead = self._nothing_said()
        self._most_dirty = MOST_DIRTY if settings.engine == "fast" else 1
        self._full = max(2, min(settings.chunk, FULL))  # one by one is no sign of a backlog
        self._full_at = NOT_YET
        self._turn = 0.0
        metrics.watch(self._gauges)

    def on_rebalance_started(self) -> None:
        """Partitions were given out anew: recovery begins."""
        super().on_rebalance_started()
        self._metrics.add("encore_rebalances_total")

    def on_partitions_lost(self) -> None:
        """End all owned; what was on its way is void, and the log says it again."""
        super().on_partitions_lost()
        self._ahead = self._nothing_said()

    # -- the agent

    async def process_chunk(self, partition: int, records: list[Any]) -> bool:
        """Apply a chunk; return whether it is in the state. Whatever goes wrong stops the worker, and commits nothing.

        After a loss nothing is applied until a recovery: the chunk will come again.
        """
        if self._lost:
            return False
        try:
            fold = self.folds[partition]
            self._metrics.add("encore_records_total", "users", by=len(records))
            if len(records) >= self._full:
                self._behind()
            fold.apply(records)
            fold.drain(TimeBudget(SLICE))
            if len(fold.people.dirty) >= self._most_dirty:
                fold.flush()
            while fold.log.announced:
                await self._offer(fold, fold.log.announced.pop(0))
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the chunk and go on
            await self._stop(error)
        await asyncio.sleep(0)
        while self._sender.backlog > MOST_UNACKNOWLEDGED:
            await asyncio.sleep(0.01)
        return self.folds.get(partition) is fold

    def look_up(self, partition: int, key: bytes) -> Envelope | None:
        """Return a person held here."""
        fold = self.folds.get(partition)
        if fold is None or key not in fold.people:
            return None
        return fold.people.get(key)

    def now(self, partition: int) -> float:
        """Return the clock of a partition held here."""
        return self.folds[partition].clock.now

    async def idle(self) -> None:
        """Do due work between chunks, partitions in turn, for ever."""
        told = monotonic()
        while True:
            await asyncio.sleep(IDLE)
            left = deque(self.folds.values())
            if monotonic() - told >= COMPANY:
                self._ahead.send()
                told = monotonic()
            try:
                while left and not self._app.rebalancing:
                    fold = left.popleft()
                    if self.folds.get(fold.partition) is fold and fold.drain(TimeBudget(SLICE)):
                        left.append(fold)
                    await asyncio.sleep(0)
                for fold in self._whose_turn():
                    await self._write_out(fold)
            except Exception as error:  # noqa: BLE001 - as in `take`
                await self._stop(error)

    async def write_ahead(self) -> None:
        """Write the people that have changed by now, in turns with what is to be applied: a commit finds few left."""
        self._ahead.send()  # all together: each few people would else send what they said by themselves
        for fold in list(self.folds.values()):
            await self._write_out(fold)

    def _whose_turn(self) -> list[LogProcessor]:
        """Return the partitions that are to be written now: nobody while much waits, when a person changes often."""
        if self._app.rebalancing or monotonic() < self._full_at + CALM:
            return []
        folds = list(self.folds.values())
        begin, self._turn = self._turn, self._turn + len(folds) * TURNS * IDLE / self._settings.commit_every
        numbers = range(int(begin), min(int(self._turn), int(begin) + len(folds)))
        return [folds[number % len(folds)] for number in numbers]

    async def _write_out(self, fold: LogProcessor) -> None:
        left = deque(sorted(fold.people.dirty))
        while left and self.folds.get(fold.partition) is fold:
            fold.write(left, TimeBudget(SLICE))
            await asyncio.sleep(0)

    def _behind(self) -> None:
        self._full_at = monotonic()
        if self.listing is not None:
            self.listing.behind = True

    async def _offer(self, fold: LogProcessor, announced: ev.Announced) -> None:
        """Offer an announced course the people of a partition whom it would please most."""
        limit, shelf = self._settings.max_record_bytes, self._world().shelf
        said = await offered(fold.people, announced, fold.partition, self._partitions, shelf, limit)
        topic, key = codec.address(said)
        place = partition_of(key, self._partitions)
        self._sender.enqueue(self._settings.prefix + topic, key, codec.encode_output(said), place)

    # -- one partition

    def _create_partition(self, partition: int, write: ChangelogWriter) -> UserStore:
        return UserStore(self._settings.rules(), self._settings.cached_users, write, self._store(partition))

    def _store(self, partition: int) -> Store:
        if self._settings.store == "memory":
            return MemoryStore()
        return RocksDBStore(Path(self._settings.data_folder) / self._settings.group / self._changelog / str(partition))

    def _on_acquired(self, partition: int) -> None:
        clock = PartitionClock(follows_log=self._settings.expiry == "log")
        people, prefix = self._partition(partition), self._settings.prefix
        self.folds[partition] = fold = LogProcessor(
            partition,
            self._partitions,
            self._settings,
            people,
            Outbox(people, self._ahead, self._sender, prefix, clock, self._metrics),
            DeadLetterQueue(self._sender, prefix, self._metrics),
            clock,
            self._metrics,
            self._world,
            self.listing,
        )
        fold.recovered()

    def _on_released(self, partition: int) -> None:
        fold = self.folds.pop(partition)
        fold.outbox.close()
        if self.listing is not None:
            self.listing.forget(fold)

    def _flush_partition(self, partition: int) -> None:
        self.folds[partition].flush()

    def _nothing_said(self) -> WriteAheadOutputs:
        return WriteAheadOutputs(lambda: self._sender, self._settings.prefix, self._partitions, self._metrics)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        people = list(self._stores.values())
        gauges: dict[tuple[GaugeName, tuple[str, ...]], float] = {
            ("encore_partitions", ()): len(self.folds),
            ("encore_cached_users", ()): sum(len(some.hot) for some in people),
            ("encore_state_bytes", ()): sum(some.bytes for some in people),
            ("encore_outbox", ()): sum(len(fold.outbox) for fold in self.folds.values()),
            ("encore_unacknowledged", ()): self._sender.backlog,
            ("encore_recovery_seconds", ()): self.recovery_seconds,
            ("encore_recovered_people", ()): self.recovered_keys,
        }
        for index, tier in enumerate(("none", *TIERS)):
            gauges["encore_people", (tier,)] = sum(some.tiers[index] for some in people)
        for fold in self.folds.values():
            if fold.clock.now > 0:
                gauges["encore_clock_seconds", (str(fold.partition),)] = fold.clock.now
        return gauges
