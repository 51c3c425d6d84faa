"""The values of one partition of a store: what the changelog has, what is cached or changed, and the epochs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from streams.delivery.lease import Fenced
from streams.state.header import fence_of
from streams.state.stores import MemoryStore, Store

Pair = tuple[bytes, bytes | None]
"""A key and the bytes of its value; None deletes."""


class ChangelogWriter(Protocol):
    """Writes pairs to the changelog in order, after an optional future."""

    def __call__(self, pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
        """Write the pairs. The future completes when Kafka has acknowledged all of them."""


FENCE = b"\0fence"
"""The key under which each epoch writes its fence."""


class ChangelogRecord(Protocol):
    """The part of a Kafka record that recovery needs."""

    offset: int
    key: bytes
    value: bytes | None
    headers: Any


class OwnWrite(NamedTuple):
    """A record that this worker wrote and the changelog has."""

    key: bytes
    value: bytes | None
    offset: int
    fence: int


Value = TypeVar("Value")


class StorePartition(ABC, Generic[Value]):
    """The values of one partition. A value is decoded once and written behind, by `write`.

    `cold` holds the bytes that were last written or recovered for each key. `hot` holds values that were decoded or
    changed since. `dirty` holds the keys whose value in `hot` is not in the changelog yet. `gaps` are offsets between
    the acknowledgements of this worker's own writes: other workers wrote there, see `on_foreign_record`.

    Args:
        max_cached: number of decoded values that are kept.
        write: writes pairs to the changelog.
        cold: store of the bytes; in memory if left out.
    """

    def __init__(self, max_cached: int, write: ChangelogWriter, cold: Store | None = None) -> None:
        self.cold: Store = MemoryStore() if cold is None else cold
        self.hot: dict[bytes, Value] = {}
        self.dirty: set[bytes] = set()
        self.gaps: list[range] = []
        self.fence = self.cold.fence
        self._own_fence = -1
        self._unapplied: list[OwnWrite] = []
        self._overwritten: set[bytes] = set()
        self._max_cached = max_cached
        self._write = write

    # -- what the changelog has

    def restore(self, key: bytes, value: bytes | None, fence: int | None = None) -> None:
        """Take a recovered value. It is void if an owner with a higher fence has written before.

        Args:
            key: key of the value.
            value: the bytes; None deletes.
            fence: fence of a deletion, if known. A value carries its own.
        """
        under = fence_of(value) if value is not None else self.fence if fence is None else fence
        if under < self.fence:  # its writer had lost the partition; compaction may keep this record
            self._overwritten.add(key)
            return
        self.fence = self.cold.fence = under
        self._overwritten.discard(key)
        if key != FENCE:
            if self.hot:
                self._evict_one(key)
                self.dirty.discard(key)
            self.cold.restore(key, value)

    def on_acknowledged(self, key: bytes, value: bytes | None, offset: int, fence: int) -> None:
        """Note the offset at which the changelog has a value that this worker wrote."""
        cold = self.cold
        if offset <= cold.position:
            return  # a recovery has read it back
        if offset == cold.position + 1 and fence == self.fence and not self._unapplied:  # the usual case
            cold.fence = fence
            if key != FENCE:
                cold.acknowledge(key, value)
            cold.advance(offset)
            return
        end = self._unapplied[-1].offset if self._unapplied else self.cold.position
        if offset > end + 1:
            self.gaps.append(range(end + 1, offset))
        self._unapplied.append(OwnWrite(key, value, offset, fence))
        self._advance()

    def on_foreign_record(self, key: bytes, value: bytes | None, fence: int | None) -> None:
        """Take a record of another worker. The own value is written again, so that it is the last one.

        Raises:
            Fenced: the other worker has a higher fence and owns the partition.
        """
        under = fence_of(value) if value is not None else 0 if fence is None else fence
        if under > self.fence:
            raise Fenced(f"a record has fence {under}, this worker has {self.fence}")
        self._overwritten.add(key)

    def close_gap(self, gap: range) -> None:
        """Note that all records of a gap were read."""
        self.gaps = [other for other in self.gaps if other is not gap]
        self._advance()

    def rewrite_overwritten(self) -> int:
        """Write the keys again that other workers have overwritten; return their number."""
        if not self.owned:
            return 0
        overwritten, self._overwritten = self._overwritten, set()
        for key in overwritten:
            if key == FENCE:
                self._write_fence()
            elif key in self:
                self.touch(key)
            else:
                self._write(((key, None),))
        return len(overwritten)

    def _advance(self) -> None:
        """Apply acknowledged writes to the store, unless a gap before them is open."""
        if self.gaps:
            return
        for write in self._unapplied:
            if write.fence < self.fence:
                self._overwritten.add(write.key)
            else:
                self.cold.fence = write.fence
                if write.key != FENCE:
                    self.cold.acknowledge(write.key, write.value)
            self.cold.advance(write.offset)
        self._unapplied.clear()

    # -- epochs

    @property
    def owned(self) -> bool:
        """Whether no other owner has raised the fence since `acquire`."""
        return self.fence == self._own_fence

    def acquire(self) -> None:
        """Begin an epoch: raise the fence above everything that an earlier owner may still write."""
        self.release()
        self.fence += 1
        self._own_fence = self.fence
        self._write_fence()
        self.rewrite_overwritten()

    def release(self) -> None:
        """End the epoch: only what the changelog has is valid."""
        self.hot.clear()
        self.dirty.clear()
        self.gaps.clear()
        self._unapplied.clear()
        self.cold.rollback()
        self._own_fence = -1

    def _write_fence(self) -> None:
        self._write(((FENCE, self._encode(FENCE, self._empty())),))

    # -- values

    @abstractmethod
    def _empty(self) -> Value:
        """Return an empty value, to write the fence with."""

    @abstractmethod
    def _encode(self, key: bytes, value: Value) -> bytes:
        """Encode a value. The bytes begin with version, flags and the fence of this epoch."""

    @abstractmethod
    def get(self, key: bytes) -> Value:
        """Return the value of a key; a new key has an empty value."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of keys."""

    def __contains__(self, key: bytes) -> bool:
        return key in self.hot or self.cold.get(key) is not None

    def put(self, key: bytes, value: Value) -> None:
        """Store a new value and mark it dirty."""
        self.hot[key] = value
        self.dirty.add(key)

    def touch(self, key: bytes) -> None:
        """Mark a value dirty, because it may be ahead of the changelog."""
        self.dirty.add(key)

    def write(self, *keys: bytes, after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
        """Write values to the changelog. The future completes when Kafka has acknowledged all of them.

        Args:
            keys: keys of the values.
            after: the write waits for this future; if it fails, the write fails.
        """
        pairs: list[Pair] = []
        for key in keys:
            pairs += self._prepare(key, self.get(key))
        self.dirty.difference_update(keys)
        return self._write(pairs, after)

    def _prepare(self, key: bytes, value: Value) -> Sequence[Pair]:
        """Store the bytes of a value, and return the pairs to write for it."""
        encoded = self._encode(key, value)
        self._store_bytes(key, encoded)
        return ((key, encoded),)

    def evict(self) -> None:
        """Drop decoded values beyond the limit, the oldest first. Dirty values stay."""
        surplus = len(self.hot) - self._max_cached
        if surplus <= 0:
            return
        for key in list(islice((key for key in self.hot if key not in self.dirty), surplus)):
            self._evict_one(key)

    def _evict_one(self, key: bytes) -> None:
        """Drop a decoded value."""
        self.hot.pop(key, None)

    def _store_bytes(self, key: bytes, value: bytes | None) -> None:
        self.cold.put(key, value)
