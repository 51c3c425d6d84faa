"""Time: the clock of a partition, which only its log moves, and the ticks that move it while nobody does anything.

This is the only place that reads the machine's clock.
"""

from __future__ import annotations

import time
from typing import Protocol

NOT_YET = float("-inf")
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class PartitionClock:
    """One partition's clock: the highest accepted event time or tick so far. Not stored; the log brings it back."""

    def __init__(self, follows_log: bool = False) -> None:
        self.now = NOT_YET
        self._follows_log = follows_log

    def advance(self, moment: float) -> None:
        """Move to a moment, never back."""
        if moment > self.now:
            self.now = moment

    def wall(self) -> float:
        """Return the machine's time in seconds since 1970 UTC."""
        return time.time()

    def is_past(self, moment: float) -> bool:
        """Return whether a moment has passed for whoever reads what goes out: by the wall, or by a simulation's log."""
        return moment < (self.now if self._follows_log else time.time())


class TimeBudget:
    """A slice of the machine's time, after which others are to have their turn."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    def over(self) -> bool:
        """Return whether it has passed."""
        return time.perf_counter() >= self._end


class ActivityMonitor(Protocol):
    """What a tick writer must know of a partition."""

    @property
    def last_event(self) -> float:
        """When the latest event happened, in seconds since 1970 UTC."""

    @property
    def busy(self) -> bool:
        """Whether silence in it means something."""


class Ticker:
    """Decides whether a partition gets a tick: a collector that died is not a crowd that fell silent.

    A log is busy when people were active in the day before its last event (`ActivityMonitor.busy`). Such a log
    without an event for `stall` seconds holds its ticks, so that nobody's silence grows, until events come or
    somebody lets it go on. Nor may a tick overtake what still stands in the input topics: it tells no time later
    than `ingested`, the latest moment up to which ingest says that it has appended all there was.
    """

    def __init__(self, stall: float) -> None:
        self.stall = stall
        self.released_at = NOT_YET
        self.ingested = NOT_YET

    def holds(self, pulses: list[ActivityMonitor], now: float) -> bool:
        """Return whether ticks are held for this worker's partitions at a wall time."""
        last = max((pulse.last_event for pulse in pulses), default=NOT_YET)
        if not any(pulse.busy for pulse in pulses) or now - last <= self.stall:
            return False
        return self.released_at < last + self.stall

    def awaits_ingest(self) -> bool:
        """Return whether ingest has never said how far it is, nor anybody that time may go on without."""
        return max(self.released_at, self.ingested) == NOT_YET

    def moment(self, now: float) -> float:
        """Return the time that ticks tell at a wall time: how far ingest is, unless time was let go on since."""
        return now if self.released_at >= self.ingested else min(now, self.ingested)


def monotonic() -> float:
    """Return seconds that only ever grow, for durations."""
    return time.monotonic()


def boot_time() -> float:
    """Return seconds that only ever grow and, where the system can tell, count the time in which it slept."""
    return time.clock_gettime(_BOOT_CLOCK)


def wall() -> float:
    """Return the machine's time in seconds since 1970 UTC."""
    return time.time()
