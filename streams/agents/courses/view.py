"""What every worker knows of courses: rows, catalogue and rankers, as the topics that all read say."""

from __future__ import annotations

import asyncio
import logging
from typing import cast, get_args

from models.churn.snapshot import InvalidSnapshot
from models.recommend import ranker_snapshot
from models.recommend.candidates import Repeats
from models.recommend.catalogue import Catalogue
from models.recommend.lists import Surface
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

RANKER = "ranker"
"""Begins the key of a ranker's snapshot; behind a slash follows what may be shown again."""
ENOUGH = 500
"""Lists that a ranker has to have learned from before it orders anything; until then the generators' sum does."""
SLICE = 0.02
_log = logging.getLogger(__name__)


class CourseView:
    """Listens to the topics of courses, and keeps the shelf that people are recommended from.

    A row that is heard waits, the newest of a course alone, until there is time to put it on the shelf: a busy
    course's comes every second. What the catalogue says counts at once.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.shelf = Catalogue(Surface(repeats=settings.repeats))
        self._metrics = metrics
        self._waiting: dict[bytes, bytes] = {}
        self._fences: dict[int, int] = {}
        self._lists = 0
        self._rows = name(settings, topics.ROWS)
        self._heard_by = {
            self._rows: self._row,
            name(settings, topics.CATALOG): self._course,
            name(settings, topics.SNAPSHOTS): self._ranker,
        }
        metrics.watch(self._gauges)

    @property
    def topics(self) -> list[str]:
        """The topics to be read."""
        return list(self._heard_by)

    def heard(self, record: Record) -> None:
        """Take a record of one of the topics."""
        self._heard_by[record.topic](record)

    async def load(self) -> None:
        """Put everything that waits on the shelf, letting others work between."""
        while self.put(TimeBudget(SLICE)):
            await asyncio.sleep(0)

    def put(self, slice_: TimeBudget) -> bool:
        """Put rows on the shelf until the slice is over; return whether some wait still."""
        while self._waiting:
            key = next(iter(self._waiting))
            try:
                self.shelf.put(store.unseal(self._waiting.pop(key)).row)
            except InvalidValue as bad:
                _log.warning("the row of a course is refused: %s", bad)
            if slice_.over():
                break
        return bool(self._waiting)

    def _row(self, record: Record) -> None:
        if record.value is None or not record.key or record.key.startswith(b"\0"):
            return
        fence = fence_of(record.value)
        if fence < self._fences.get(record.partition, 0):  # whoever wrote this had lost the partition
            return
        self._fences[record.partition] = fence
        self._waiting[record.key] = record.value

    def _course(self, record: Record) -> None:
        try:
            event = ev.decode(record.value or b"")
        except InvalidEvent as bad:
            _log.warning("an entry of the catalogue is refused: %s", bad)
            return
        if isinstance(event, ev.CourseEvent):
            self.shelf.hear(event)

    def _ranker(self, record: Record) -> None:
        prefix, _, kind = (record.key or b"").decode(errors="replace").rpartition("/")
        if record.value is None or prefix != RANKER or kind not in get_args(Repeats):
            return
        try:
            said = ranker_snapshot.decode_ranker(record.value)
        except InvalidSnapshot as bad:
            self._metrics.add("encore_snapshots_refused_total", "unreadable")
            _log.warning("a ranker's snapshot is refused: %s", bad)
            return
        self._lists = said.lists
        if said.lists >= ENOUGH:
            self.shelf.rankers[cast(Repeats, kind)] = ranker_snapshot.restore_ranker(said)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {
            ("encore_courses", ()): float(len(self.shelf.index)),
            ("encore_ranker_lists", ()): float(self._lists),
        }
