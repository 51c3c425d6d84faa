"""The guards of delivery one by one, without a broker, where a run with one would seldom show that a guard is gone.

The keeper of the partitions is driven as Faust drives it, the consumer's commits as its loop does.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from models import events as ev
from streams import envelope as env
from streams import topics
from streams.engine.app import App
from streams.engine.consumer import ChunkConsumer, ConsumerThread
from streams.engine.table import WriteBehindTable
from streams.fold import Fold
from streams.metrics import Metrics
from streams.settings import Settings
from streams.users import Users
from tests.delivery.harness import START
from tests.models.people import world
from tests.streams.doubles import Outlet, Put, Record, Times, turn

EVENTS, CHANGELOG = TP(topics.EVENTS, 0), TP(topics.PEOPLE, 0)
SETTINGS = Settings(clock="source")


class Office:
    """A worker's keeper over an outlet that a test acknowledges, at the offsets that the changelog gives."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.outlet, self.metrics = Outlet(), Metrics()
        app = SimpleNamespace(producer=SimpleNamespace(sender=self.outlet), rebalancing=False)
        state = world(rules=settings.rules())
        self.users = Users(cast(App, app), settings, self.metrics, lambda: state, 1)

    def begin(self) -> Office:
        """Be given the partition with an empty changelog; the fence is acknowledged at offset 0."""
        self.users.recovered({0})
        self.acknowledge(0)
        return self

    @property
    def fold(self) -> Fold:
        return self.users.folds[0]

    def apply(self, *offsets: int, user: str = "Ada", apart: float = 1.0) -> None:
        """Apply a chunk of a person's logins, so many seconds apart, that no ingest wrote."""
        self.fold.apply([login(offset, user, apart) for offset in offsets])

    def waiting(self) -> list[Put]:
        return self.outlet.open(topics.PEOPLE)

    def acknowledge(self, first: int) -> None:
        """Acknowledge what waits for the changelog, from this offset on."""
        for offset, put in enumerate(self.waiting(), first):
            put.done.set_result(SimpleNamespace(offset=offset))
        turn()

    def settle(self, first: int) -> int:
        """Write everybody, and acknowledge all there is until nobody has anything to say; return the next offset."""
        while self.fold.people.dirty or self.outlet.open():
            self.fold.flush()
            count = len(self.waiting())
            self.acknowledge(first)
            first += count
            self.outlet.acknowledge()
        return first


def login(offset: int, user: str, apart: float) -> Record:
    event = ev.Login(id=f"{user} {offset}", user_id=user, time=START + offset * apart)
    return Record(topics.EVENTS, 0, offset, int(event.time * 1_000), user.encode(), ev.encode(event))


def changelog(office: Office) -> list[tuple[bytes, bytes | None]]:
    return [(put.key or b"", put.value) for put in office.outlet.on(topics.PEOPLE)]


def test_recovery_reads_on_behind_what_was_written_here() -> None:
    """With an empty changelog, too: what stands here is not read back over what has changed since."""
    office = Office()
    assert office.users.persisted(0) is None
    office.begin()
    assert office.users.persisted(0) == 0
    office.apply(0)
    office.settle(1)
    assert office.users.persisted(0) == len(office.outlet.on(topics.PEOPLE)) - 1


def test_faust_is_told_how_far_that_is() -> None:
    """It is what Faust asks the table before it reads a changelog."""
    office, table = Office(), WriteBehindTable.__new__(WriteBehindTable)
    table.keeper = office.users
    assert table.persisted_offset(CHANGELOG) is None
    office.begin()
    assert table.persisted_offset(CHANGELOG) == 0


def test_a_foreign_record_in_the_changelog_is_read_before_ours_behind_it() -> None:
    """A gap in our own acknowledgements is what another owner wrote: recovery must not begin behind it."""
    office = Office().begin()
    office.apply(0)
    office.fold.flush()
    office.acknowledge(40)
    assert office.users.persisted(0) == 0


