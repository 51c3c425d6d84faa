"""The courses agent: applies interactions to one row per course, and publishes the audiences of new courses.

Every worker reads the table's changelog to know the courses. So a row that is written is also published.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from models.person.ledger import output_id
from models.person.preferences import Interaction
from models.recommend.audience import AudienceMerge, AudienceShare, merge_share
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
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
from streams.state.changelog import read_range
from streams.state.owner import PartitionedStore
from streams.state.partition import ChangelogWriter, StorePartition
from streams.state.recent_ids import RecentIds

MAX_CACHED_ROWS = 500
"""Decoded rows kept per partition: one row has hundreds of neighbours."""
MAX_RECENT_IDS = 20_000
"""Ids of the newest records, which show repeats. They are read back when a partition is assigned. Repeats come from
records that were not acknowledged at a crash or a rebalance, so they follow soon."""


class CourseStore(StorePartition[CourseState]):
    """The courses of one partition."""

    def _empty(self) -> CourseState:
        return CourseState(CooccurrenceRow(""))

    def _encode(self, key: bytes, value: CourseState) -> bytes:
        return store.encode_course(value, self.fence)

    def get(self, key: bytes) -> CourseState:
        """Return a course; one that has no interactions yet has an empty row.

        Raises:
            InvalidValue: the value was written by another version.
        """
        found = self.hot.get(key)
        if found is None:
            value = self.cold.get(key)
            found = CourseState(CooccurrenceRow(key.decode())) if value is None else store.decode_course(value)
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
        self._recent_ids: dict[int, RecentIds] = {}
        self._max_dirty = 1_000 if settings.engine == "fast" else 1
        metrics.watch(self._gauges)

    async def process_chunk(self, partition: int, records: list[Any]) -> bool:
        """Apply a chunk; return whether the rows contain it. Any failure stops the worker, and nothing is committed.

        After partitions were lost, nothing is applied until the recovery: the chunk will be delivered again.
        """
        if self._lost:
            return False
        try:
            if partition not in self._recent_ids:
                await self._read_recent_ids(partition, records[0].offset)
            if self._lost or partition not in self._acquired:
                return False
            self._metrics.add("encore_records_total", "courses", by=len(records))
            for record in records:
                self._apply(partition, record)
            if len(self._partition(partition).dirty) >= self._max_dirty:
                self._flush_partition(partition)
        except Exception as error:  # noqa: BLE001 - Faust would acknowledge the chunk and go on
            await self._stop(error)
        await asyncio.sleep(0)
        return True

    def look_up(self, partition: int, course: str) -> CourseState | None:
        """Return a course of this worker; None if it is unknown here."""
        values = self._stores.get(partition)
        return values.get(course.encode()) if values is not None and course.encode() in values else None

    # -- one record

    def _apply(self, partition: int, record: Record) -> None:
        try:
            message = codec.decode_interaction(record.value or b"", record.key)
        except InvalidEvent as bad:
            self._metrics.add("encore_course_interactions_total", "unreadable")
            self._dead_letters.send(record, bad)
            return
        values, key = self._partition(partition), message.course.encode()
        course = values.get(key)
        repeat = self._recent_ids[partition].add(message.id)
        if record.offset <= course.offset:  # the row contains it, but the changelog may not have that row
            values.touch(key)
            self._metrics.add("encore_course_interactions_total", "repeat")
        elif repeat:
            values.put(key, replace(course, offset=record.offset))
            self._metrics.add("encore_course_interactions_total", "repeat")
        else:
            values.put(key, self._apply_to(course, record.offset, message))
            self._metrics.add("encore_course_interactions_total", "counted")

    def _apply_to(self, course: CourseState, offset: int, message: Interaction | AudienceShare) -> CourseState:
        if isinstance(message, Interaction):
            return CourseState(update_row(course.row, message, self._window), offset, course.audience)
        return CourseState(course.row, offset, merge_share(course.audience, message))

    async def _read_recent_ids(self, partition: int, offset: int) -> None:
        """Read back the ids of the records before an offset."""
        recent = RecentIds(MAX_RECENT_IDS)
        if offset:
            before = range(max(0, offset - MAX_RECENT_IDS), offset)
            for record in await read_range(self._settings, self._interactions, partition, before):
                try:
                    recent.add(codec.decode_interaction(record.value or b"", record.key).id)
                except InvalidEvent:
                    continue  # it is a dead letter already
        self._recent_ids[partition] = recent

    # -- audiences

    def _publish_audience(self, partition: int, key: bytes) -> None:
        """Publish an audience that the changelog has. Once Kafka has the output, its members are dropped."""
        audience = self._partition(partition).get(key).audience
        if audience is None or not audience.is_ready:
            return
        output = _audience_output(key.decode(), audience)
        topic, output_key = codec.address(output)
        sent = self._sender.enqueue(self._settings.prefix + topic, output_key, codec.encode_output(output))
        sent.add_done_callback(partial(self._on_published, partition, key, audience.announcement))

    def _on_published(self, partition: int, key: bytes, announcement: str, sent: asyncio.Future[Any]) -> None:
        if sent.cancelled() or sent.exception() is not None or partition not in self._acquired:
            return
        self._metrics.add("encore_outputs_total", topics.AUDIENCES)
        course = self._partition(partition).get(key)
        if course.audience is not None and course.audience.announcement == announcement:
            self._partition(partition).put(key, replace(course, audience=course.audience.without_members()))

    # -- one partition

    @property
    def _dead_letters(self) -> DeadLetterQueue:
        return DeadLetterQueue(self._sender, self._settings.prefix, self._metrics)

    def _create_partition(self, partition: int, write: ChangelogWriter) -> CourseStore:
        return CourseStore(MAX_CACHED_ROWS, write)

    def _on_acquired(self, partition: int) -> None:
        self._recent_ids.pop(partition, None)
        for key, value in list(self._partition(partition).cold.items()):
            if store.has_unpublished_audience(value):
                self._publish_audience(partition, key)

    def _on_released(self, partition: int) -> None:
        self._recent_ids.pop(partition, None)

    def _flush_partition(self, partition: int) -> None:
        values = self._partition(partition)
        if keys := sorted(values.dirty):
            complete = [key for key in keys if (found := values.get(key).audience) is not None and found.is_ready]
            values.write(*keys).add_done_callback(partial(self._on_written, partition, complete))
        values.evict()

    def _on_written(self, partition: int, complete: Sequence[bytes], written: asyncio.Future[Any]) -> None:
        if not written.cancelled() and written.exception() is None and partition in self._acquired:
            for key in complete:
                self._publish_audience(partition, key)

    def _gauges(self) -> dict[tuple[GaugeName, tuple[str, ...]], float]:
        return {("encore_course_rows", ()): float(sum(len(values) for values in self._stores.values()))}


def _audience_output(course: str, audience: AudienceMerge) -> CourseAudience:
    people = tuple(AudienceUser(user_id=one.person, interest=round(one.interest, 6)) for one in audience.members)
    return CourseAudience(
        id=output_id(course, "audience", audience.announcement),
        course_id=course,
        time=audience.time,
        announcement=audience.announcement,
        size=audience.size,
        people=people,
    )
