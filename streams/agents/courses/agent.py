"""The courses agent: what courses hear of people, folded into one row a course; and the audiences of new ones.

The table's changelog is the topic that every worker reads of courses, so a row that is written is a row that is told.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from models.person.ledger import output_id
from models.person.preferences import Interaction
from models.recommend.audience import AudienceMerge, AudienceShare, gathered
from models.recommend.similarity import CooccurrenceRow, CountingWindow, interacted
from models.schema.errors import InvalidEvent
from models.schema.outputs import AudienceUser, CourseAudience
from streams.agents.courses import store
from streams.agents.courses.store import CourseState
from streams.delivery.dead_letters import DeadLetterQueue
from streams.delivery.sender import Sender
from streams.kafka import codec, topics
from streams.kafka.codec import Record
from streams.kafka.topics import name
from streams.metrics import GaugeName, Metrics
from streams.settings import Settings
from streams.state.changelog import between
from streams.state.owner import PartitionedStore
from streams.state.partition import ChangelogWriter, StorePartition

MOST_HOT = 500
"""Decoded rows kept per partition: one has hundreds of neighbours."""
REMEMBERED = 20_000
"""Ids of the newest records by which repeats are known; read back when a partition comes. Repeats come from what was
not acknowledged at a crash or a rebalance, so they follow soon."""


class CourseStore(StorePartition[CourseState]):
    """One partition's courses."""

    def _nothing(self) -> CourseState:
        return CourseState(CooccurrenceRow(""))

    def _sealed(self, key: bytes, value: CourseState) -> bytes:
        return store.seal(value, self.fence)

    def get(self, key: bytes) -> CourseState:
        """Return a course; one that nobody used yet has an empty row.

        Raises:
            InvalidValue: the value was written by another version.
        """
        found = self.hot.get(key)
        if found is None:
            value = self.cold.get(key)
            found = CourseState(CooccurrenceRow(key.decode())) if value is None else store.unseal(value)
            self.hot[key] = found
        return found

    def __len__(self) -> int:
        return sum(1 for _ in self.cold.items())


