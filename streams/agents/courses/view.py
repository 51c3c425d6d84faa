"""What every worker knows of courses: rows, catalogue and rankers, as read from the topics that all workers read."""

from __future__ import annotations

import asyncio
import logging
from typing import cast, get_args

from models.churn.snapshot import InvalidSnapshot
from models.recommend import ranker_snapshot
from models.recommend.candidates import Repeats
from models.recommend.catalogue import Catalogue
from models.recommend.lists import Surface
from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.courses import store
from streams.clock import TimeBudget
from streams.kafka import topics
from streams.kafka.codec import Record
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings
from streams.state.header import InvalidValue, fence_of

RANKER_KEY = "ranker"
"""The first part of the key of a ranker's snapshot. After a slash follows which courses may be shown again."""
MIN_LISTS = 500
"""Lists that a ranker must have learned before it orders candidates. Until then, the generators' sum orders them."""
TIME_SLICE = 0.02
"""Seconds of indexing after which other tasks run, while everything is loaded."""
_log = logging.getLogger(__name__)


class GlobalCourseView:
    """Reads the topics of courses, and keeps the catalogue that recommendations are made from.

    A busy course writes a row every second. So only the newest row of each course waits, until there is time to index
    it. Changes of the catalogue apply at once.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.catalogue = Catalogue(Surface(repeats=settings.repeats))
        self._metrics = metrics
        self._waiting: dict[bytes, bytes] = {}
        self._fences: dict[int, int] = {}
        self._ranker_lists = 0
        self._handlers = {
            name(settings, topics.ROWS): self._on_row,
            name(settings, topics.CATALOG): self._on_course,
            name(settings, topics.SNAPSHOTS): self._on_ranker,
        }
        metrics.watch(self._gauges)

    @property
    def topics(self) -> list[str]:
        """The topics to be read."""
        return list(self._handlers)

    def on_record(self, record: Record) -> None:
        """Handle a record of one of the topics."""
        self._handlers[record.topic](record)

    async def load(self) -> None:
        """Index all waiting rows, letting other tasks run in between."""
        while self.index_rows(TimeBudget(TIME_SLICE)):
            await asyncio.sleep(0)

    def index_rows(self, budget: TimeBudget) -> bool:
        """Index waiting rows until the time is over; return whether some still wait."""
        while self._waiting:
            key = next(iter(self._waiting))
            try:
                self.catalogue.update_row(store.decode_course(self._waiting.pop(key)).row)
            except InvalidValue as bad:
                _log.warning("the row of a course is refused: %s", bad)
            if budget.over():
                break
        return bool(self._waiting)

    def _on_row(self, record: Record) -> None:
        if record.value is None or not record.key or record.key.startswith(b"\0"):
            return
        fence = fence_of(record.value)
        if fence < self._fences.get(record.partition, 0):  # its writer had lost the partition
            return
        self._fences[record.partition] = fence
        self._waiting[record.key] = record.value

    def _on_course(self, record: Record) -> None:
        try:
            event = event_codec.decode(record.value or b"")
        except InvalidEvent as bad:
            _log.warning("an entry of the catalogue is refused: %s", bad)
            return
        if isinstance(event, ev.CourseEvent):
            self.catalogue.on_course_event(event)

    def _on_ranker(self, record: Record) -> None:
        prefix, _, repeats = (record.key or b"").decode(errors="replace").rpartition("/")
        if record.value is None or prefix != RANKER_KEY or repeats not in get_args(Repeats):
            return
        try:
            snapshot = ranker_snapshot.decode_ranker(record.value)
        except InvalidSnapshot as bad:
            self._metrics.add("encore_snapshots_refused_total", "unreadable")
            _log.warning("a ranker's snapshot is refused: %s", bad)
            return
        self._ranker_lists = snapshot.lists
        if snapshot.lists >= MIN_LISTS:
            self.catalogue.rankers[cast(Repeats, repeats)] = ranker_snapshot.build_ranker_scorer(snapshot)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {
            ("encore_courses", ()): float(len(self.catalogue.index)),
            ("encore_ranker_lists", ()): float(self._ranker_lists),
        }
