"""Each guard around the generations of the group: what is acknowledged, what may be committed, what is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError
from faust.types import TP

from streams.delivery.lease import Fenced, LeaseState, PartitionLease
from streams.engine.consumer import Chunk, ChunkConsumer
from streams.engine.consumer_thread import ConsumerThread
from streams.engine.recovery import BatchRecovery
from streams.engine.table import WriteBehindTable
from streams.kafka import topics

EVENTS, CHANGELOG = TP(topics.EVENTS, 0), TP(topics.PEOPLE, 0)


class RecordingListener:
    """A state listener that records its calls; `settles` gives the result of each check of the changelog."""

    def __init__(self, *settles: Callable[[], bool]) -> None:
        self.calls: list[Any] = []
        self._settles = list(settles)

    def on_partitions_lost(self) -> None:
        self.calls.append("lost")

    def restore(self, partition: int, records: list[Any]) -> None:
        self.calls.append([record.offset for record in records])

    async def resolve_conflicts(self) -> bool:
        return self._settles.pop(0)() if self._settles else False


class Group:
    """A consumer without the parts that do not concern its group; `actions` lists what it does there."""

    def __init__(self, listener: RecordingListener, lease_state: LeaseState = LeaseState.OWNED) -> None:
        self.actions: list[str] = []
        table = WriteBehindTable.__new__(WriteBehindTable)
        table.listener = listener
        self.thread = SimpleNamespace(committing=-1, call_thread=self._call, rejoin=self._note("rejoin"))
        self.consumer = ChunkConsumer.__new__(ChunkConsumer)
        parts: dict[str, Any] = {
            "app": SimpleNamespace(
                producer=SimpleNamespace(flush=self._note("flush")),
                monitor=SimpleNamespace(on_tp_commit=lambda offsets: None),
                tables={"people": table},
                lease=SimpleNamespace(state=lease_state),
            ),
            "log": SimpleNamespace(warning=lambda *words: None),
            "assignment": lambda: {EVENTS},
            "commit": self._note("commit"),
            "_commit": self._commit,
            "_thread": self.thread,
            "_generation": 3,
            "_revocations": 0,
            "_committable": {},
            "_committed_offset": {},
        }
        self.consumer.__dict__.update(parts)

    def _note(self, what: str) -> Callable[[], Any]:
        async def noted() -> None:
            self.actions.append(what)

        return noted

    async def _call(self, work: Callable[[], Any]) -> None:
        await work()

    async def _commit(self, offsets: Any) -> bool:
        self.actions.append(f"commit in {self.thread.committing}")
        return True


def chunk(generation: int) -> Chunk:
    return Chunk("t", 0, 7, 0.0, 0, [], None, [], None, tp=EVENTS, generation_id=generation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("taken", "generation", "done"), [(True, 3, True), (False, 3, False), (True, 2, False)])
def test_only_chunks_taken_in_this_generation_are_acknowledged(taken: bool, generation: int, done: bool) -> None:
    """Faust without its compiled parts acknowledges skipped chunks, and chunks of former generations."""
    counted: list[Chunk] = []
    consumer: Any = SimpleNamespace(
        app=SimpleNamespace(consumer_generation_id=3), ack=lambda message: counted.append(message) or True
    )
    message = chunk(generation)
    message.processed = taken
    assert message.on_final_ack(consumer) == done
    assert counted == [message] * done


def test_a_commit_is_sent_in_the_generation_in_which_it_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka would try again in the newest generation, in which the partitions may belong to another consumer."""
    sent: list[Any] = []

    async def start(self: Any) -> None:
        """Stands for Faust's own method."""

    async def commit(assignment: Any, offsets: Any) -> None:
        sent.append(offsets)

    async def beat() -> bool:
        return coordinator.generation == 3

    monkeypatch.setattr(ConsumerThread.__mro__[1], "on_start", start)
    coordinator = SimpleNamespace(generation=3, _do_commit_offsets=commit, _do_heartbeat=beat)
    now = iter(range(100, 1_000, 10))
    lease = PartitionLease(15.0, lambda: next(now))
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.__dict__ |= {
        "_consumer": SimpleNamespace(_coordinator=coordinator),
        "consumer": SimpleNamespace(app=SimpleNamespace(lease=lease)),
    }

    async def scenario() -> None:
        await thread.on_start()
        thread.committing = 3
        await coordinator._do_commit_offsets(None, {EVENTS: 5})
        coordinator.generation = 4
        with pytest.raises(IllegalGenerationError):
            await coordinator._do_commit_offsets(None, {EVENTS: 9})
        assert sent == [{EVENTS: 5}]
        lease.join(lambda: True)  # at 100
        assert not await coordinator._do_heartbeat()  # asked at 110: no answer that counts
        assert lease.state is LeaseState.UNSURE  # at 120
        coordinator.generation = 3
        assert await coordinator._do_heartbeat()  # asked at 130
        assert lease.state is LeaseState.OWNED  # at 140

    asyncio.run(scenario())


