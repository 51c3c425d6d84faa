"""What history is read from, whatever it is: numbered entries in an order of the source's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from msgspec import Struct

from models.schema import events as ev
from models.schema.errors import InvalidEvent


class HistoryEntry(Struct, frozen=True, gc=False):
    """An event, with where in its source it stands.

    Attributes:
        position: grows through a source; with the source's name it names the entry for good.
        event: valid, its time in seconds since 1970 UTC. It may be a catalogue event or a tick.
        source: which of several sources, from 0; a source by itself says 0, `ordered` sets it.
    """

    position: int
    event: ev.AnyEvent
    source: int = 0


class UnusableEntry(NamedTuple):
    """What a source holds but no event can be made of; it belongs in the dead letters.

    Attributes:
        position: as in an `HistoryEntry`.
        raw: the bytes as they came, as many as a dead letter keeps; for a row of a table the row as JSON.
        error: why.
        source: as in an `HistoryEntry`.
    """

    position: int
    raw: bytes
    error: InvalidEvent
    source: int = 0


class HistorySource(Protocol):
    """History to be read.

    Iterating gives everything that is in it, in its own order, with bounded memory; nothing is left out silently.
    It raises OperatorError if the source turns out to be unreadable, and nothing else.
    """

    @property
    def name(self) -> str:
        """How it was named when it was opened."""

    @property
    def again(self) -> bool:
        """Whether it can be iterated several times and gives the same each time (a pipe cannot)."""

    @property
    def logged(self) -> bool:
        """Whether it is a log that knows when it took each record, and has judged by that what is far future."""

    @property
    def skipped(self) -> int:
        """How many rows the newest iteration has left out on purpose so far: a mapping or a loader says so."""

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        """Read from the beginning."""

    def where(self, position: int) -> str:
        """Return in words where a position is, such as `line 17`."""
