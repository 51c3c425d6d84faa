"""Stores in memory and on disk: the same in everything but where they keep it."""

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
    """Make stores of each kind."""
    made: list[Store] = []

    def one() -> Store:
        made.append(MemoryStore() if request.param == "memory" else RocksDBStore(tmp_path / str(len(made))))
        return made[-1]

    yield one
    for store in made:
        store.close()


def held(store: Store) -> dict[bytes, bytes]:
    """Return everything, both as it is listed and as it is asked for."""
    listed = dict(store.items())
    assert {key: store.get(key) for key in listed} == listed
    return listed


def test_what_is_on_its_way_is_held_and_can_be_taken_back(make: Make) -> None:
    """Behind it stands what the changelog has."""
    store = make()
    store.restore(b"a", b"1")
    store.put(b"a", b"2")
    store.put(b"b", b"1")
    assert held(store) == {b"a": b"2", b"b": b"1"}
    store.put(b"a", None)
    assert held(store) == {b"b": b"1"}
    store.rollback()
    assert held(store) == {b"a": b"1"}


def test_what_arrives_is_no_longer_taken_back(make: Make) -> None:
    """Nor does an older value that arrives hide a newer one on its way."""
    store = make()
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.acknowledge(b"a", b"1")
    assert held(store) == {b"a": b"2"}
    store.rollback()
    assert held(store) == {b"a": b"1"}
    store.put(b"a", None)
    store.acknowledge(b"a", None)
    store.rollback()
    assert held(store) == {}


def test_what_a_recovery_reads_replaces_what_is_on_its_way(make: Make) -> None:
    """It may have been read back from there; what arrives later still stands last."""
    store = make()
    store.put(b"a", b"2")
    store.restore(b"a", b"1")
    assert held(store) == {b"a": b"1"}
    store.acknowledge(b"a", b"2")
    assert held(store) == {b"a": b"2"}


moves = st.lists(
    st.tuples(
        st.sampled_from(["put", "arrive", "recover", "forget", "reopen"]),
        st.sampled_from([b"a", b"b", b"\0c"]),
        st.none() | st.sampled_from([b"1", b"2", b"3"]),
    ),
    max_size=40,
)


@given(moves)
@settings(max_examples=150, deadline=None)
def test_both_are_what_the_changelog_has_and_what_is_on_its_way(done: list[tuple[str, bytes, bytes | None]]) -> None:
    """Whatever happens in which order; a disk that is opened again has what the changelog had, and knows how far."""
    with TemporaryDirectory() as folder:
        memory, disk = MemoryStore(), RocksDBStore(Path(folder))
        logged: dict[bytes, bytes] = {}
        way: list[tuple[bytes, bytes | None]] = []
        offset = -1
        for move, key, value in done:
            if move == "put":
                way.append((key, value))
                memory.put(key, value)
                disk.put(key, value)
            elif move == "recover" or (move == "arrive" and way):
                if move == "arrive":
                    key, value = way.pop(0)
                offset += 1
                logged = {**logged, key: value} if value is not None else {k: v for k, v in logged.items() if k != key}
                for store in (memory, disk):
                    (store.acknowledge if move == "arrive" else store.restore)(key, value)
                    store.advance(offset)
                way = [put for put in way if move == "arrive" or put[0] != key]
            elif move in ("forget", "reopen"):
                way.clear()
                memory.rollback()
                disk.rollback()
                if move == "reopen":
                    disk.close()
                    disk = RocksDBStore(Path(folder))
                assert held(memory) == held(disk) == logged
                assert memory.position == disk.position == offset
            newest = {**logged, **dict(way)}
            if move in ("put", "arrive"):
                assert held(memory) == held(disk) == {key: value for key, value in newest.items() if value is not None}
        disk.close()


def test_a_folder_has_one_user(tmp_path: Path) -> None:
    """A second worker is told so, in words."""
    disk = RocksDBStore(tmp_path)
    with pytest.raises(StoreError, match="in use"):
        RocksDBStore(tmp_path)
    disk.close()
    RocksDBStore(tmp_path).close()


def test_what_arrives_after_the_end_does_no_harm(tmp_path: Path) -> None:
    """An acknowledgement may come when the partition has gone: whoever opens the folder next reads it from Kafka."""
    disk = RocksDBStore(tmp_path)
    disk.close()
    for offset in range(2_000):
        disk.acknowledge(b"%d" % offset, b"1")
        disk.advance(offset)
    again = RocksDBStore(tmp_path)
    assert (held(again), again.position) == ({}, -1)
    again.close()


def test_a_disk_keeps_its_fence(tmp_path: Path) -> None:
    """Otherwise a reader that goes on from its position would take what a former owner wrote behind its back."""
    disk = RocksDBStore(tmp_path)
    disk.fence = 7
    disk.advance(3)
    disk.close()
    again = RocksDBStore(tmp_path)
    assert (again.fence, again.position) == (7, 3)
    again.close()


def test_a_disk_that_lay_about_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletions that it missed may be gone from the changelog by now."""
    disk = RocksDBStore(tmp_path)
    disk.restore(b"erased since", b"1")
    disk.advance(0)
    disk.close()
    later = rocksdb.wall() + rocksdb.MAX_AGE + 60
    monkeypatch.setattr(rocksdb, "wall", lambda: later)
    again = RocksDBStore(tmp_path)
    assert (held(again), again.position) == ({}, -1)
    again.close()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        RocksDBStore(tmp_path / "file")
