"""The protocol of history sources: numbered entries in the source's own order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from msgspec import Struct

from models.schema import events as ev
from models.schema.errors import InvalidEvent


class HistoryEntry(Struct, frozen=True, gc=False):
    """An event with its position in its source.

    Attributes:
        position: increases through a source; together with the source's name it identifies the entry.
        event: a valid event with its time in seconds since 1970 UTC; also a catalogue event or a tick.
        source: the index of the source, from 0. A single source sets 0; `order_by_time` sets the index.
    """

    position: int
    event: ev.AnyEvent
    source: int = 0


class UnusableEntry(NamedTuple):
    """A part of a source that is not a valid event. It becomes a dead letter.

    Attributes:
        position: as in a `HistoryEntry`.
        raw: the original bytes, as many as a dead letter keeps; the row of a table as JSON.
        error: the reason.
        source: as in a `HistoryEntry`.
    """

    position: int
    raw: bytes
    error: InvalidEvent
    source: int = 0


class HistorySource(Protocol):
    """A source of history.

    Iterating yields every entry in the source's own order, with bounded memory. Nothing is left out silently. The only
    error is OperatorError, if the source cannot be read.
    """

    @property
    def name(self) -> str:
        """The name with which it was opened."""

    @property
    def repeatable(self) -> bool:
        """Whether it can be iterated several times with the same result (a pipe cannot)."""

    @property
    def has_log_time(self) -> bool:
        """Whether it is a log with a time for each record. A log has already rejected events of the far future."""

    @property
    def skipped(self) -> int:
        """How many rows the newest iteration has left out on purpose so far, because of a mapping or a loader."""

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        """Read from the beginning."""

    def describe_position(self, position: int) -> str:
        """Return a description of a position, such as `line 17`."""
