"""The interface between the log processor and the job that computes recommendations."""

from __future__ import annotations

from typing import Protocol

from models.person.person import Person
from models.schema import events as ev
from streams.clock import PartitionClock


class RecommendationTarget(Protocol):
    """A partition whose users get recommendations: the part of a log processor that the job needs."""

    clock: PartitionClock

    def refresh_recommendations(self, key: bytes) -> bool:
        """Compute a user's recommendations again; return whether they changed and are published."""


class ActivityListener(Protocol):
    """Is notified of users who may need new recommendations."""

    def on_course_interest(self, target: RecommendationTarget, key: bytes, before: Person, event: ev.Event) -> None:
        """Note that an event changed the course preferences of a user; `before` is their state before it."""

    def on_wake(self, target: RecommendationTarget, key: bytes, person: Person) -> None:
        """Note that a timer of a user runs."""
