"""Recommendations beside the fold: lists made anew, and short lists for the ranker, in a fixed share of the time.

A list costs a hundred times what an event costs, and it depends on what all others did as well as on the person's
log. So it is not part of the fold: the fold only notes whose list is to be made anew. While the worker is behind, lists
get a tenth of their time: what a person did since is waiting in the log, and would make the list anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from models.person.person import Person
from models.retention.context import Context
from models.retention.recommending import is_lesson, is_old, lesson
from models.schema import events as ev
from streams.agents.courses.view import GlobalCourseView
from streams.agents.users.processor import LogProcessor
from streams.clock import TimeBudget, monotonic
from streams.delivery.sender import RecordSink
from streams.kafka import codec, topics
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings

IDLE = 0.02
BEHIND = 0.1
"""What is left of the share of time while the log is behind."""
MOST_SAVED = 0.25
"""Seconds of unused time that are kept for later."""
MOST_WAITING = 100_000
MOST_EXAMPLES = 64
"""Uses that wait to become short lists; of more, the newest count."""
ROWS = 0.005
"""Seconds at most that rows are put on the shelf between two lists."""
_log = logging.getLogger(__name__)


class CourseUse(NamedTuple):
    """A use of a course that may become a short list: the person as they were before it."""

    person: Person
    event_id: str
    course: str
    time: float


class RecommendationJob:
    """Makes lists for the people of all partitions of a worker.

    `behind` is set by whoever is delivered as much at once as may be; it is forgotten with the next look at the time.
    """

    def __init__(
        self,
        settings: Settings,
        library: GlobalCourseView,
        world: Callable[[], Context],
        sink: Callable[[], RecordSink],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._library = library
        self._world = world
        self._sink = sink
        self._metrics = metrics
        self._topic = name(settings, topics.LISTS)
        self._waiting: OrderedDict[bytes, LogProcessor] = OrderedDict()
        self._uses: deque[CourseUse] = deque(maxlen=MOST_EXAMPLES)
        self._saved = 0.0
        self.behind = False
        metrics.watch(self._gauges)

    def used(self, fold: LogProcessor, key: bytes, before: Person, event: ev.Event) -> None:
        """Note that a person's taste changed with an event."""
        self._enter(fold, key)
        course = getattr(event, "course_id", None)
        if course is not None and is_lesson(before.preferences, event.id, course, self._settings.repeats):
            self._uses.append(CourseUse(before, event.id, course, event.time))

    def woken(self, fold: LogProcessor, key: bytes, person: Person) -> None:
        """Note that a person's grid time came: a list that is old is made anew."""
        if is_old(person, fold.now):
            self._enter(fold, key)

    def forget(self, fold: LogProcessor) -> None:
        """Forget the people of a fold that goes."""
        for key in [key for key, other in self._waiting.items() if other is fold]:
            del self._waiting[key]

    async def run(self) -> None:
        """Work in the share of the time that is ours, for ever."""
        last = monotonic()
        while True:
            await asyncio.sleep(IDLE)
            now = monotonic()
            share = self._settings.recommendation_time * (BEHIND if self.behind else 1.0)
            self._saved = min(MOST_SAVED, self._saved + (now - last) * share)
            last, self.behind = now, False
            while self._saved > 0 and self._one():
                self._saved -= monotonic() - now
                await asyncio.sleep(0)
                now = monotonic()

    def _one(self) -> bool:
        """Do a little of everything there is to do; return whether there was anything."""
        busy = bool(self._uses) or bool(self._waiting)
        try:
            busy = self._library.index_rows(TimeBudget(ROWS)) or busy
            if self._uses:
                self._teach(self._uses.popleft())
            if self._waiting:
                key, fold = self._waiting.popitem(last=False)
                self._metrics.add("encore_lists_total", "told" if fold.relist(key) else "unchanged")
        except Exception:  # noqa: BLE001 - a defect of ours costs a list, and nobody's state
            self._metrics.add("encore_failures_total", "list")
            _log.exception("a list of recommendations failed")
        return busy

    def _teach(self, use: CourseUse) -> None:
        world = self._world()
        if world.shelf is None:
            return
        example = lesson(use.person, use.event_id, use.course, use.time, world)
        if example is not None:
            self._metrics.add("encore_lists_total", "example")
            self._sink().enqueue(self._topic, None, codec.encode_list_example(example), 0)

    def _enter(self, fold: LogProcessor, key: bytes) -> None:
        self._waiting[key] = fold
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_lists_waiting", ()): float(len(self._waiting))}