def test_an_expelled_consumer_commits_nothing_and_reports_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partitions have new owners. A consumer that still owns them commits first."""

    async def revoked(self: Any, tps: set[TP]) -> None:
        """Stands for Faust's own method."""

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "on_partitions_revoked", revoked)
    for lease_state, actions, calls in ((LeaseState.LOST, [], ["lost"]), (LeaseState.OWNED, ["commit"], [])):
        listener = RecordingListener()
        group = Group(listener, lease_state)
        asyncio.run(group.consumer.on_partitions_revoked({EVENTS}))
        assert (group.actions, listener.calls) == (actions, calls)
        assert not asyncio.run(group.consumer._commit_offsets({EVENTS: 5}))


def test_rewritten_values_are_safe_before_the_commit() -> None:
    """The changelog is checked again, until no other owner's record stands behind ours."""
    group = Group(RecordingListener(lambda: True))
    assert asyncio.run(group.consumer._commit_offsets({EVENTS: 5}))
    assert group.actions == ["flush", "flush", "commit in 3"]


def test_a_fenced_consumer_rejoins_without_a_commit() -> None:
    """Its work since the last commit is void."""

    def fenced() -> bool:
        raise Fenced("a record of fence 2")

    listener = RecordingListener(fenced)
    group = Group(listener)
    assert not asyncio.run(group.consumer._commit_offsets({EVENTS: 5}))
    assert (group.actions, listener.calls) == (["flush", "rejoin"], ["lost"])


def test_a_batch_recovery_ends_with_the_last_record_and_reads_no_record_twice() -> None:
    """Faust gives the first and the last offset. Recovery does not wait for offsets that compaction removed."""
    listener, table = RecordingListener(), WriteBehindTable.__new__(WriteBehindTable)
    table.listener = listener
    recovery = BatchRecovery.__new__(BatchRecovery)
    parts: dict[str, Any] = {
        "app": SimpleNamespace(in_recovery=True),
        "in_recovery": True,
        "active_tps": {CHANGELOG},
        "active_offsets": {CHANGELOG: 2},
        "active_highwaters": {CHANGELOG: 9},
        "tp_to_table": {CHANGELOG: table},
        "_signal_recovery_end": asyncio.Event(),
        "_active_events_received_at": {},
        "_standby_events_received_at": {},
        "_processing_times": [],
    }
    recovery.__dict__.update(parts)
    batch = [SimpleNamespace(offset=offset) for offset in (1, 2, 3, 7)]
    recovery.apply(TP(topics.PEOPLE, 1), batch)
    recovery.apply(CHANGELOG, batch)
    assert not recovery.signal_recovery_end.is_set()
    recovery.apply(CHANGELOG, batch)
    recovery.apply(CHANGELOG, [SimpleNamespace(offset=9)])
    assert recovery.signal_recovery_end.is_set()
    assert listener.calls == [[3, 7], [9]]
    assert not recovery.in_recovery
