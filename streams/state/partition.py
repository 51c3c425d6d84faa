"""The values of one partition of a table: what the changelog has, what is decoded or changed since, and who reigns."""

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
"""A key and the bytes of its value; none deletes."""


class ChangelogWriter(Protocol):
    """Takes pairs to the changelog, one behind the other, and not before something has happened."""

    def __call__(self, pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
        """Write; the future completes when Kafka has all of them."""


FENCE = b"\0fence"


class ChangelogRecord(Protocol):
    """What recovery reads of a changelog's record; a Kafka record is one."""

    offset: int
    key: bytes
    value: bytes | None
    headers: Any


class OwnWrite(NamedTuple):
    """A record of ours that the changelog has."""

    key: bytes
    value: bytes | None
    offset: int
    fence: int


Value = TypeVar("Value")


class StorePartition(ABC, Generic[Value]):
    """One partition's values. Reading decodes once; writing is behind, until `write`.

    `cold` holds for every key the bytes that were last written or recovered; `hot` what was decoded or changed since;
    `dirty` the keys whose hot value is not in the changelog yet. `gaps` are offsets between acknowledgements of our
    own writes: others wrote there, and `met` has to be told what.

    Args:
        most_hot: decoded values that are kept.
        write: takes pairs to the changelog.
        cold: where bytes are kept; in memory if left out.
    """

    def __init__(self, most_hot: int, write: ChangelogWriter, cold: Store | None = None) -> None:
        self.cold: Store = MemoryStore() if cold is None else cold
        self.hot: dict[bytes, Value] = {}
        self.dirty: set[bytes] = set()
        self.gaps: list[range] = []
        self.fence = self.cold.fence
        self._reign = -1
        self._beyond: list[OwnWrite] = []
        self._spoiled: set[bytes] = set()
        self._most_hot = most_hot
        self._write = write

    # -- what the changelog has

    def restore(self, key: bytes, value: bytes | None, fence: int | None = None) -> None:
        """Take a value from the changelog: it stands unless an owner with a higher fence has written before.

        Args:
            key: whose value it is.
            value: none deletes.
            fence: under which it was deleted, where that is known; a value carries its own.
        """
        under = fence_of(value) if value is not None else self.fence if fence is None else fence
        if under < self.fence:  # whoever wrote this had lost the partition; compaction may prefer it to what stands
            self._spoiled.add(key)
            return
        self.fence = self.cold.fence = under
        self._spoiled.discard(key)
        if key != FENCE:
            if self.hot:
                self._cool(key)
                self.dirty.discard(key)
            self.cold.restored(key, value)

    def logged(self, key: bytes, value: bytes | None, offset: int, fence: int) -> None:
        """Note that the changelog has what we wrote under a fence, and where."""
        cold = self.cold
        if offset <= cold.position:
            return  # a recovery has read it back
        if offset == cold.position + 1 and fence == self.fence and not self._beyond:  # the usual case
            cold.fence = fence
            if key != FENCE:
                cold.arrived(key, value)
            cold.reached(offset)
            return
        end = self._beyond[-1].offset if self._beyond else self.cold.position
        if offset > end + 1:
            self.gaps.append(range(end + 1, offset))
        self._beyond.append(OwnWrite(key, value, offset, fence))
        self._advance()

    def met(self, key: bytes, value: bytes | None, fence: int | None) -> None:
        """Take what somebody else wrote between our own records: ours is written again, so that it stands last.

        Raises:
            Dethroned: they are the owner, not we.
        """
        under = fence_of(value) if value is not None else 0 if fence is None else fence
        if under > self.fence:
            raise Fenced(f"a record of fence {under} while our reign is {self.fence}")
        self._spoiled.add(key)

    def filled(self, gap: range) -> None:
        """Note that all of a gap was met."""
        self.gaps = [other for other in self.gaps if other is not gap]
        self._advance()

    def settle(self) -> int:
        """Have written again what others have written over; return how many keys that are."""
        if not self.reigns:
            return 0
        spoiled, self._spoiled = self._spoiled, set()
        for key in spoiled:
            if key == FENCE:
                self._announce()
            elif key in self:
                self.touch(key)
            else:
                self._write(((key, None),))
        return len(spoiled)

    def _advance(self) -> None:
        """Hold what is in the changelog, as far as we know all that is before it."""
        if self.gaps:
            return
        for ours in self._beyond:
            if ours.fence < self.fence:
                self._spoiled.add(ours.key)
            else:
                self.cold.fence = ours.fence
                if ours.key != FENCE:
                    self.cold.arrived(ours.key, ours.value)
            self.cold.reached(ours.offset)
        self._beyond.clear()

    # -- reigns

    @property
    def reigns(self) -> bool:
        """Whether nobody has begun a reign since ours began."""
        return self.fence == self._reign

    def begin(self) -> None:
        """Begin a reign: what is written from now on stands above whatever an owner before us may still write."""
        self.abdicate()
        self.fence += 1
        self._reign = self.fence
        self._announce()
        self.settle()

    def abdicate(self) -> None:
        """End a reign: nothing counts any more but what the changelog has."""
        self.hot.clear()
        self.dirty.clear()
        self.gaps.clear()
        self._beyond.clear()
        self.cold.forget()
        self._reign = -1

    def _announce(self) -> None:
        self._write(((FENCE, self._sealed(FENCE, self._nothing())),))

    # -- values

    @abstractmethod
    def _nothing(self) -> Value:
        """Return a value that says nothing, to announce a reign with."""

    @abstractmethod
    def _sealed(self, key: bytes, value: Value) -> bytes:
        """Return the bytes of a key's value, which begin with a version, flags and the fence of our reign."""

    @abstractmethod
    def get(self, key: bytes) -> Value:
        """Return the value of a key; one that is new has an empty one."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many keys there are."""

    def __contains__(self, key: bytes) -> bool:
        return key in self.hot or self.cold.get(key) is not None

    def put(self, key: bytes, value: Value) -> None:
        """Hold a new value; it is to be written."""
        self.hot[key] = value
        self.dirty.add(key)

    def touch(self, key: bytes) -> None:
        """Have a value written again: what we hold may be ahead of the changelog."""
        self.dirty.add(key)

    def write(self, *keys: bytes, after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
        """Write values to the changelog now; the future completes when Kafka has all of them.

        Args:
            keys: whose.
            after: what has to have happened before they leave; if it fails, so does this.
        """
        pairs: list[Pair] = []
        for key in keys:
            pairs += self._written(key, self.get(key))
        self.dirty.difference_update(keys)
        return self._write(pairs, after)

    def _written(self, key: bytes, value: Value) -> Sequence[Pair]:
        """Hold the bytes of a value, and return what is to be written for it."""
        sealed = self._sealed(key, value)
        self._kept(key, sealed)
        return ((key, sealed),)

    def shrink(self) -> None:
        """Let go of decoded values beyond the limit, those decoded longest ago first; dirty ones stay."""
        surplus = len(self.hot) - self._most_hot
        if surplus <= 0:
            return
        for key in list(islice((key for key in self.hot if key not in self.dirty), surplus)):
            self._cool(key)

    def _cool(self, key: bytes) -> None:
        """Let go of a decoded value."""
        self.hot.pop(key, None)

    def _kept(self, key: bytes, value: bytes | None) -> None:
        self.cold.put(key, value)
