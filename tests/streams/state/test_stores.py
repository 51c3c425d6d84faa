"""Stores in memory and on disk behave alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.state import rocksdb
from streams.state.rocksdb import RocksDBStore, StoreError
from streams.state.stores import MemoryStore, Store

Make = Callable[[], Store]


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Create stores of one kind; close them after the test."""
    stores: list[Store] = []

    def create() -> Store:
        stores.append(MemoryStore() if request.param == "memory" else RocksDBStore(tmp_path / str(len(stores))))
        return stores[-1]

    yield create
    for store in stores:
        store.close()


def contents(store: Store) -> dict[bytes, bytes]:
    """Return all values. `items` and `get` must agree."""
    items = dict(store.items())
    assert {key: store.get(key) for key in items} == items
    return items


def test_unacknowledged_values_are_visible_until_a_rollback(make: Make) -> None:
    """The rollback restores what the changelog has."""
    store = make()
    store.restore(b"a", b"1")
    store.put(b"a", b"2")
    store.put(b"b", b"1")
    assert contents(store) == {b"a": b"2", b"b": b"1"}
    store.put(b"a", None)
    assert contents(store) == {b"b": b"1"}
    store.rollback()
    assert contents(store) == {b"a": b"1"}


def test_a_rollback_keeps_acknowledged_values(make: Make) -> None:
    """The acknowledgement of an older value does not hide a newer, unacknowledged one."""
    store = make()
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.acknowledge(b"a", b"1")
    assert contents(store) == {b"a": b"2"}
    store.rollback()
    assert contents(store) == {b"a": b"1"}
    store.put(b"a", None)
    store.acknowledge(b"a", None)
    store.rollback()
    assert contents(store) == {}


def test_a_recovered_value_replaces_an_unacknowledged_one(make: Make) -> None:
    """Recovery may have read that write back. A later acknowledgement still sets the value."""
    store = make()
    store.put(b"a", b"2")
    store.restore(b"a", b"1")
    assert contents(store) == {b"a": b"1"}
    store.acknowledge(b"a", b"2")
    assert contents(store) == {b"a": b"2"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "acknowledge", "restore", "rollback", "reopen"]),
        st.sampled_from([b"a", b"b", b"\0c"]),
        st.none() | st.sampled_from([b"1", b"2", b"3"]),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_both_hold_the_changelog_and_the_unacknowledged_writes(steps: list[tuple[str, bytes, bytes | None]]) -> None:
    """This holds for any order of steps. A reopened disk store has the changelog's values and its position."""
    with TemporaryDirectory() as folder:
        memory, disk = MemoryStore(), RocksDBStore(Path(folder))
        logged: dict[bytes, bytes] = {}
        unacknowledged: list[tuple[bytes, bytes | None]] = []
        offset = -1
        for step, key, value in steps:
            if step == "put":
                unacknowledged.append((key, value))
                memory.put(key, value)
                disk.put(key, value)
            elif step == "restore" or (step == "acknowledge" and unacknowledged):
                if step == "acknowledge":
                    key, value = unacknowledged.pop(0)
                offset += 1
                logged = {**logged, key: value} if value is not None else {k: v for k, v in logged.items() if k != key}
                for store in (memory, disk):
                    (store.acknowledge if step == "acknowledge" else store.restore)(key, value)
                    store.advance(offset)
                unacknowledged = [write for write in unacknowledged if step == "acknowledge" or write[0] != key]
            elif step in ("rollback", "reopen"):
                unacknowledged.clear()
                memory.rollback()
                disk.rollback()
                if step == "reopen":
                    disk.close()
                    disk = RocksDBStore(Path(folder))
                assert contents(memory) == contents(disk) == logged
                assert memory.position == disk.position == offset
            newest = {**logged, **dict(unacknowledged)}
            if step in ("put", "acknowledge"):
                visible = {key: value for key, value in newest.items() if value is not None}
                assert contents(memory) == contents(disk) == visible
        disk.close()


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    """A second worker gets an error that says why."""
    disk = RocksDBStore(tmp_path)
    with pytest.raises(StoreError, match="in use"):
        RocksDBStore(tmp_path)
    disk.close()
    RocksDBStore(tmp_path).close()


def test_an_acknowledgement_after_close_is_ignored(tmp_path: Path) -> None:
    """It may come after the partition was dropped. The next user of the folder reads the value from Kafka."""
    disk = RocksDBStore(tmp_path)
    disk.close()
    for offset in range(2_000):
        disk.acknowledge(b"%d" % offset, b"1")
        disk.advance(offset)
    again = RocksDBStore(tmp_path)
    assert (contents(again), again.position) == ({}, -1)
    again.close()


def test_a_disk_keeps_its_fence(tmp_path: Path) -> None:
    """Without it, recovery from the position would accept later records of a former owner."""
    disk = RocksDBStore(tmp_path)
    disk.fence = 7
    disk.advance(3)
    disk.close()
    again = RocksDBStore(tmp_path)
    assert (again.fence, again.position) == (7, 3)
    again.close()


def test_a_disk_that_is_too_old_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compaction may have removed tombstones that it missed."""
    disk = RocksDBStore(tmp_path)
    disk.restore(b"deleted since", b"1")
    disk.advance(0)
    disk.close()
    later = rocksdb.wall() + rocksdb.MAX_AGE + 60
    monkeypatch.setattr(rocksdb, "wall", lambda: later)
    again = RocksDBStore(tmp_path)
    assert (contents(again), again.position) == ({}, -1)
    again.close()


def test_a_path_that_is_not_a_folder_is_an_error(tmp_path: Path) -> None:
    """The message says why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        RocksDBStore(tmp_path / "file")
