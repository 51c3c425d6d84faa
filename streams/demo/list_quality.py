"""What people would like next, held against the courses they came to."""

from __future__ import annotations

from collections import Counter

from models.schema import events as ev
from models.schema.outputs import Recommendations
from streams.demo.state import DemoState

FIRST = 5


class ListQuality:
    """Notes in a `DemoState` how often a course that somebody came to stood among the first five they had been told.

    Beside it stands what the five most popular courses would have got, for the same people at the same moments; both
    without what the person had used before.
    """

    def __init__(self, seen: DemoState) -> None:
        self._seen = seen
        self._told: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._used: dict[str, set[str]] = {}
        self._comers: Counter[str] = Counter()

    def happened(self, event: ev.Event) -> None:
        """Note an event that was sent to the worker."""
        course = getattr(event, "course_id", None)
        used = self._used.setdefault(event.user_id, set())
        if course is None or course in used:
            return
        told = self._told.get(event.user_id)
        if told is not None:
            popular = [name for name, _ in self._comers.most_common() if name not in used][:FIRST]
            self._seen.foretold.courses += 1
            self._seen.foretold.told += course in told[1]
            self._seen.foretold.popular += course in popular
        used.add(course)
        self._comers[course] += 1

    def heard(self, said: Recommendations) -> None:
        """Note a list; of lists that come out of order, the latest counts."""
        self._seen.lists += 1
        before, _ = self._told.get(said.user_id, (float("-inf"), ()))
        if said.time >= before:
            self._told[said.user_id] = said.time, tuple(one.course_id for one in said.courses[:FIRST])

    def forget(self, user: str) -> None:
        """Let go of somebody who left."""
        self._told.pop(user, None)
        self._used.pop(user, None)
