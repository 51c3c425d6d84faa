"""Where the values of one partition's people are kept: in memory, or on disk (`streams.rocks`).

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

    def logged(self, key: bytes, value: bytes | None) -> None:
        """Hold a value that the changelog has: recovered, or acknowledged. They come in the changelog's order."""

    def reached(self, position: int) -> None:
        """Note that everything the changelog has up to an offset was `logged`."""

    def forget(self) -> None:
        """Take back what was put and is not in the changelog, as far as is known."""

    def close(self) -> None:
        """Let go of everything; what is on disk stays there."""


class Memory(dict[bytes, bytes]):
    """Values in a dict. Beside it stand the former values of the keys whose newest one is still on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.position = -1
        self.fence = 0
        self._before: dict[bytes, bytes | None] = {}

    def put(self, key: bytes, value: bytes | None) -> None:
        """Hold a value, and remember the one before."""
        self._before.setdefault(key, self.get(key))
        self._hold(key, value)

    def logged(self, key: bytes, value: bytes | None) -> None:
        """Hold a value for good, unless a newer one is on its way: then it is the one to go back to."""
        if key not in self._before:
            self._hold(key, value)
        elif self.get(key) == value:
            del self._before[key]
        else:
            self._before[key] = value

    def reached(self, position: int) -> None:
        """Note how far the changelog is in here."""
        self.position = position

    def forget(self) -> None:
        """Go back to the former values."""
        for key, value in self._before.items():
            self._hold(key, value)
        self._before.clear()

    def close(self) -> None:
        """Let go of everything."""
        self.clear()
        self._before.clear()

    def _hold(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.pop(key, None)
        else:
            self[key] = value
