"""Stores of one partition's bytes: in memory, or on disk (`streams.state.rocksdb`).

A store holds what the changelog has up to `position`, and the unacknowledged writes since. `rollback` removes the
latter: then the store equals a recovery up to `position`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Store(Protocol):
    """Values by key; bytes in, bytes out."""

    position: int
    """The changelog offset up to which the store is complete; -1 before the first record."""
    fence: int
    """The highest fence found in the changelog so far."""

    def get(self, key: bytes) -> bytes | None:
        """Return the newest value of a key."""

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Return every key with its newest value."""

    def put(self, key: bytes, value: bytes | None) -> None:
        """Store a value that is not acknowledged yet; None deletes."""

    def acknowledge(self, key: bytes, value: bytes | None) -> None:
        """Note that the changelog has a value. The values of a key are acknowledged in the order of their `put`."""

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Store a recovered value, whatever is unacknowledged."""

    def advance(self, position: int) -> None:
        """Note that the store is complete up to an offset of the changelog."""

    def rollback(self) -> None:
        """Remove the values that are not acknowledged."""

    def close(self) -> None:
        """Close the store; files stay."""


class MemoryStore(dict[bytes, bytes]):
    """Values in a dict, with the last acknowledged value of each key that has unacknowledged writes."""

    def __init__(self) -> None:
        super().__init__()
        self.position = -1
        self.fence = 0
        self._acknowledged: dict[bytes, tuple[bytes | None, int]] = {}

    def put(self, key: bytes, value: bytes | None) -> None:
        """Store a value, and keep the last acknowledged one."""
        acknowledged, unacknowledged = self._acknowledged.get(key) or (self.get(key), 0)
        self._acknowledged[key] = acknowledged, unacknowledged + 1
        self._set(key, value)

    def acknowledge(self, key: bytes, value: bytes | None) -> None:
        """Count the acknowledgement; the value is what `rollback` restores from now on."""
        _, unacknowledged = self._acknowledged.pop(key, (None, 0))
        if unacknowledged > 1:
            self._acknowledged[key] = value, unacknowledged - 1
        elif not unacknowledged:
            self._set(key, value)

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Store a recovered value."""
        self._acknowledged.pop(key, None)
        self._set(key, value)

    def advance(self, position: int) -> None:
        """Note the position."""
        self.position = position

    def rollback(self) -> None:
        """Restore the last acknowledged values."""
        for key, (value, _) in self._acknowledged.items():
            self._set(key, value)
        self._acknowledged.clear()

    def close(self) -> None:
        """Drop everything."""
        self.clear()
        self._acknowledged.clear()

    def _set(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.pop(key, None)
        else:
            self[key] = value
