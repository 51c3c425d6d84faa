"""The courses agent counts each interaction once, and tells an audience once its state is safe, and once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
import pytest

from models.person.preferences import Interaction
from models.recommend.audience import AudienceShare, Member
from models.recommend.similarity import CooccurrenceRow, CountingWindow, interacted
from streams.agents.courses import store
from streams.agents.courses.agent import CoursesAgent
from streams.delivery.batching import RecordMetadata
from streams.kafka import codec, topics
from streams.kafka.codec import Record as Read
from streams.metrics import Metrics
from streams.settings import Settings
from streams.state.header import InvalidValue
from streams.state.partition import FENCE
from tests.models.tastes import heard
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

    def take(self, *records: Read) -> None:
        assert LOOP.run_until_complete(asyncio.wait_for(self.courses.process_chunk(0, list(records)), 10))

    def acknowledge(self, *puts: Put) -> None:
        """Acknowledge records, or all that wait, with offsets as Kafka gives them."""
        for put in puts or self.sink.open():
            put.done.set_result(RecordMetadata(self._offset))
            self._offset += 1
        turn()

    def row(self, course: str) -> CooccurrenceRow:
        found = self.courses.look_up(0, course)
        assert found is not None
        return found.row

    def fate(self, fate: str) -> int:
        return self.metrics.value("encore_course_interactions_total", fate)

    @property
    def audiences(self) -> list[dict[str, Any]]:
        return [orjson.loads(put.value or b"") for put in self.sink.on(topics.AUDIENCES)]

    @property
    def changelog(self) -> list[tuple[bytes, bytes]]:
        """What Kafka has of the table."""
        return [(put.key or b"", put.value or b"") for put in self.sink.on(topics.ROWS) if put.done.done()]


def at(offset: int, said: Interaction | AudienceShare | bytes, key: bytes | None = None) -> Record:
    value = said if isinstance(said, bytes) else codec.encode_output(said)
    named = key if isinstance(said, bytes) else said.course.encode()
    return Record(topics.INTERACTIONS, 0, offset, 0, named, value)


def offered(part: int, *members: Member, announcement: str = "new", time: float = 5.0) -> AudienceShare:
    return AudienceShare(
        id=f"{announcement} {part}", course="go", announcement=announcement, time=time, size=2, part=part, parts=3,
        members=members,
    )  # fmt: skip


OFFERS = (offered(0, Member(0.2, "ann")), offered(1), offered(2, Member(0.9, "bob"), Member(0.1, "cem")))
SAID = [heard("go", 10.0 * n, 2.0, ("art", 1.0), ("web", 2.0), person=n) for n in range(6)]


def expected(*told: Interaction) -> CooccurrenceRow:
    row = CooccurrenceRow("go")
    for one in told:
        row = interacted(row, one, CountingWindow())
    return row


def test_what_is_heard_twice_counts_once() -> None:
    """The same record again, and another record of the same interaction, as after a crash of whoever said it."""
    agent = Agent()
    agent.take(*(at(n, one) for n, one in enumerate(SAID[:3])))
    agent.take(at(1, SAID[1]), at(2, SAID[2]), at(3, SAID[0]), at(4, SAID[3]), at(5, SAID[3]))
    assert agent.row("go") == expected(*SAID[:4])
    assert (agent.fate("counted"), agent.fate("repeat")) == (4, 4)


def test_what_the_changelog_has_is_not_counted_again() -> None:
    """Whoever takes the partition over gets the chunk again, whose beginning is in the rows already."""
    first = Agent()
    first.take(at(0, SAID[0]), at(1, SAID[1]))
    first.courses.flush()
    first.acknowledge()
    second = Agent(first.changelog)
    second.take(at(0, SAID[0]), at(1, SAID[1]), at(2, SAID[2]))
    assert second.row("go") == expected(*SAID[:3])
    second.courses.flush()
    keys = [put.key for put in second.sink.on(topics.ROWS)]
    assert keys == [FENCE, b"go"]


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (b"{", b"go", b"malformed"),
        (b'{"type":"alert"}', b"go", b"malformed"),
        (codec.encode_output(SAID[0]) or b"", b"art", b"wrong_key"),
    ],
)
def test_what_cannot_be_read_is_buried(value: bytes, key: bytes, reason: bytes) -> None:
    """With its reason; what follows is counted."""
    agent = Agent()
    agent.take(at(0, value, key), at(1, SAID[0]))
    (letter,) = agent.sink.on(topics.DEAD_LETTERS)
    assert (dict(letter.headers or ())["reason"], letter.value) == (reason, value)
    assert (agent.row("go").uses, agent.fate("unreadable")) == (1, 1)


def test_an_audience_is_told_once_it_is_complete_and_safe() -> None:
    """Not before every partition has offered, nor before the changelog has it; a repeated offer changes nothing."""
    agent = Agent()
    agent.take(at(0, OFFERS[0]), at(1, OFFERS[0]), at(2, OFFERS[1]))
    agent.courses.flush()
    agent.acknowledge()
    assert agent.audiences == []
    agent.take(at(3, OFFERS[2]))
    agent.courses.flush()
    assert agent.audiences == []
    agent.acknowledge()
    (audience,) = agent.audiences
    assert (audience["announcement"], audience["size"]) == ("new", 2)
    assert audience["people"] == [{"user_id": "bob", "interest": 0.9}, {"user_id": "ann", "interest": 0.2}]
    agent.acknowledge()
    agent.take(at(4, replaced(OFFERS[2], "again")))
    for _ in range(3):
        agent.courses.flush()
        agent.acknowledge()
    assert len(agent.audiences) == 1


def test_an_audience_that_was_complete_at_a_crash_is_told_by_the_next_owner() -> None:
    """With the same id; the first owner may have told it, too."""
    first = Agent()
    first.take(*(at(n, one) for n, one in enumerate(OFFERS)))
    first.courses.flush()
    first.acknowledge(*first.sink.open(topics.ROWS))
    second = Agent(first.changelog)
    assert second.audiences == first.audiences
    assert len(second.audiences) == 1
    second.courses.flush()
    second.acknowledge()
    assert Agent(first.changelog + second.changelog).audiences == []


def test_a_later_announcement_takes_the_place_of_an_earlier_one() -> None:
    """What was offered for the earlier one counts no more, and comes too late."""
    agent = Agent()
    later = [offered(part, Member(0.5, f"p{part}"), announcement="anew", time=9.0) for part in range(3)]
    agent.take(at(0, OFFERS[0]), at(1, later[0]), at(2, OFFERS[2]), at(3, later[1]), at(4, later[2]))
    agent.courses.flush()
    agent.acknowledge()
    (audience,) = agent.audiences
    assert audience["announcement"] == "anew"
    assert {one["user_id"] for one in audience["people"]} <= {"p0", "p1", "p2"}


def replaced(offer: AudienceShare, name: str) -> AudienceShare:
    return AudienceShare(
        id=name, course=offer.course, announcement=offer.announcement, time=offer.time, size=offer.size,
        part=offer.part, parts=offer.parts, members=offer.members,
    )  # fmt: skip


def test_a_row_comes_back_as_it_was_sealed() -> None:
    """With its fence; of another version it is refused by name."""
    course = store.CourseState(expected(*SAID), 7)
    value = store.encode_course(course, 3)
    assert store.decode_course(value) == course
    assert not store.has_unpublished_audience(value)
    with pytest.raises(InvalidValue, match="version 9"):
        store.decode_course(b"\x09" + value[1:])
    with pytest.raises(InvalidValue, match="broken"):
        store.decode_course(value[:-3])
