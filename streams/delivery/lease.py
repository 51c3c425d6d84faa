"""The lease on partitions: a worker that was frozen may have lost its partitions without noticing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from streams.clock import boot_time


class Fenced(Exception):
    """Another owner of the partition has a higher fence: what this worker writes is void."""


class LeaseState(Enum):
    """What this worker knows of its membership in the consumer group."""

    OWNED = "no other worker can own the partitions"
    UNSURE = "the last heartbeat is older than the session timeout"
    LOST = "the worker is no longer a member of the group"


class PartitionLease:
    """Says whether the partitions are still owned, by the time of the last heartbeat that Kafka answered.

    Kafka reassigns the partitions of a worker after a session timeout without a heartbeat. A worker that was frozen
    resumes with outdated state. It may write nothing before a heartbeat has shown that it is still a member.
    """

    def __init__(self, session: float, now: Callable[[], float] = boot_time) -> None:
        """Start outside the group, where no partition is owned and writing is allowed.

        Args:
            session: the session timeout in seconds.
            now: the clock, in seconds.
        """
        self.now = now
        self._session = session
        self._renewed_at: float | None = None
        self._member: Callable[[], bool] = lambda: True

    def join(self, member: Callable[[], bool]) -> None:
        """Start the lease after joining the group; `member` says whether the membership holds."""
        self._member = member
        self._renewed_at = self.now()

    def renew(self, since: float) -> None:
        """Renew the lease: Kafka answered a request that was sent at time `since` of the clock."""
        self._renewed_at = since

    @property
    def state(self) -> LeaseState:
        """The state now."""
        if self._renewed_at is None:
            return LeaseState.OWNED
        if not self._member():
            return LeaseState.LOST
        return LeaseState.OWNED if self.now() - self._renewed_at <= self._session else LeaseState.UNSURE
