"""Whether our partitions are surely ours: a worker that stood still may have lost them without knowing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from streams.clock import boot_time


class Fenced(Exception):
    """Another owner of a partition has begun a reign above ours: what we write is void."""


class LeaseState(Enum):
    """What is known of our place in the group."""

    OURS = "nobody else can have our partitions"
    UNSURE = "Kafka has not heard of us for longer than a session lasts"
    LOST = "Kafka no longer knows us"


class PartitionLease:
    """What we hold of the group, by the last time at which Kafka is known to have heard of us.

    Kafka gives a worker's partitions away when it has heard nothing of it for a session. Whoever was frozen wakes up
    with its old mind: nothing may be written before a heartbeat has told whether it is still a member.
    """

    def __init__(self, session: float, now: Callable[[], float] = boot_time) -> None:
        """Begin outside the group, where nothing is held and nothing forbidden.

        Args:
            session: the session timeout in seconds.
            now: the clock, in seconds.
        """
        self.now = now
        self._session = session
        self._heard: float | None = None
        self._member: Callable[[], bool] = lambda: True

    def join(self, member: Callable[[], bool]) -> None:
        """Hold what the group gave us for as long as we are a member."""
        self._member = member
        self._heard = self.now()

    def heard(self, since: float) -> None:
        """Note that Kafka answered something that was sent at a time of the clock."""
        self._heard = since

    @property
    def state(self) -> LeaseState:
        """What is known now."""
        if self._heard is None:
            return LeaseState.OURS
        if not self._member():
            return LeaseState.LOST
        return LeaseState.OURS if self.now() - self._heard <= self._session else LeaseState.UNSURE
