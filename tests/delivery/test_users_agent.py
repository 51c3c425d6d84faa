"""Each guard of the users agent alone, without a broker: a run with a broker would rarely show a missing guard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from faust.types import TP

from streams.agents.users import agent
from streams.engine.table import WriteBehindTable
from streams.kafka import topics
from streams.settings import Settings
from streams.state import header
from tests.delivery.agent import AgentDriver, changelog, login
from tests.streams.doubles import LOOP, CountedBudget

CHANGELOG = TP(topics.PEOPLE, 0)


def test_recovery_continues_behind_own_writes() -> None:
    """With an empty changelog, too: recovery must not put older values over newer ones."""
    driver = AgentDriver()
    assert driver.users.persisted_offset(0) is None
    driver.assign()
    assert driver.users.persisted_offset(0) == 0
    driver.apply(0)
    driver.settle(1)
    assert driver.users.persisted_offset(0) == len(driver.sink.on(topics.PEOPLE)) - 1


def test_the_table_tells_faust_where_recovery_continues() -> None:
    """Faust asks the table for this offset before it reads a changelog."""
    driver, table = AgentDriver(), WriteBehindTable.__new__(WriteBehindTable)
    table.listener = driver.users
    assert table.persisted_offset(CHANGELOG) is None
    driver.assign()
    assert table.persisted_offset(CHANGELOG) == 0


def test_recovery_continues_before_a_record_of_another_owner() -> None:
    """A gap between the acknowledged offsets was written by another owner: recovery must read it."""
    driver = AgentDriver().assign()
    driver.apply(0)
    driver.processor.flush()
    driver.acknowledge(40)
    assert driver.users.persisted_offset(0) == 0


def test_a_partition_that_had_another_owner_starts_over() -> None:
    """To Faust the partition stayed. But the other owner added users whose timers and outputs are unknown here."""
    frozen, successor = AgentDriver().assign(), AgentDriver()
    frozen.apply(0, user="Ada")
    successor.read(changelog(frozen)[:1])
    successor.users.recovered({0})
    successor.apply(0, user="Ada")
    successor.apply(1, user="Eve")
    successor.processor.flush()
    frozen.read(changelog(successor), 1)
    frozen.users.recovered({0})
    assert frozen.processor.users.fence == successor.processor.users.fence + 1
    assert [frozen.processor.users.get(key).offset for key in (b"Ada", b"Eve")] == [0, 1]
    assert len(frozen.processor.timers) == 2
    assert {put.key for put in frozen.sink.on(topics.PROFILES)} == {b"Ada", b"Eve"}


def test_a_partition_that_stays_keeps_its_state() -> None:
    """No other owner wrote to its changelog: changes that are not written yet stay as they are."""
    driver = AgentDriver().assign()
    driver.apply(0)
    fold = driver.processor
    driver.users.recovered({0})
    assert driver.processor is fold
    assert fold.users.dirty == {b"Ada"}


def test_a_revoked_partition_is_dropped_and_publishes_no_more() -> None:
    """The next owner delivers unacknowledged outputs. Late acknowledgements change nothing here."""
    driver = AgentDriver().assign()
    driver.apply(0)
    driver.processor.flush()
    gone = driver.processor
    driver.users.drop({0})
    driver.acknowledge(1)
    assert not [put for put in driver.sink.all if put.topic != topics.PEOPLE]
    assert (driver.users.processors, driver.users.persisted_offset(0), len(gone.outbox)) == ({}, None, 0)
    driver.users.recovered({0})
    assert driver.processor.users.get(b"Ada").person.activity.events == 0


def test_a_partition_is_restored_from_the_changelog() -> None:
    """State, fence, and the outputs whose arrival is unknown: all of it before any new event."""
    first, second = AgentDriver().assign(), AgentDriver()
    first.apply(0)
    first.processor.flush()
    second.read(changelog(first))
    assert second.users.persisted_offset(0) == 1
    second.users.recovered({0})
    fences = [header.fence_of(value or b"") for _, value in changelog(second)]
    assert fences == [first.processor.users.fence + 1]
    assert [put.topic for put in second.sink.all if put.topic != topics.PEOPLE] == [topics.PROFILES]
    assert second.processor.users.get(b"Ada").offset == 0
    second.processor.run_timers(CountedBudget(1))


def test_a_log_read_again_from_its_beginning_changes_no_user() -> None:
    """Even if its records have no origin, and there are far more of them than a user remembers ids."""
    first, second = AgentDriver().assign(), AgentDriver()
    first.apply(*range(60), apart=3_600.0)
    first.settle(1)
    second.read(changelog(first))
    second.users.recovered({0})
    second.apply(*range(60), apart=3_600.0)
    assert second.processor.users.get(b"Ada") == first.processor.users.get(b"Ada")
    assert second.processor.users.dirty == {b"Ada"}


def test_recovered_values_are_not_written_again() -> None:
    """A commit may come when recovery has read only an older value of a user: it must not become the newest."""
    driver = AgentDriver().assign()
    driver.apply(0)
    end = driver.settle(1)
    old = changelog(driver)[-1]
    driver.apply(1)
    driver.settle(end)
    driver.processor.users.touch(b"Ada")  # as the acknowledgement of an output does
    driver.read([old], end - 1)
    driver.processor.flush()
    assert driver.unacknowledged_changelog() == []


def test_a_long_history_in_one_chunk_loses_nothing() -> None:
    """Even if a user has many outputs before Kafka acknowledges the first: a backlog is read that fast."""
    settings = Settings(clock="source", horizon=86_400.0, lookback=2 * 86_400.0, wake_every=6 * 3_600.0)
    driver = AgentDriver(settings).assign()
    driver.apply(*range(200), apart=12 * 3_600.0)
    driver.settle(1)
    assert driver.sink.on(topics.DEAD_LETTERS) == []
    assert driver.processor.users.get(b"Ada").person.activity.events == 200
    assert len({put.value for put in driver.sink.on(topics.EXAMPLES)}) > 300


def test_writing_ahead_yields_to_other_tasks_and_leaves_nothing_for_the_commit() -> None:
    """Thousands of users are written in several turns of the event loop; other tasks run in between."""
    driver, turns = AgentDriver().assign(), [0]
    driver.processor.process([login(number, f"user {number}", 1.0) for number in range(4_000)])

    async def scenario() -> None:
        async def others() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        other = asyncio.ensure_future(others())
        await driver.users.write_ahead()
        other.cancel()

    LOOP.run_until_complete(scenario())
    assert not driver.processor.users.dirty
    assert turns[0] > 1
    before = len(driver.unacknowledged_changelog())
    driver.users.flush()
    assert len(driver.unacknowledged_changelog()) == before


def test_all_users_are_written_between_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a commit has few users to write, and decisions do not wait for it.

    No user is written while chunks are full, because users then change again before the next commit. Nor is any
    written while partitions change hands.
    """
    driver = AgentDriver().assign()
    monkeypatch.setattr(agent, "BACKLOG_SECONDS", 1e9)
    full = [login(number, f"user {number}", 1.0) for number in range(agent.BACKLOG_CHUNK)]
    assert LOOP.run_until_complete(driver.users.process_chunk(0, full))
    _idle(driver, lambda: False, 0.5)
    assert len(driver.processor.users.dirty) == len(full)
    monkeypatch.setattr(agent, "BACKLOG_SECONDS", 0.0)
    driver.app.rebalancing = True
    _idle(driver, lambda: False, 0.5)
    assert len(driver.processor.users.dirty) == len(full)
    driver.app.rebalancing = False
    _idle(driver, lambda: not driver.processor.users.dirty, 30.0)
    assert {put.key for put in driver.unacknowledged_changelog()} == {record.key for record in full}


def _idle(driver: AgentDriver, over: Callable[[], bool], max_seconds: float) -> None:
    """Run the idle task of the agent until a condition holds, for so many seconds at most."""

    async def scenario() -> None:
        idle = asyncio.ensure_future(driver.users.run_background())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max_seconds):
                while not over():
                    await asyncio.sleep(0.01)
        idle.cancel()

    LOOP.run_until_complete(scenario())
