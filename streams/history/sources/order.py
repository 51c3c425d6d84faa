"""History in time order with bounded memory, whatever the order of the sources."""

from __future__ import annotations

import heapq
import itertools
import operator
from array import array
from collections.abc import Generator, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.history.sources.runs import Decoded, Item, Runs
from streams.history.sources.source import HistoryEntry, HistorySource, UnusableEntry

RUN_ENTRIES = 1 << 17
"""Entries that are sorted in memory at a time: about 60 MB of events."""
CHUNK_ENTRIES = 1 << 8
"""Entries that are read at a time: few enough for the garbage collector to examine them only once."""
NO_TIME = float("inf")

_by_time = operator.itemgetter(0)


def order_by_time(
    sources: Sequence[HistorySource], skew: float, run: int = RUN_ENTRIES, folder: Path | None = None
) -> OrderedHistory:
    """Return the entries of several sources ordered by (time, source, position).

    Args:
        sources: what to read; the index in this sequence becomes the `source` of an entry.
        skew: seconds that an event may lie after the end of history (the settings' `skew`).
        run: entries that are sorted in memory at a time.
        folder: for temporary files; the system's default if left out.

    Raises:
        OperatorError: while iterating, if a source cannot be read or the disk is full.
    """
    return OrderedHistory(sources, skew, run, folder)


class OrderedHistory:
    """The entries of several sources by (time, source, position). Iterate it once.

    Unusable entries come first, during the first reading of the sources. Then come the entries in order. Entries of the
    far future come last, as unusable. A source that is in order is read a second time. Of any other source, everything
    after the sorted beginning goes through temporary files.

    A file has no log time that defines the future. Here an event is in the far future if it is more than `skew` after
    the latest event of the third-latest user of all files (with fewer users, no event is). Logs have made this check.

    Attributes:
        read: entries and unusable entries in the first reading so far.
        total: the number of all entries, once that reading is over.
        skipped: how many rows the sources left out on purpose during that reading.
    """

    def __init__(
        self, sources: Sequence[HistorySource], skew: float, run: int = RUN_ENTRIES, folder: Path | None = None
    ) -> None:
        self.read = 0
        self.total: int | None = None
        self.skipped = 0
        self._sources = sources
        self._skew = skew
        self._run = run
        self._folder = folder
        self._latest = LatestUsers()
        self._held: list[Item] = []
        self._time_hash = blake2b(digest_size=8)

    @property
    def digest(self) -> str:
        """A digest of the event times in the first reading so far. It identifies the history for idempotence keys."""
        return self._time_hash.hexdigest()

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        with Runs(self._folder) as runs:
            second_readings: list[Iterator[Decoded]] = []
            for number in range(len(self._sources)):
                length = yield from self._first_reading(number, runs)
                second_readings += [self._read_prefix(number, length)] if length else []
            self._spill(runs)
            self.total = self.read
            yield from self._check_future(heapq.merge(*second_readings, *runs.streams()))

    def _first_reading(self, number: int, runs: Runs) -> Generator[UnusableEntry, None, int]:
        """Read a source. Return how many of its first entries are in order; these are not stored."""
        source = self._sources[number]
        left, in_order, prefix, end = iter(source), source.repeatable, 0, float("-inf")
        while chunk := list(itertools.islice(left, min(CHUNK_ENTRIES, self._run))):
            self.read += len(chunk)
            entries = [item for item in chunk if isinstance(item, HistoryEntry)]
            yield from (item._replace(source=number) for item in chunk if isinstance(item, UnusableEntry))
            times = [entry.event.time for entry in entries]
            self._time_hash.update(array("d", times))
            if not source.has_log_time:
                self._latest.add(entries)
            in_order = in_order and _is_sorted([end, *times])
            if in_order:
                prefix, end = prefix + len(times), max([end, *times[-1:]])
                continue
            self._held += (
                (entry.event.time, number, entry.position, event_codec.encode(entry.event)) for entry in entries
            )
            if len(self._held) >= self._run:
                self._spill(runs)
        self.skipped += source.skipped
        return prefix

    def _spill(self, runs: Runs) -> None:
        """Write the held entries to disk, sorted by time. Stable sorting keeps the order of source and position."""
        if self._held:
            self._held.sort(key=_by_time)
            runs.add(self._held)
            self._held = []

    def _read_prefix(self, number: int, length: int) -> Iterator[Decoded]:
        """Read the first entries of a source again."""
        entries = (item for item in self._sources[number] if isinstance(item, HistoryEntry))
        for entry in itertools.islice(entries, length):
            yield entry.event.time, number, entry.position, entry.event

    def _check_future(self, items: Iterator[Decoded]) -> Iterator[HistoryEntry | UnusableEntry]:
        bound = self._latest.third + self._skew
        has_log_time = [source.has_log_time for source in self._sources]
        for time, number, position, event in items:
            if time > bound and not has_log_time[number]:
                error = InvalidEvent("far_future", "time", f"{time - bound + self._skew:.0f} s after everybody else")
                yield UnusableEntry(position, event_codec.encode(event), error, number)
            else:
                yield HistoryEntry(position, event, number)


class LatestUsers:
    """The latest events of the three users with the latest events."""

    def __init__(self) -> None:
        self._users: dict[str, float] = {}
        self.third = NO_TIME

    def add(self, entries: list[HistoryEntry]) -> None:
        """Add entries in any order."""
        known = self.third if self.third != NO_TIME else float("-inf")
        newer = [entry.event for entry in entries if entry.event.time > known]
        counted: set[str] = set()
        for event in sorted(newer, key=lambda event: event.time, reverse=True):
            if isinstance(event, ev.Event) and event.user_id not in counted:
                counted.add(event.user_id)
                self._update(event.user_id, event.time)
                if len(counted) == 3:
                    break

    def _update(self, user: str, time: float) -> None:
        users = {**self._users, user: max(time, self._users.get(user, time))}
        latest = sorted(users.items(), key=lambda item: -item[1])[:3]
        self._users = dict(latest)
        self.third = latest[2][1] if len(latest) == 3 else NO_TIME


def _is_sorted(times: list[float]) -> bool:
    return all(map(operator.le, times, times[1:]))
