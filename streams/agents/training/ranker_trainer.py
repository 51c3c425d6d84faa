"""The ranker's trainer: one, for everybody. It learns from short lists and publishes what orders candidates.

Two learn side by side: the net with replay, and the linear softmax that is its reference. The one that has foreseen
the latest lists better, before it learned from them, is published.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from models.churn.snapshot import InvalidSnapshot
from models.recommend import ranker_snapshot
from models.recommend.examples import OTHERS, ListExample
from models.recommend.features import names_for
from models.recommend.net import NetRanker
from models.recommend.ranker import LinearRanker
from streams.agents.courses.view import ENOUGH, RANKER
from streams.delivery.sender import RecordSink
from streams.kafka import codec, topics
from streams.kafka.codec import Record
from streams.kafka.readers import read_compacted
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings
from streams.state.changelog import newest

REMEMBERED = 10_000
"""Lists read back at the start: as many as the net replays, and ids by which repeats are known."""
MOST_ROWS = OTHERS + 1
MEMORY = 0.998
"""Of a list's surprise, what is left of it in the mean when the next has come: the newest 500 count."""
_log = logging.getLogger(__name__)


class RankerTrainer:
    """Learns each short list once, in the log's order.

    Snapshot and offset travel together, as with churn. The lists kept for replay are the newest; they are read back at
    the start.
    """

    def __init__(self, settings: Settings, outlet: RecordSink, metrics: Metrics) -> None:
        self.offset = -1
        self._settings = settings
        self._outlet = outlet
        self._metrics = metrics
        self._topic = name(settings, topics.LISTS)
        self._key = f"{RANKER}/{settings.repeats}".encode()
        self._published = -1
        self._mine = False
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._start()
        metrics.watch(self._gauges)

    async def own(self, mine: bool) -> None:
        """Be the ranker's trainer from now on, or no longer."""
        if mine and not self._mine:
            await self.restore()
        self._mine = mine

    async def restore(self) -> None:
        """Stand where the newest snapshot says; one that cannot be read is refused aloud, and learned anew."""
        self._start()
        sealed = (await read_compacted(self._settings, name(self._settings, topics.SNAPSHOTS))).get(self._key)
        if sealed is not None:
            try:
                said = ranker_snapshot.decode_ranker(sealed)
                ranker = ranker_snapshot.restore_ranker(said)
                self.offset = self._published = said.offset
                if isinstance(ranker, NetRanker):
                    self._net = ranker
                else:
                    self._linear = ranker
            except InvalidSnapshot as bad:
                self._metrics.add("encore_snapshots_refused_total", "trainer")
                _log.warning("the ranker's newest snapshot is refused (%s): learning again from the lists", bad)
        for record in await newest(self._settings, self._topic, REMEMBERED, self.offset + 1):
            self._take(record)

    async def take(self, records: list[Any]) -> None:
        """Learn a chunk of lists."""
        self._metrics.add("encore_records_total", "ranking", by=len(records))
        for record in records:
            self._take(record)

    def heard(self, record: Record) -> None:
        """Take note of a published snapshot: nobody but us publishes the ranker's."""

    def flush(self) -> None:
        """Publish what was learned since the last time; called before offsets are chosen."""
        if not self._mine or self.offset <= self._published or not self._net.lists:
            return
        self._published = self.offset
        better = better_of({"net": self._net, "linear": self._linear}, self._surprise)
        said = ranker_snapshot.ranker_snapshot(better, self._settings.repeats, self.offset)
        self._outlet.put(name(self._settings, topics.SNAPSHOTS), self._key, ranker_snapshot.encode_ranker(said), 0)

    def _start(self) -> None:
        columns = len(names_for(self._settings.repeats))
        self._net, self._linear = NetRanker(columns), LinearRanker(columns)
        self._surprise = {"net": 0.0, "linear": 0.0}
        self._recent.clear()
        self.offset = self._published = -1

    def _take(self, record: Record) -> None:
        """Learn a list; one that the snapshot has learned is only kept for replay."""
        learned = record.offset <= self.offset
        self.offset = max(self.offset, record.offset)
        example = self._read(record)
        if example is None or example.id in self._recent:
            return
        self._recent[example.id] = None
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        rows = example.unpacked()
        if learned:
            self._net.recall(rows)
            return
        for kind, ranker in (("net", self._net), ("linear", self._linear)):
            self._surprise[kind] = MEMORY * self._surprise[kind] + (1.0 - MEMORY) * surprise(ranker, rows)
        self._net.hear(rows)
        self._linear.learn(rows, 0)
        self._metrics.add("encore_lists_learned_total")

    def _read(self, record: Record) -> ListExample | None:
        try:
            example = codec.decode_list_example(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._metrics.add("encore_examples_left_out_total", "unreadable")
            return None
        wide = 2 * example.columns
        if example.repeats != self._settings.repeats or example.columns != self._net.columns:
            self._metrics.add("encore_examples_left_out_total", "features")
            return None
        if len(example.rows) % wide or not wide < len(example.rows) <= MOST_ROWS * wide or not _finite(example):
            self._metrics.add("encore_examples_left_out_total", "unreadable")
            return None
        return example

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_ranker_log_loss", (kind,)): value for kind, value in self._surprise.items() if value}


def _finite(example: ListExample) -> bool:
    return bool(np.isfinite(example.unpacked()).all())


def better_of(
    rankers: Mapping[str, NetRanker | LinearRanker], surprises: Mapping[str, float]
) -> NetRanker | LinearRanker:
    """Return the ranker that was surprised least, of those that have learned enough to be compared.

    After a restart the one that was not published begins anew: its luck with a few lists must not cost what the other
    has learned.

    Examples:
        >>> old, new = LinearRanker(3), LinearRanker(3)
        >>> old.lists, new.lists = 9_000, ENOUGH - 1
        >>> better_of({"old": old, "new": new}, {"old": 2.0, "new": 1.5}) is old
        True
        >>> new.lists = ENOUGH
        >>> better_of({"old": old, "new": new}, {"old": 2.0, "new": 1.5}) is new
        True
    """
    enough = min(ENOUGH, max(ranker.lists for ranker in rankers.values()))
    able = [kind for kind, ranker in rankers.items() if ranker.lists >= enough]
    return rankers[min(able, key=lambda kind: surprises[kind])]


def surprise(ranker: NetRanker | LinearRanker, rows: Any) -> float:
    """Return minus the log of the chance that a ranker gave to the course that was taken, the first of the rows."""
    scores = ranker.scores(rows)
    top = scores.max()
    return float(top + np.log(np.exp(scores - top).sum()) - scores[0])