def test_a_partition_that_another_owner_had_meanwhile_begins_anew() -> None:
    """Faust says it stayed; but people came whom nobody here has in the queue, and their outputs may not have left."""
    frozen, successor = Office().begin(), Office()
    frozen.apply(0, user="Ada")
    successor.users.restore(0, *changelog(frozen)[0], 0)
    successor.users.recovered({0})
    successor.apply(0, user="Ada")
    successor.apply(1, user="Eve")
    successor.fold.flush()
    for offset, (key, value) in enumerate(changelog(successor), 1):
        frozen.users.restore(0, key, value, offset)
    frozen.users.recovered({0})
    assert frozen.fold.people.fence == successor.fold.people.fence + 1
    assert [frozen.fold.people.get(key).offset for key in (b"Ada", b"Eve")] == [0, 1]
    assert len(frozen.fold.due) == 2
    assert {put.key for put in frozen.outlet.on(topics.PROFILES)} == {b"Ada", b"Eve"}


def test_a_partition_that_stays_goes_on() -> None:
    """Whose changelog nobody else wrote to: what was applied and not yet written stays as it is."""
    office = Office().begin()
    office.apply(0)
    fold = office.fold
    office.users.recovered({0})
    assert office.fold is fold
    assert fold.people.dirty == {b"Ada"}


def test_a_partition_that_goes_is_forgotten_and_says_nothing_more() -> None:
    """The next owner delivers what was not acknowledged; what Kafka says of our records changes nothing any more."""
    office = Office().begin()
    office.apply(0)
    office.fold.flush()
    gone = office.fold
    office.users.drop({0})
    office.acknowledge(1)
    assert not [put for put in office.outlet.all if put.topic != topics.PEOPLE]
    assert (office.users.folds, office.users.persisted(0), len(gone.outbox)) == ({}, None, 0)
    office.users.recovered({0})
    assert office.fold.people.get(b"Ada").person.activity.events == 0


def test_a_partition_comes_back_with_what_the_changelog_has() -> None:
    """State, fence, and the outputs of which nobody knows whether they arrived, before any new event."""
    first, second = Office().begin(), Office()
    first.apply(0)
    first.fold.flush()
    for offset, (key, value) in enumerate(changelog(first)):
        second.users.restore(0, key, value, offset)
    assert second.users.persisted(0) == 1
    second.users.recovered({0})
    fences = [env.fence_of(value or b"") for _, value in changelog(second)]
    assert fences == [first.fold.people.fence + 1]
    assert [put.topic for put in second.outlet.all if put.topic != topics.PEOPLE] == [topics.PROFILES]
    assert second.fold.people.get(b"Ada").offset == 0
    second.fold.drain(Times(1))


def test_a_log_read_again_from_its_beginning_changes_nobody() -> None:
    """Though no ingest stamped its records, and far more went by than the ids that a person remembers."""
    first, second = Office().begin(), Office()
    first.apply(*range(60), apart=3_600.0)
    first.settle(1)
    for offset, (key, value) in enumerate(changelog(first)):
        second.users.restore(0, key, value, offset)
    second.users.recovered({0})
    second.apply(*range(60), apart=3_600.0)
    assert second.fold.people.get(b"Ada") == first.fold.people.get(b"Ada")
    assert second.fold.people.dirty == {b"Ada"}


def test_what_recovery_reads_back_is_not_written_again() -> None:
    """A commit may come while recovery has read only the older of a person's values: that must not become the last."""
    office = Office().begin()
    office.apply(0)
    end = office.settle(1)
    old = changelog(office)[-1]
    office.apply(1)
    office.settle(end)
    office.fold.people.touch(b"Ada")  # as an output does that was acknowledged
    office.users.restore(0, *old, end - 1)
    office.fold.flush()
    assert office.waiting() == []


def test_a_long_history_in_one_chunk_loses_nothing() -> None:
    """However many outputs of a person come before Kafka acknowledges the first: a backlog is read that fast."""
    settings = Settings(clock="source", horizon=86_400.0, lookback=2 * 86_400.0, wake_every=6 * 3_600.0)
    office = Office(settings).begin()
    office.apply(*range(200), apart=12 * 3_600.0)
    office.settle(1)
    assert office.outlet.on(topics.DEAD_LETTERS) == []
    assert office.fold.people.get(b"Ada").person.activity.events == 200
    assert len({put.value for put in office.outlet.on(topics.EXAMPLES)}) > 300


# -- the consumer -----------------------------------------------------------------------------------------------------