class CoursesAgent(PartitionedStore[CourseStore]):
    """Keeps the rows of the courses in this worker's partitions."""

    def __init__(
        self,
        sender: Callable[[], Sender],
        settings: Settings,
        metrics: Metrics,
        window: CountingWindow = CountingWindow(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(sender, settings, name(settings, topics.ROWS))
        self._metrics = metrics
        self._window = window
        self._interactions = name(settings, topics.INTERACTIONS)
        self._recent: dict[int, OrderedDict[str, None]] = {}
        self._most_dirty = 1_000 if settings.engine == "fast" else 1
        metrics.watch(self._gauges)

    async def take(self, partition: int, records: list[Any]) -> bool:
        """Apply a chunk; return whether it is in the rows. Whatever goes wrong stops the worker, and commits nothing.

        After a loss nothing is applied until a recovery: the chunk will come again.
        """
        if self._lost:
            return False
        try:
            if partition not in self._recent:
                await self._remember(partition, records[0].offset)
            if self._lost or partition not in self._begun:
                return False
            self._metrics.add("encore_records_total", "courses", by=len(records))
            for record in records:
                self._apply(partition, record)
            if len(self._of(partition).dirty) >= self._most_dirty:
                self._flush(partition)
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the chunk and go on
            await self._stop(error)
        await asyncio.sleep(0)
        return True

    def look_up(self, partition: int, course: str) -> CourseState | None:
        """Return a course held here."""
        values = self._values.get(partition)
        return values.get(course.encode()) if values is not None and course.encode() in values else None

    # -- one record

    def _apply(self, partition: int, record: Record) -> None:
        try:
            heard = codec.decode_interaction(record.value or b"", record.key)
        except InvalidEvent as bad:
            self._metrics.add("encore_course_interactions_total", "unreadable")
            self._cemetery.bury(record, bad)
            return
        values, key, recent = self._of(partition), heard.course.encode(), self._recent[partition]
        course = values.get(key)
        if record.offset <= course.offset:  # it is in the row, but the row may not be in the changelog
            values.touch(key)
            self._metrics.add("encore_course_interactions_total", "repeat")
        elif heard.id in recent:
            values.put(key, replace(course, offset=record.offset))
            self._metrics.add("encore_course_interactions_total", "repeat")
        else:
            values.put(key, self._moved(course, record.offset, heard))
            self._metrics.add("encore_course_interactions_total", "counted")
        _note(recent, heard.id)

    def _moved(self, course: CourseState, offset: int, heard: Interaction | AudienceShare) -> CourseState:
        if isinstance(heard, Interaction):
            return CourseState(interacted(course.row, heard, self._window), offset, course.gathering)
        return CourseState(course.row, offset, gathered(course.gathering, heard))

    async def _remember(self, partition: int, offset: int) -> None:
        """Read back the ids of the records before the first one."""
        recent: OrderedDict[str, None] = OrderedDict()
        if offset:
            before = range(max(0, offset - REMEMBERED), offset)
            for record in await between(self._settings, self._interactions, partition, before):
                try:
                    _note(recent, codec.decode_interaction(record.value or b"", record.key).id)
                except InvalidEvent:
                    continue  # it is buried already
        self._recent[partition] = recent

    # -- audiences

    def _tell(self, partition: int, key: bytes) -> None:
        """Tell an audience whose state is safe; once Kafka has it, its members are forgotten."""
        values = self._of(partition)
        gathering = values.get(key).gathering
        if gathering is None or not gathering.waits:
            return
        said = _audience(key.decode(), gathering)
        topic, place = codec.address(said)
        sent = self._sender.put(self._settings.prefix + topic, place, codec.encode_output(said))
        sent.add_done_callback(partial(self._told, partition, key, gathering.announcement))

    def _told(self, partition: int, key: bytes, announcement: str, sent: asyncio.Future[Any]) -> None:
        if sent.cancelled() or sent.exception() is not None or partition not in self._begun:
            return
        self._metrics.add("encore_outputs_total", topics.AUDIENCES)
        course = self._of(partition).get(key)
        if course.gathering is not None and course.gathering.announcement == announcement:
            self._of(partition).put(key, replace(course, gathering=course.gathering.done()))

    # -- one partition

    @property
    def _cemetery(self) -> DeadLetterQueue:
        return DeadLetterQueue(self._sender, self._settings.prefix, self._metrics)

    def _made(self, partition: int, write: ChangelogWriter) -> CourseStore:
        return CourseStore(MOST_HOT, write)

    def _begin(self, partition: int) -> None:
        self._recent.pop(partition, None)
        values = self._of(partition)
        for key, value in list(values.cold.items()):
            if store.waits(value):
                self._tell(partition, key)

    def _end(self, partition: int) -> None:
        self._recent.pop(partition, None)

    def _flush(self, partition: int) -> None:
        values = self._of(partition)
        if keys := sorted(values.dirty):
            told = [key for key in keys if (said := values.get(key).gathering) is not None and said.waits]
            values.write(*keys).add_done_callback(partial(self._written, partition, told))
        values.shrink()

    def _written(self, partition: int, told: Sequence[bytes], written: asyncio.Future[Any]) -> None:
        if not written.cancelled() and written.exception() is None and partition in self._begun:
            for key in told:
                self._tell(partition, key)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_course_rows", ()): float(sum(len(values) for values in self._values.values()))}


def _note(recent: OrderedDict[str, None], name: str) -> None:
    recent[name] = None
    recent.move_to_end(name)
    if len(recent) > REMEMBERED:
        recent.popitem(last=False)


def _audience(course: str, gathering: AudienceMerge) -> CourseAudience:
    people = tuple(AudienceUser(user_id=one.person, interest=round(one.interest, 6)) for one in gathering.members)
    return CourseAudience(
        id=output_id(course, "audience", gathering.announcement),
        course_id=course,
        time=gathering.time,
        announcement=gathering.announcement,
        size=gathering.size,
        people=people,
    )
