"""The courses agent counts each interaction once. It publishes an audience once, after the changelog has it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
import pytest

from models.person.preferences import Interaction
from models.recommend.audience import AudienceShare, Member
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from streams.agents.courses import store
from streams.agents.courses.agent import CoursesAgent
from streams.delivery.batching import RecordMetadata
from streams.kafka import codec, topics
from streams.kafka.codec import Record as Read
from streams.metrics import Metrics
from streams.settings import Settings
from streams.state.header import InvalidValue
from streams.state.partition import FENCE
from tests.models.course_uses import make_interaction
from tests.streams.doubles import LOOP, ManualSink, Put, Record, turn


class Agent:
    """One partition of courses over a sink that a test acknowledges."""

    def __init__(self, changelog: list[tuple[bytes, bytes]] = ()) -> None:  # type: ignore[assignment]
        self.sink, self.metrics = ManualSink(), Metrics()
        self.courses = CoursesAgent(lambda: cast(Any, self.sink), Settings(), self.metrics)
        if changelog:
            found = [Record(topics.ROWS, 0, n, 0, key, value) for n, (key, value) in enumerate(changelog)]
            self.courses.restore(0, cast(Any, found))
        self.courses.recovered({0})
        self._offset = len(changelog)
        self.acknowledge()

    def process(self, *records: Read) -> None:
        assert LOOP.run_until_complete(asyncio.wait_for(self.courses.process_chunk(0, list(records)), 10))

    def acknowledge(self, *puts: Put) -> None:
        """Acknowledge records, or all waiting ones, with offsets as Kafka assigns them."""
        for put in puts or self.sink.open():
            put.done.set_result(RecordMetadata(self._offset))
            self._offset += 1
        turn()

    def row(self, course: str) -> CooccurrenceRow:
        found = self.courses.look_up(0, course)
        assert found is not None
        return found.row

    def count(self, fate: str) -> int:
        return self.metrics.value("encore_course_interactions_total", fate)

    @property
    def audiences(self) -> list[dict[str, Any]]:
        return [orjson.loads(put.value or b"") for put in self.sink.on(topics.AUDIENCES)]

    @property
    def changelog(self) -> list[tuple[bytes, bytes]]:
        """Return the acknowledged records of the table's changelog."""
        return [(put.key or b"", put.value or b"") for put in self.sink.on(topics.ROWS) if put.done.done()]


def record(offset: int, message: Interaction | AudienceShare | bytes, key: bytes | None = None) -> Record:
    value = message if isinstance(message, bytes) else codec.encode_output(message)
    record_key = key if isinstance(message, bytes) else message.course.encode()
    return Record(topics.INTERACTIONS, 0, offset, 0, record_key, value)


def audience_share(part: int, *members: Member, announcement: str = "new", time: float = 5.0) -> AudienceShare:
    return AudienceShare(
        id=f"{announcement} {part}", course="go", announcement=announcement, time=time, size=2, part=part, parts=3,
        members=members,
    )  # fmt: skip


SHARES = (
    audience_share(0, Member(0.2, "ann")),
    audience_share(1),
    audience_share(2, Member(0.9, "bob"), Member(0.1, "cem")),
)
INTERACTIONS = [make_interaction("go", 10.0 * n, 2.0, ("art", 1.0), ("web", 2.0), person=n) for n in range(6)]


def expected(*interactions: Interaction) -> CooccurrenceRow:
    row = CooccurrenceRow("go")
    for interaction in interactions:
        row = update_row(row, interaction, CountingWindow())
    return row


def test_a_repeat_counts_once() -> None:
    """The same record again, or another record of the same interaction, as after a crash of its writer."""
    agent = Agent()
    agent.process(*(record(n, one) for n, one in enumerate(INTERACTIONS[:3])))
    agent.process(
        record(1, INTERACTIONS[1]),
        record(2, INTERACTIONS[2]),
        record(3, INTERACTIONS[0]),
        record(4, INTERACTIONS[3]),
        record(5, INTERACTIONS[3]),
    )
    assert agent.row("go") == expected(*INTERACTIONS[:4])
    assert (agent.count("counted"), agent.count("repeat")) == (4, 4)


