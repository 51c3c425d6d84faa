"""Measures how well recommendation lists predict the courses that users come to."""

from __future__ import annotations

from collections import Counter

from models.schema import events as ev
from models.schema.outputs import Recommendations
from streams.demo.state import DemoState

LIST_LENGTH = 5


class ListQuality:
    """Counts in a `DemoState` how often a course that a user came to was among the first five recommended ones.

    For comparison it counts the five most popular courses, for the same users at the same moments. Both leave out the
    courses that the user had used before.
    """

    def __init__(self, state: DemoState) -> None:
        self._state = state
        self._lists: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._used: dict[str, set[str]] = {}
        self._arrivals: Counter[str] = Counter()

    def on_event(self, event: ev.Event) -> None:
        """Count an event that was sent to the worker."""
        course = getattr(event, "course_id", None)
        used = self._used.setdefault(event.user_id, set())
        if course is None or course in used:
            return
        recommended = self._lists.get(event.user_id)
        if recommended is not None:
            popular = [name for name, _ in self._arrivals.most_common() if name not in used][:LIST_LENGTH]
            self._state.forecast.courses += 1
            self._state.forecast.recommended += course in recommended[1]
            self._state.forecast.popular += course in popular
        used.add(course)
        self._arrivals[course] += 1

    def on_recommendations(self, output: Recommendations) -> None:
        """Store a list; if lists arrive out of order, the latest one counts."""
        self._state.lists += 1
        before, _ = self._lists.get(output.user_id, (float("-inf"), ()))
        if output.time >= before:
            self._lists[output.user_id] = output.time, tuple(one.course_id for one in output.courses[:LIST_LENGTH])

    def forget(self, user: str) -> None:
        """Remove a user who left."""
        self._lists.pop(user, None)
        self._used.pop(user, None)
