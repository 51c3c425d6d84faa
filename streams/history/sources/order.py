"""History in the order of time, with bounded memory, whatever order it comes in."""

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

RUN = 1 << 17
"""Entries that are sorted in memory at a time: some 60 MB of events."""
CHUNK = 1 << 8
"""Entries that are read at a time: few enough for the garbage collector to look at them once."""
NOBODY = float("inf")

_by_time = operator.itemgetter(0)


def ordered(sources: Sequence[HistorySource], skew: float, run: int = RUN, folder: Path | None = None) -> Ordered:
    """Return the entries of some sources in the order of (time, source, position).

    Args:
        sources: what to read; the place in this sequence is the `source` of an entry.
        skew: seconds that an event may lie beyond the end of history (the settings' `skew`).
        run: entries sorted in memory at a time.
        folder: where temporary files go; the system's place for them if left out.

    Raises:
        OperatorError: while iterating, if a source cannot be read or the disk is full.
    """
    return Ordered(sources, skew, run, folder)


class Ordered:
    """The entries of some sources by (time, source, position). Iterate it once.

    What cannot be used comes first, while the sources are read for the first time; then the entries, in order; those
    from the far future come last, as unusable. A source found in order on that first reading is read a second time;
    of any other, all behind the part that is in order goes through temporary files.

    A file has no log time that tells what lies in the future: here that is beyond `skew` over the latest event of the
    third-latest person of all files together (with fewer people, nothing is). Logs have judged for themselves.

    Attributes:
        read: entries and unusables met in the first reading so far.
        total: as many as there are, once that reading is over.
        skipped: how many rows the sources left out on purpose in it.
    """

    def __init__(
        self, sources: Sequence[HistorySource], skew: float, run: int = RUN, folder: Path | None = None
    ) -> None:
        self.read = 0
        self.total: int | None = None
        self.skipped = 0
        self._sources = sources
        self._skew = skew
        self._run = run
        self._folder = folder
        self._latest = Latest()
        self._held: list[Item] = []
        self._times = blake2b(digest_size=8)

    @property
    def digest(self) -> str:
        """Names what was met in the first reading so far: the same for the same times in the same order."""
        return self._times.hexdigest()

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        with Runs(self._folder) as runs:
            again: list[Iterator[Decoded]] = []
            for number in range(len(self._sources)):
                length = yield from self._first_reading(number, runs)
                again += [self._prefix(number, length)] if length else []
            self._spill(runs)
            self.total = self.read
            yield from self._judged(heapq.merge(*again, *runs.streams()))

    def _first_reading(self, number: int, runs: Runs) -> Generator[UnusableEntry, None, int]:
        """Read a source; return how many of its first entries are in order and therefore not kept."""
        source = self._sources[number]
        left, in_order, prefix, end = iter(source), source.again, 0, float("-inf")
        while chunk := list(itertools.islice(left, min(CHUNK, self._run))):
            self.read += len(chunk)
            entries = [found for found in chunk if isinstance(found, HistoryEntry)]
            yield from (found._replace(source=number) for found in chunk if isinstance(found, UnusableEntry))
            times = [entry.event.time for entry in entries]
            self._times.update(array("d", times))
            if not source.logged:
                self._latest.add(entries)
            in_order = in_order and _rising([end, *times])
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
        """Put what is held on disk, sorted. It was met in the order of source and position, and sorting is stable."""
        if self._held:
            self._held.sort(key=_by_time)
            runs.add(self._held)
            self._held = []

    def _prefix(self, number: int, length: int) -> Iterator[Decoded]:
        """Read the first entries of a source again."""
        entries = (found for found in self._sources[number] if isinstance(found, HistoryEntry))
        for entry in itertools.islice(entries, length):
            yield entry.event.time, number, entry.position, entry.event

    def _judged(self, items: Iterator[Decoded]) -> Iterator[HistoryEntry | UnusableEntry]:
        bound = self._latest.third + self._skew
        logged = [source.logged for source in self._sources]
        for time, number, position, event in items:
            if time > bound and not logged[number]:
                error = InvalidEvent("far_future", "time", f"{time - bound + self._skew:.0f} s after everybody else")
                yield UnusableEntry(position, event_codec.encode(event), error, number)
            else:
                yield HistoryEntry(position, event, number)


class Latest:
    """The latest events of the three people whose latest events are the latest."""

    def __init__(self) -> None:
        self._people: dict[str, float] = {}
        self.third = NOBODY

    def add(self, entries: list[HistoryEntry]) -> None:
        """Take note of entries, in whatever order they are."""
        known = self.third if self.third != NOBODY else float("-inf")
        newer = [entry.event for entry in entries if entry.event.time > known]
        seen: set[str] = set()
        for event in sorted(newer, key=lambda event: event.time, reverse=True):
            if isinstance(event, ev.Event) and event.user_id not in seen:
                seen.add(event.user_id)
                self._note(event.user_id, event.time)
                if len(seen) == 3:
                    break

    def _note(self, person: str, time: float) -> None:
        people = {**self._people, person: max(time, self._people.get(person, time))}
        latest = sorted(people.items(), key=lambda item: -item[1])[:3]
        self._people = dict(latest)
        self.third = latest[2][1] if len(latest) == 3 else NOBODY


def _rising(times: list[float]) -> bool:
    return all(map(operator.le, times, times[1:]))
