"""Computes recommendations and examples for the ranker in the background, in a fixed share of the time.

A recommendation list costs a hundred times as much as an event. It also depends on what all other users did, not on
the log of one user alone. So the log processor does not compute lists: it only reports whose list is out of date.
While the worker has a backlog, lists get a tenth of their time: the backlog contains newer events of the same users,
which would make the lists out of date again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from models.person.person import Person
from models.retention.context import Context
from models.retention.recommendations import is_list_stale, is_training_use, make_training_list
from models.schema import events as ev
from streams.agents.courses.view import GlobalCourseView
from streams.agents.users.activity_listener import RecommendationTarget
from streams.clock import TimeBudget, monotonic
from streams.delivery.sender import RecordSink
from streams.kafka import codec, topics
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

IDLE = 0.02
"""Seconds between two turns."""
BACKLOG_FACTOR = 0.1
"""Factor of the share of time while the worker has a backlog."""
MAX_CREDIT = 0.25
"""Seconds of unused time that may be used later."""
MAX_WAITING = 100_000
"""Users who wait for a new list; beyond that, the one who waits longest is dropped."""
MAX_EXAMPLES = 64
"""Course uses that wait to become examples; beyond that, the oldest are dropped."""
INDEX_SLICE = 0.005
"""Maximum seconds of indexing course rows between two lists."""
_log = logging.getLogger(__name__)


class CourseUse(NamedTuple):
    """The use of a course that may become an example for the ranker, with the user's state before it."""

    person: Person
    event_id: str
    course: str
    time: float


class RecommendationJob:
    """Computes recommendation lists for the users of all partitions of a worker.

    Attributes:
        has_backlog: the users agent sets it after a full chunk; it is cleared at the next turn.
    """

    def __init__(
        self,
        settings: Settings,
        courses: GlobalCourseView,
        context: Callable[[], Context],
        sink: Callable[[], RecordSink],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._courses = courses
        self._context = context
        self._sink = sink
        self._metrics = metrics
        self._topic = name(settings, topics.LISTS)
        self._waiting: OrderedDict[bytes, RecommendationTarget] = OrderedDict()
        self._uses: deque[CourseUse] = deque(maxlen=MAX_EXAMPLES)
        self._credit = 0.0
        self.has_backlog = False
        metrics.watch(self._gauges)

    def on_course_interest(self, target: RecommendationTarget, key: bytes, before: Person, event: ev.Event) -> None:
        """Note that an event changed the course preferences of a user."""
        self._enqueue(target, key)
        course = getattr(event, "course_id", None)
        if course is not None and is_training_use(before.preferences, event.id, course, self._settings.repeats):
            self._uses.append(CourseUse(before, event.id, course, event.time))

    def on_wake(self, target: RecommendationTarget, key: bytes, person: Person) -> None:
        """Note that a timer of a user runs: a list that is old is computed again."""
        if is_list_stale(person, target.clock.now):
            self._enqueue(target, key)

    def forget(self, target: RecommendationTarget) -> None:
        """Drop the waiting users of a partition that is released."""
        for key in [key for key, other in self._waiting.items() if other is target]:
            del self._waiting[key]

    async def run(self) -> None:
        """Work for ever, in the share of the time that the settings give."""
        last = monotonic()
        while True:
            await asyncio.sleep(IDLE)
            now = monotonic()
            share = self._settings.recommendation_time * (BACKLOG_FACTOR if self.has_backlog else 1.0)
            self._credit = min(MAX_CREDIT, self._credit + (now - last) * share)
            last, self.has_backlog = now, False
            while self._credit > 0 and self._run_once():
                self._credit -= monotonic() - now
                await asyncio.sleep(0)
                now = monotonic()

    def _run_once(self) -> bool:
        """Index course rows, make one example and compute one list; return whether there was anything to do."""
        busy = bool(self._uses) or bool(self._waiting)
        try:
            busy = self._courses.index_rows(TimeBudget(INDEX_SLICE)) or busy
            if self._uses:
                self._send_example(self._uses.popleft())
            if self._waiting:
                key, target = self._waiting.popitem(last=False)
                published = target.refresh_recommendations(key)
                self._metrics.add("encore_lists_total", "published" if published else "unchanged")
        except Exception:  # noqa: BLE001 - a defect costs a list, but never a user's state
            self._metrics.add("encore_failures_total", "list")
            _log.exception("the computation of recommendations failed")
        return busy

    def _send_example(self, use: CourseUse) -> None:
        context = self._context()
        if context.catalogue is None:
            return
        example = make_training_list(use.person, use.event_id, use.course, use.time, context)
        if example is not None:
            self._metrics.add("encore_lists_total", "example")
            self._sink().enqueue(self._topic, None, codec.encode_list_example(example), 0)

    def _enqueue(self, target: RecommendationTarget, key: bytes) -> None:
        self._waiting[key] = target
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_lists_waiting", ()): float(len(self._waiting))}
