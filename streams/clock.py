"""Time: the clock of a partition, which only its log advances, and the ticks that advance it when there are no events.

Only this module reads the machine's clock.
"""

from __future__ import annotations

import time
from typing import Protocol

NOT_YET = float("-inf")
"""A time before all times: nothing has happened so far."""
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class PartitionClock:
    """The clock of a partition: the highest event time or tick so far. Not stored: replaying the log restores it."""

    def __init__(self, follows_log: bool = False) -> None:
        self.now = NOT_YET
        self._follows_log = follows_log

    def advance(self, moment: float) -> None:
        """Advance to a time; an earlier time has no effect."""
        if moment > self.now:
            self.now = moment

    def wall(self) -> float:
        """Return the machine's time in seconds since 1970 UTC."""
        return time.time()

    def is_past(self, moment: float) -> bool:
        """Return whether a time has passed by the machine's clock; in a simulation, by the log's clock."""
        return moment < (self.now if self._follows_log else time.time())


class TimeBudget:
    """A limited time for one piece of work, so that other work on the event loop gets its turn."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    def over(self) -> bool:
        """Return whether the time has passed."""
        return time.perf_counter() >= self._end


class ActivityMonitor(Protocol):
    """What the ticker needs to know about a partition."""

    @property
    def last_event(self) -> float:
        """Time of the latest event, in seconds since 1970 UTC."""

    @property
    def busy(self) -> bool:
        """Whether the partition normally has so many events that a long silence is a fault."""


class Ticker:
    """Decides whether partitions get ticks, and which time the ticks have.

    A broken event collector must not look like silent users. A log is busy if users were active in the day before its
    last event (`ActivityMonitor.busy`). If a busy log has no event for `stall` seconds, its ticks are held, so that the
    silence of its users does not grow. New events or an operator (`encore clock release`) end this.

    A tick must not overtake records that are still in the input topics. Its time is never later than `ingested`, the
    time up to which ingest has appended all input records.

    Attributes:
        stall: seconds without events after which the ticks of a busy log are held.
        released_at: when an operator last released the ticks, in seconds since 1970 UTC.
        ingested: how far ingest is, in seconds since 1970 UTC.
    """

    def __init__(self, stall: float) -> None:
        self.stall = stall
        self.released_at = NOT_YET
        self.ingested = NOT_YET

    def holds(self, pulses: list[ActivityMonitor], now: float) -> bool:
        """Return whether the ticks of this worker's partitions are held.

        Args:
            pulses: the activity of these partitions.
            now: the time of the machine's clock.
        """
        last = max((pulse.last_event for pulse in pulses), default=NOT_YET)
        if not any(pulse.busy for pulse in pulses) or now - last <= self.stall:
            return False
        return self.released_at < last + self.stall

    def awaits_ingest(self) -> bool:
        """Return whether neither ingest has reported its progress nor an operator has released the ticks."""
        return max(self.released_at, self.ingested) == NOT_YET

    def tick_time(self, now: float) -> float:
        """Return the time of a tick: the progress of ingest, or `now` if an operator released the ticks since then."""
        return now if self.released_at >= self.ingested else min(now, self.ingested)


def monotonic() -> float:
    """Return the seconds of a monotonic clock, for durations."""
    return time.monotonic()


def boot_time() -> float:
    """Return the seconds of a monotonic clock that includes the time of system sleep, if the system has one."""
    return time.clock_gettime(_BOOT_CLOCK)


def wall() -> float:
    """Return the machine's time in seconds since 1970 UTC."""
    return time.time()
