"""Each guard of the consumer alone: what is read, what is committed, and when. There is no broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from streams.engine.consumer import ChunkConsumer
from streams.engine.consumer_thread import ConsumerThread
from streams.engine.table import WriteBehindTable
from streams.kafka import topics

EVENTS, CHANGELOG = TP(topics.EVENTS, 0), TP(topics.PEOPLE, 0)


class Barrier:
    """A producer whose flush ends when a test says so; `voided` tells whether its sender dropped records."""

    def __init__(self, voided: bool = False) -> None:
        self.flushed = asyncio.Event()
        self.failure: Exception | None = None
        self.sender = SimpleNamespace(take_voided=lambda: voided)

    async def flush(self) -> None:
        await self.flushed.wait()
        if self.failure:
            raise self.failure


def consumer(producer: Any, *mine: TP) -> tuple[ChunkConsumer, list[dict[TP, int]]]:
    """Return a consumer with some partitions, and the list of commits that reach its broker."""
    made, commits = ChunkConsumer.__new__(ChunkConsumer), list[dict[TP, int]]()

    async def commit(offsets: dict[TP, int]) -> bool:
        commits.append(dict(offsets))
        return True

    monitor = SimpleNamespace(on_tp_commit=lambda offsets: None)
    parts: dict[str, Any] = {
        "app": SimpleNamespace(producer=producer, monitor=monitor, tables={}),
        "assignment": lambda: set(mine),
        "_commit": commit,
        "_committable": {},
        "_acked": defaultdict(list),
        "_acked_index": defaultdict(set),
        "_committed_offset": {},
        "_generation": 1,
        "_thread": SimpleNamespace(),
    }
    for part, value in parts.items():
        setattr(made, part, value)
    return made, commits


def test_nothing_is_committed_before_all_enqueued_records_are_safe() -> None:
    """The flush before a commit is a barrier, however long it takes."""

    async def scenario() -> None:
        barrier = Barrier()
        chunks, commits = consumer(barrier, EVENTS)
        committing = asyncio.ensure_future(chunks._commit_offsets({EVENTS: 5}))
        for _ in range(10):
            await asyncio.sleep(0)
        assert commits == []
        barrier.flushed.set()
        assert await committing
        assert commits == [{EVENTS: 5}]

    asyncio.run(scenario())


def test_nothing_is_committed_after_a_failure() -> None:
    """A rejected record is not in the state: the log record behind it has to be read again."""

    async def scenario() -> None:
        barrier = Barrier()
        barrier.failure = ConnectionError("rejected")
        barrier.flushed.set()
        chunks, commits = consumer(barrier, EVENTS)
        with pytest.raises(ConnectionError):
            await chunks._commit_offsets({EVENTS: 5})
        assert commits == []

    asyncio.run(scenario())


def test_only_assigned_partitions_are_committed() -> None:
    """A revoked partition is committed by its next owner."""

    async def scenario() -> None:
        barrier = Barrier()
        barrier.flushed.set()
        chunks, commits = consumer(barrier, EVENTS)
        await chunks._commit_offsets({EVENTS: 5, TP(topics.EVENTS, 1): 7})
        await chunks._commit_offsets({TP(topics.EVENTS, 1): 7})
        assert commits == [{EVENTS: 5}]

    asyncio.run(scenario())


def test_a_commit_is_written_ahead_only_while_partitions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are written bit by bit before the commit writes the rest at once. A revocation leaves no time for that."""
    done: list[str] = []

    async def ahead() -> None:
        done.append("ahead")

    async def commit(*_: Any) -> bool:
        done.append("commit")
        return True

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "commit", commit)
    chunks, _ = consumer(Barrier(), EVENTS)
    table = WriteBehindTable.__new__(WriteBehindTable)
    table.listener = SimpleNamespace(write_ahead=ahead)  # type: ignore[assignment]
    chunks.app.tables = {"people": table}
    for chunks._delivering in (True, False):
        asyncio.run(chunks.commit())
    assert done == ["ahead", "commit", "commit"]


def test_a_failed_commit_is_tried_again() -> None:
    """A safe offset stays recorded until the broker has it, even if no newer chunk comes."""
    chunks, _ = consumer(None, EVENTS)
    chunks._acked[EVENTS] += [4, 9]
    assert [chunks._new_offset(EVENTS), chunks._new_offset(EVENTS)] == [10, 10]


