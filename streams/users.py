"""The users agent: a fold over `events`, one per partition, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from models.outputs import TIERS
from models.world import World
from streams import topics
from streams.clock import Clock, Slice, monotonic
from streams.delivery.changelog import between, fence_in, fenced
from streams.delivery.deadletters import Cemetery
from streams.delivery.outbox import Outbox
from streams.delivery.people import People
from streams.delivery.rocks import Disk
from streams.delivery.sender import Sender
from streams.delivery.stores import Memory, Store
from streams.engine.app import App
from streams.engine.producer import Producer
from streams.engine.table import Logged
from streams.envelope import Envelope
from streams.fold import Fold
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings
from streams.topics import name

SLICE = 0.02
IDLE = 0.05
MOST_DIRTY = 5_000
MOST_UNACKNOWLEDGED = 50_000


class Users:
    """Keeps the people of the partitions this worker owns, and applies what is delivered to them.

    It is the table's keeper: Faust tells it what recovery read, which partitions it has and which it lost.
    """

    def __init__(
        self, app: App, settings: Settings, metrics: Metrics, world: Callable[[], World], partitions: int
    ) -> None:
        self.folds: dict[int, Fold] = {}
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._world = world
        self._partitions = partitions
        self._people: dict[int, People] = {}
        self._given_at = monotonic()
        self._lost = False
        self.recovery_seconds = 0.0
        self.brought_back = 0
        self._changelog = name(settings, topics.PEOPLE)
        self._most_dirty = MOST_DIRTY if settings.engine == "fast" else 1
        metrics.watch(self._gauges)

    @property
    def _sender(self) -> Sender:
        return cast(Producer, self._app.producer).sender

    # -- the table's keeper

    def restore(self, partition: int, records: Sequence[Logged]) -> None:
        """Take people from the changelog."""
        people = self._of(partition)
        for record in records:
            people.restore(record.key, record.value, fence_in(record.headers) if record.value is None else None)
        people.cold.reached(max(records[-1].offset, people.cold.position))

    def recovered(self, partitions: set[int]) -> None:
        """Begin to apply the partitions that came; those that stayed go on."""
        self.drop(set(self._people) - partitions)
        came = {partition for partition in partitions if self._ended(partition)}
        for partition in sorted(came):
            if partition in self.folds:
                self.folds[partition].outbox.close()
            self._of(partition).begin()
            self.folds[partition] = self._fold(partition)
            self.folds[partition].recovered()
        self._lost = False
        self.brought_back = sum(len(self._people[partition]) for partition in came)
        self.recovery_seconds = monotonic() - self._given_at

    def given(self) -> None:
        """Partitions were given out anew: recovery begins."""
        self._given_at = monotonic()
        self._metrics.add("encore_rebalances_total")

    def drop(self, partitions: set[int]) -> None:
        """Forget partitions that went to another worker."""
        for partition in partitions:
            people = self._people.pop(partition, None)
            if people is not None:
                people.cold.close()
            self._close(partition)

    def lost(self) -> None:
        """End all reigns: whoever comes back begins anew, from what the changelog has."""
        self._lost = True
        for partition, people in self._people.items():
            people.abdicate()
            self._close(partition)

    def close(self) -> None:
        """Forget all partitions, at the end."""
        self.drop(set(self._people))

    async def unsettled(self) -> bool:
        """Look at what others wrote between our own records, and have written again what they wrote over.

        Raises:
            Dethroned: another owner began a reign; nothing of ours may be committed.
        """
        wrote = False
        for partition, people in list(self._people.items()):
            while people.gaps:
                gap = people.gaps[0]
                for record in await between(self._settings, self._changelog, partition, gap):
                    people.met(record.key, record.value, fence_in(record.headers))
                people.filled(gap)
            if people.settle() and partition in self.folds:
                self.folds[partition].flush()
                wrote = True
        return wrote

    def persisted(self, partition: int) -> int | None:
        """Return how far the changelog of a partition is in what we hold."""
        position = self._of(partition).cold.position
        return None if position < 0 else position

    def _ended(self, partition: int) -> bool:
        """Whether a partition is new to us, or another owner had it meanwhile, whatever Faust says."""
        return partition not in self.folds or not self._of(partition).reigns

    def _close(self, partition: int) -> None:
        fold = self.folds.pop(partition, None)
        if fold is not None:
            fold.outbox.close()

    # -- the agent

    async def take(self, partition: int, records: list[Any]) -> bool:
        """Apply a chunk; return whether it is in the state. Whatever goes wrong stops the worker, and commits nothing.

        After a loss nothing is applied until a recovery: the chunk will come again.
        """
        if self._lost:
            return False
        try:
            fold = self.folds[partition]
            self._metrics.add("encore_records_total", "users", by=len(records))
            fold.apply(records)
            fold.drain(Slice(SLICE))
            if len(fold.people.dirty) >= self._most_dirty:
                fold.flush()
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the chunk and go on
            await self._stop(error)
        await asyncio.sleep(0)
        while self._sender.backlog > MOST_UNACKNOWLEDGED:
            await asyncio.sleep(0.01)
        return True

    def look_up(self, partition: int, key: bytes) -> Envelope | None:
        """Return a person held here."""
        fold = self.folds.get(partition)
        if fold is None or key not in fold.people:
            return None
        return fold.people.get(key)

    def now(self, partition: int) -> float:
        """Return the clock of a partition held here."""
        return self.folds[partition].clock.now

    def flush(self) -> None:
        """Write every person that changed; offsets are chosen right after."""
        for fold in self.folds.values():
            fold.flush()

    async def idle(self) -> None:
        """Do due work between chunks, partitions in turn, for ever."""
        while True:
            await asyncio.sleep(IDLE)
            left = list(self.folds.values())
            try:
                while left and not self._app.rebalancing:
                    left = [
                        fold for fold in left if self.folds.get(fold.partition) is fold and fold.drain(Slice(SLICE))
                    ]
                    await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - as in `take`
                await self._stop(error)

    async def _stop(self, error: Exception) -> None:
        self._sender.fail(error)
        await asyncio.Event().wait()

    # -- one partition

    def _of(self, partition: int) -> People:
        if partition not in self._people:
            write, hot = partial(self._write, partition), self._settings.hot_people
            self._people[partition] = People(self._settings.rules(), hot, write, self._store(partition))
        return self._people[partition]

    def _store(self, partition: int) -> Store:
        if self._settings.store == "memory":
            return Memory()
        return Disk(Path(self._settings.data_folder) / self._settings.group / self._changelog / str(partition))

    def _fold(self, partition: int) -> Fold:
        clock = Clock(follows_log=self._settings.expiry == "log")
        people, prefix = self._of(partition), self._settings.prefix
        return Fold(
            partition,
            self._partitions,
            self._settings,
            people,
            Outbox(people, self._sender, prefix, clock, self._metrics),
            Cemetery(self._sender, prefix, self._metrics),
            clock,
            self._metrics,
            self._world,
        )

    def _write(self, partition: int, key: bytes, value: bytes | None) -> asyncio.Future[Any]:
        people = self._people[partition]
        headers = fenced(people.fence) if value is None else None
        written = self._sender.put(self._changelog, key, value, partition, headers)
        written.add_done_callback(partial(_written, people, key, value, people.fence))
        return written

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        people = list(self._people.values())
        gauges: dict[tuple[GaugeName, tuple[str, ...]], float] = {
            ("encore_partitions", ()): len(self.folds),
            ("encore_hot_people", ()): sum(len(some.hot) for some in people),
            ("encore_state_bytes", ()): sum(some.bytes for some in people),
            ("encore_outbox", ()): sum(len(fold.outbox) for fold in self.folds.values()),
            ("encore_unacknowledged", ()): self._sender.backlog,
            ("encore_recovery_seconds", ()): self.recovery_seconds,
            ("encore_recovered_people", ()): self.brought_back,
        }
        for index, tier in enumerate(("none", *TIERS)):
            gauges["encore_people", (tier,)] = sum(some.tiers[index] for some in people)
        for fold in self.folds.values():
            if fold.clock.now > 0:
                gauges["encore_clock_seconds", (str(fold.partition),)] = fold.clock.now
        return gauges


def _written(people: People, key: bytes, value: bytes | None, fence: int, written: asyncio.Future[Any]) -> None:
    if not written.cancelled() and written.exception() is None:
        people.logged(key, value, written.result().offset, fence)