def test_records_in_the_changelog_are_not_counted_again() -> None:
    """The next owner gets the chunk again, and the rows contain its beginning already."""
    first = Agent()
    first.process(record(0, INTERACTIONS[0]), record(1, INTERACTIONS[1]))
    first.courses.flush()
    first.acknowledge()
    second = Agent(first.changelog)
    second.process(record(0, INTERACTIONS[0]), record(1, INTERACTIONS[1]), record(2, INTERACTIONS[2]))
    assert second.row("go") == expected(*INTERACTIONS[:3])
    second.courses.flush()
    keys = [put.key for put in second.sink.on(topics.ROWS)]
    assert keys == [FENCE, b"go"]


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (b"{", b"go", b"malformed"),
        (b'{"type":"alert"}', b"go", b"malformed"),
        (codec.encode_output(INTERACTIONS[0]) or b"", b"art", b"wrong_key"),
    ],
)
def test_an_unreadable_record_becomes_a_dead_letter(value: bytes, key: bytes, reason: bytes) -> None:
    """With the reason; the records behind it are counted."""
    agent = Agent()
    agent.process(record(0, value, key), record(1, INTERACTIONS[0]))
    (letter,) = agent.sink.on(topics.DEAD_LETTERS)
    assert (dict(letter.headers or ())["reason"], letter.value) == (reason, value)
    assert (agent.row("go").uses, agent.count("unreadable")) == (1, 1)


def test_an_audience_is_published_when_it_is_complete_and_in_the_changelog() -> None:
    """Not before every partition has sent its share; a repeated share changes nothing."""
    agent = Agent()
    agent.process(record(0, SHARES[0]), record(1, SHARES[0]), record(2, SHARES[1]))
    agent.courses.flush()
    agent.acknowledge()
    assert agent.audiences == []
    agent.process(record(3, SHARES[2]))
    agent.courses.flush()
    assert agent.audiences == []
    agent.acknowledge()
    (audience,) = agent.audiences
    assert (audience["announcement"], audience["size"]) == ("new", 2)
    assert audience["people"] == [{"user_id": "bob", "interest": 0.9}, {"user_id": "ann", "interest": 0.2}]
    agent.acknowledge()
    agent.process(record(4, with_id(SHARES[2], "again")))
    for _ in range(3):
        agent.courses.flush()
        agent.acknowledge()
    assert len(agent.audiences) == 1


def test_an_audience_that_was_complete_at_a_crash_is_published_by_the_next_owner() -> None:
    """With the same id; the first owner may have published it, too."""
    first = Agent()
    first.process(*(record(n, one) for n, one in enumerate(SHARES)))
    first.courses.flush()
    first.acknowledge(*first.sink.open(topics.ROWS))
    second = Agent(first.changelog)
    assert second.audiences == first.audiences
    assert len(second.audiences) == 1
    second.courses.flush()
    second.acknowledge()
    assert Agent(first.changelog + second.changelog).audiences == []


def test_a_later_announcement_replaces_an_earlier_one() -> None:
    """Shares for the earlier one are dropped, also those that arrive later."""
    agent = Agent()
    later = [audience_share(part, Member(0.5, f"p{part}"), announcement="anew", time=9.0) for part in range(3)]
    agent.process(
        record(0, SHARES[0]), record(1, later[0]), record(2, SHARES[2]), record(3, later[1]), record(4, later[2])
    )
    agent.courses.flush()
    agent.acknowledge()
    (audience,) = agent.audiences
    assert audience["announcement"] == "anew"
    assert {one["user_id"] for one in audience["people"]} <= {"p0", "p1", "p2"}


def with_id(share: AudienceShare, name: str) -> AudienceShare:
    return AudienceShare(
        id=name, course=share.course, announcement=share.announcement, time=share.time, size=share.size,
        part=share.part, parts=share.parts, members=share.members,
    )  # fmt: skip


def test_an_encoded_course_is_decoded_unchanged() -> None:
    """Another version is refused by its number."""
    course = store.CourseState(expected(*INTERACTIONS), 7)
    value = store.encode_course(course, 3)
    assert store.decode_course(value) == course
    assert not store.has_unpublished_audience(value)
    with pytest.raises(InvalidValue, match="version 9"):
        store.decode_course(b"\x09" + value[1:])
    with pytest.raises(InvalidValue, match="broken"):
        store.decode_course(value[:-3])
