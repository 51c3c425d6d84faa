"""Where the values of one partition's people are kept: in memory, or on disk (`streams.state.rocksdb`).

A store holds what the changelog is known to have, up to `position`, and on top of it what was written since and may
still be on its way. `forget` takes the latter back: then the store is what a recovery up to `position` would give.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Store(Protocol):
    """Values by key; bytes in, bytes out."""

    position: int
    """the changelog's offset up to which everything is in the store; -1 before the first"""
    fence: int
    """the highest fence found in the changelog so far"""

    def get(self, key: bytes) -> bytes | None:
        """Return the newest value of a key."""

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Return every key with its newest value."""

    def put(self, key: bytes, value: bytes | None) -> None:
        """Hold a value that is on its way to the changelog; None is a deletion."""

    def arrived(self, key: bytes, value: bytes | None) -> None:
        """Note that the changelog has a value that was put; the values of a key arrive as they were put."""

    def restored(self, key: bytes, value: bytes | None) -> None:
        """Hold a value that a recovery read, whatever is on its way."""

    def reached(self, position: int) -> None:
        """Note that everything the changelog has up to an offset is in here."""

    def forget(self) -> None:
        """Take back what was put and is not in the changelog, as far as is known."""

    def close(self) -> None:
        """Let go of everything; what is on disk stays there."""


class MemoryStore(dict[bytes, bytes]):
    """Values in a dict. Beside it stand the former values of those keys of which some are still on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.position = -1
        self.fence = 0
        self._former: dict[bytes, tuple[bytes | None, int]] = {}

    def put(self, key: bytes, value: bytes | None) -> None:
        """Hold a value, and remember the one before."""
        former, under_way = self._former.get(key) or (self.get(key), 0)
        self._former[key] = former, under_way + 1
        self._hold(key, value)

    def arrived(self, key: bytes, value: bytes | None) -> None:
        """Count what is still on its way; the value is what to go back to from now on."""
        _, under_way = self._former.pop(key, (None, 0))
        if under_way > 1:
            self._former[key] = value, under_way - 1
        elif not under_way:
            self._hold(key, value)

    def restored(self, key: bytes, value: bytes | None) -> None:
        """Hold a value."""
        self._former.pop(key, None)
        self._hold(key, value)

    def reached(self, position: int) -> None:
        """Note how far the changelog is in here."""
        self.position = position

    def forget(self) -> None:
        """Go back to the former values."""
        for key, (value, _) in self._former.items():
            self._hold(key, value)
        self._former.clear()

    def close(self) -> None:
        """Let go of everything."""
        self.clear()
        self._former.clear()

    def _hold(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.pop(key, None)
        else:
            self[key] = value