def test_an_assignment_voids_earlier_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state behind a chunk acknowledged after the commit at revocation may be gone, so its offset is void."""

    async def assigned(*_: Any) -> None:
        """Stands for Faust's own method."""

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "on_partitions_assigned", assigned)
    chunks, _ = consumer(Barrier(), EVENTS)
    chunks._acked[EVENTS].append(4)
    assert chunks._new_offset(EVENTS) == 5
    chunks._acked[EVENTS].append(9)
    asyncio.run(chunks.on_partitions_assigned({EVENTS}, 2))
    assert chunks._new_offset(EVENTS) is None


@pytest.mark.parametrize("voided", [True, False])
def test_voided_records_make_the_state_void_even_without_a_reported_loss(
    voided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka may expel a worker and take it back within one rebalance: then the stores start over."""
    lost: list[str] = []

    async def assigned(*_: Any) -> None:
        """Stands for Faust's own method."""

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "on_partitions_assigned", assigned)
    chunks, _ = consumer(Barrier(voided), EVENTS)
    table = WriteBehindTable.__new__(WriteBehindTable)
    table.listener = SimpleNamespace(on_partitions_lost=lambda: lost.append("people"))  # type: ignore[assignment]
    chunks.app.tables = {"people": table}
    asyncio.run(chunks.on_partitions_assigned({EVENTS}, 2))
    assert lost == ["people"] * voided
    assert chunks._generation == 2


def test_nothing_but_changelogs_is_fetched_while_partitions_change_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust clears its queues when streams resume: log records fetched before that would be lost."""
    fetched: list[set[TP]] = []

    async def fetch(self: Any, wanted: set[TP], timeout: float) -> dict[TP, list[Any]]:
        fetched.append(wanted)
        return {}

    async def pause(seconds: float) -> None:
        """No time passes."""

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "_getmany", fetch)
    chunks, _ = consumer(None, EVENTS)
    chunks.__dict__ |= {"_is_changelog_tp": lambda tp: tp == CHANGELOG, "sleep": pause}
    for chunks._delivering in (False, True):
        asyncio.run(chunks._getmany({EVENTS, CHANGELOG}, 1.0))
        asyncio.run(chunks._getmany({EVENTS}, 1.0))
    assert fetched == [{CHANGELOG}, {EVENTS, CHANGELOG}, {EVENTS}]


def test_a_partition_without_a_commit_is_read_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its position is: an owner that died before its first commit leaves all records to its successor."""
    sought: list[TP] = []
    other = TP(topics.EVENTS, 1)

    async def committed(self: Any) -> dict[TP, int | None]:
        return {EVENTS: None, other: 7, CHANGELOG: None}

    async def seek(*tps: TP) -> None:
        sought.extend(tps)

    monkeypatch.setattr(ConsumerThread.__mro__[1], "seek_to_committed", committed)
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.__dict__ |= {
        "consumer": SimpleNamespace(_is_changelog_tp=lambda tp: tp == CHANGELOG),
        "seek_to_beginning": seek,
    }
    asyncio.run(thread.seek_to_committed())
    assert sought == [EVENTS]


def test_the_watchdog_of_faust_does_not_end_a_worker() -> None:
    """It looks at every partition from time to time, also at one that has no position yet."""

    async def act() -> None:
        partition, subscriptions = TopicPartition(EVENTS.topic, EVENTS.partition), SubscriptionState()
        subscriptions.subscribe({EVENTS.topic})
        subscriptions.assign_from_subscribed([partition])
        state = subscriptions.subscription.assignment.state_value(partition)
        with pytest.raises(AssertionError):
            _ = state.position
        state.timestamp = 1e15
        chunks, _ = consumer(Barrier(), EVENTS)
        chunks.app.monitor = SimpleNamespace(stream_inbound_time={})
        chunks.app.topics = SimpleNamespace(acks_enabled_for=lambda topic: True)
        chunks._thread = ConsumerThread.__new__(ConsumerThread)
        chunks._thread._consumer = SimpleNamespace(_fetcher=SimpleNamespace(_subscriptions=subscriptions))
        chunks._thread.consumer, chunks._thread.time_started = chunks, 0.0
        chunks._thread.tp_fetch_request_timeout_secs = 1e18

        chunks.verify_event_path(1e12, EVENTS)

    asyncio.run(act())