class Barrier:
    """A producer whose flush a test lets through."""

    def __init__(self) -> None:
        self.flushed = asyncio.Event()
        self.failure: Exception | None = None

    async def flush(self) -> None:
        await self.flushed.wait()
        if self.failure:
            raise self.failure


def consumer(producer: Any, *mine: TP) -> tuple[ChunkConsumer, list[dict[TP, int]]]:
    """Return a consumer that holds some partitions, and the commits that reach its broker."""
    made, commits = ChunkConsumer.__new__(ChunkConsumer), list[dict[TP, int]]()

    async def commit(offsets: dict[TP, int]) -> bool:
        commits.append(dict(offsets))
        return True

    monitor = SimpleNamespace(on_tp_commit=lambda offsets: None)
    parts: dict[str, Any] = {
        "app": SimpleNamespace(producer=producer, monitor=monitor),
        "assignment": lambda: set(mine),
        "_commit": commit,
        "_safe": {},
        "_acked": defaultdict(list),
        "_acked_index": defaultdict(set),
        "_committed_offset": {},
    }
    for part, value in parts.items():
        setattr(made, part, value)
    return made, commits


def test_nothing_is_committed_before_all_that_was_put_is_safe() -> None:
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
    """What the broker rejected is not in the state: its record has to come again."""

    async def scenario() -> None:
        barrier = Barrier()
        barrier.failure = ConnectionError("rejected")
        barrier.flushed.set()
        chunks, commits = consumer(barrier, EVENTS)
        with pytest.raises(ConnectionError):
            await chunks._commit_offsets({EVENTS: 5})
        assert commits == []

    asyncio.run(scenario())


def test_only_what_is_ours_is_committed() -> None:
    """A partition that went is its next owner's to commit."""

    async def scenario() -> None:
        barrier = Barrier()
        barrier.flushed.set()
        chunks, commits = consumer(barrier, EVENTS)
        await chunks._commit_offsets({EVENTS: 5, TP(topics.EVENTS, 1): 7})
        await chunks._commit_offsets({TP(topics.EVENTS, 1): 7})
        assert commits == [{EVENTS: 5}]

    asyncio.run(scenario())


def test_a_commit_that_failed_is_tried_again() -> None:
    """What is safe stays noted until the broker has it, though no newer chunk comes."""
    chunks, _ = consumer(None, EVENTS)
    chunks._acked[EVENTS] += [4, 9]
    assert [chunks._new_offset(EVENTS), chunks._new_offset(EVENTS)] == [10, 10]


def test_what_was_acknowledged_before_an_assignment_is_void_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk acknowledged after the commit at revocation: its state may be gone, so its offset is void."""

    async def given(*_: Any) -> None:
        """Faust's part."""

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "on_partitions_assigned", given)
    chunks, _ = consumer(None, EVENTS)
    chunks._acked[EVENTS].append(4)
    assert chunks._new_offset(EVENTS) == 5
    chunks._acked[EVENTS].append(9)
    asyncio.run(chunks.on_partitions_assigned({EVENTS}, 2))
    assert chunks._new_offset(EVENTS) is None


def test_nothing_but_changelogs_is_fetched_while_partitions_change_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust clears its queues when streams resume: what of the log were fetched before would be read and never seen."""
    fetched: list[set[TP]] = []

    async def fetch(self: Any, wanted: set[TP], timeout: float) -> dict[TP, list[Any]]:
        fetched.append(wanted)
        return {}

    async def pause(seconds: float) -> None:
        """No time passes."""

    monkeypatch.setattr(ChunkConsumer.__mro__[1], "_getmany", fetch)
    chunks, _ = consumer(None, EVENTS)
    chunks.__dict__ |= {"_is_changelog_tp": lambda tp: tp == CHANGELOG, "sleep": pause}
    for chunks._open in (False, True):
        asyncio.run(chunks._getmany({EVENTS, CHANGELOG}, 1.0))
        asyncio.run(chunks._getmany({EVENTS}, 1.0))
    assert fetched == [{CHANGELOG}, {EVENTS, CHANGELOG}, {EVENTS}]


def test_where_nothing_was_committed_reading_begins_at_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the position has come to: an owner that died before its first commit left all to its successor."""
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
