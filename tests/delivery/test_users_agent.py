"""The guards of the listener one by one, without a broker: a run with one would seldom show that a guard is gone."""

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
from tests.streams.doubles import LOOP, Times

CHANGELOG = TP(topics.PEOPLE, 0)


def test_recovery_reads_on_behind_what_was_written_here() -> None:
    """With an empty changelog, too: what stands here is not read back over what has changed since."""
    office = AgentDriver()
    assert office.users.persisted_offset(0) is None
    office.begin()
    assert office.users.persisted_offset(0) == 0
    office.apply(0)
    office.settle(1)
    assert office.users.persisted_offset(0) == len(office.sink.on(topics.PEOPLE)) - 1


def test_faust_is_told_how_far_that_is() -> None:
    """It is what Faust asks the table before it reads a changelog."""
    office, table = AgentDriver(), WriteBehindTable.__new__(WriteBehindTable)
    table.listener = office.users
    assert table.persisted_offset(CHANGELOG) is None
    office.begin()
    assert table.persisted_offset(CHANGELOG) == 0


def test_a_foreign_record_in_the_changelog_is_read_before_ours_behind_it() -> None:
    """A gap in our own acknowledgements is what another owner wrote: recovery must not begin behind it."""
    office = AgentDriver().begin()
    office.apply(0)
    office.fold.flush()
    office.acknowledge(40)
    assert office.users.persisted_offset(0) == 0


def test_a_partition_that_another_owner_had_meanwhile_begins_anew() -> None:
    """Faust says it stayed; but people came whom nobody here has in the queue, and their outputs may not have left."""
    frozen, successor = AgentDriver().begin(), AgentDriver()
    frozen.apply(0, user="Ada")
    successor.read(changelog(frozen)[:1])
    successor.users.recovered({0})
    successor.apply(0, user="Ada")
    successor.apply(1, user="Eve")
    successor.fold.flush()
    frozen.read(changelog(successor), 1)
    frozen.users.recovered({0})
    assert frozen.fold.people.fence == successor.fold.people.fence + 1
    assert [frozen.fold.people.get(key).offset for key in (b"Ada", b"Eve")] == [0, 1]
    assert len(frozen.fold.due) == 2
    assert {put.key for put in frozen.sink.on(topics.PROFILES)} == {b"Ada", b"Eve"}


def test_a_partition_that_stays_goes_on() -> None:
    """Whose changelog nobody else wrote to: what was applied and not yet written stays as it is."""
    office = AgentDriver().begin()
    office.apply(0)
    fold = office.fold
    office.users.recovered({0})
    assert office.fold is fold
    assert fold.people.dirty == {b"Ada"}


def test_a_partition_that_goes_is_forgotten_and_says_nothing_more() -> None:
    """The next owner delivers what was not acknowledged; what Kafka says of our records changes nothing any more."""
    office = AgentDriver().begin()
    office.apply(0)
    office.fold.flush()
    gone = office.fold
    office.users.drop({0})
    office.acknowledge(1)
    assert not [put for put in office.sink.all if put.topic != topics.PEOPLE]
    assert (office.users.folds, office.users.persisted_offset(0), len(gone.outbox)) == ({}, None, 0)
    office.users.recovered({0})
    assert office.fold.people.get(b"Ada").person.activity.events == 0


def test_a_partition_comes_back_with_what_the_changelog_has() -> None:
    """State, fence, and the outputs of which nobody knows whether they arrived, before any new event."""
    first, second = AgentDriver().begin(), AgentDriver()
    first.apply(0)
    first.fold.flush()
    second.read(changelog(first))
    assert second.users.persisted_offset(0) == 1
    second.users.recovered({0})
    fences = [header.fence_of(value or b"") for _, value in changelog(second)]
    assert fences == [first.fold.people.fence + 1]
    assert [put.topic for put in second.sink.all if put.topic != topics.PEOPLE] == [topics.PROFILES]
    assert second.fold.people.get(b"Ada").offset == 0
    second.fold.drain(Times(1))


def test_a_log_read_again_from_its_beginning_changes_nobody() -> None:
    """Though no ingest stamped its records, and far more went by than the ids that a person remembers."""
    first, second = AgentDriver().begin(), AgentDriver()
    first.apply(*range(60), apart=3_600.0)
    first.settle(1)
    second.read(changelog(first))
    second.users.recovered({0})
    second.apply(*range(60), apart=3_600.0)
    assert second.fold.people.get(b"Ada") == first.fold.people.get(b"Ada")
    assert second.fold.people.dirty == {b"Ada"}


def test_what_recovery_reads_back_is_not_written_again() -> None:
    """A commit may come while recovery has read only the older of a person's values: that must not become the last."""
    office = AgentDriver().begin()
    office.apply(0)
    end = office.settle(1)
    old = changelog(office)[-1]
    office.apply(1)
    office.settle(end)
    office.fold.people.touch(b"Ada")  # as an output does that was acknowledged
    office.read([old], end - 1)
    office.fold.flush()
    assert office.waiting() == []


def test_a_long_history_in_one_chunk_loses_nothing() -> None:
    """However many outputs of a person come before Kafka acknowledges the first: a backlog is read that fast."""
    settings = Settings(clock="source", horizon=86_400.0, lookback=2 * 86_400.0, wake_every=6 * 3_600.0)
    office = AgentDriver(settings).begin()
    office.apply(*range(200), apart=12 * 3_600.0)
    office.settle(1)
    assert office.sink.on(topics.DEAD_LETTERS) == []
    assert office.fold.people.get(b"Ada").person.activity.events == 200
    assert len({put.value for put in office.sink.on(topics.EXAMPLES)}) > 300


def test_writing_ahead_leaves_turns_to_others_and_nothing_to_the_commit() -> None:
    """Thousands of people are more than a turn's work; what others change in between is theirs to write."""
    office, turns = AgentDriver().begin(), [0]
    office.fold.apply([login(number, f"user {number}", 1.0) for number in range(4_000)])

    async def scenario() -> None:
        async def others() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        other = asyncio.ensure_future(others())
        await office.users.write_ahead()
        other.cancel()

    LOOP.run_until_complete(scenario())
    assert not office.fold.people.dirty
    assert turns[0] > 1
    before = len(office.waiting())
    office.users.flush()
    assert len(office.waiting()) == before


def test_between_commits_everybody_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a commit has few to write, and decisions do not wait behind a crowd.

    While chunks are full nobody is: then people change again before the next commit. Nor while partitions change hands.
    """
    office = AgentDriver().begin()
    monkeypatch.setattr(agent, "CALM", 1e9)
    full = [login(number, f"user {number}", 1.0) for number in range(agent.FULL)]
    assert LOOP.run_until_complete(office.users.process_chunk(0, full))
    _idle(office, lambda: False, 0.5)
    assert len(office.fold.people.dirty) == len(full)
    monkeypatch.setattr(agent, "CALM", 0.0)
    office.app.rebalancing = True
    _idle(office, lambda: False, 0.5)
    assert len(office.fold.people.dirty) == len(full)
    office.app.rebalancing = False
    _idle(office, lambda: not office.fold.people.dirty, 30.0)
    assert {put.key for put in office.waiting()} == {record.key for record in full}


def _idle(office: AgentDriver, over: Callable[[], bool], most: float) -> None:
    """Let a worker have nothing to apply until something is over, for some seconds at most."""

    async def scenario() -> None:
        idle = asyncio.ensure_future(office.users.idle())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most):
                while not over():
                    await asyncio.sleep(0.01)
        idle.cancel()

    LOOP.run_until_complete(scenario())
