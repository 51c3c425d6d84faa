"""What a worker knows of courses is what the topics said last, whoever else writes there."""

from __future__ import annotations

import pytest

from models.person.preferences import Preferences, fold_use
from models.recommend import ranker_snapshot
from models.recommend.features import names_for
from models.recommend.ranker import LinearRanker
from models.recommend.similarity import CooccurrenceRow, CountingWindow, interacted
from models.schema import events as ev
from streams.agents.courses import store
from streams.agents.courses.view import MIN_LISTS, CourseView
from streams.kafka import topics
from streams.metrics import Metrics
from streams.settings import Settings
from tests.models.tastes import heard
from tests.streams.doubles import Record, Times


def library() -> tuple[CourseView, Metrics]:
    metrics = Metrics()
    return CourseView(Settings(), metrics), metrics


def row_of(course: str, *others: str, uses: int = 3) -> CooccurrenceRow:
    row = CooccurrenceRow(course)
    for person in range(uses):
        row = interacted(
            row, heard(course, 10.0 + person, 2.0, *((other, 1.0) for other in others), person=person), CountingWindow()
        )
    return row


def on_rows(row: CooccurrenceRow, fence: int = 1, partition: int = 0) -> Record:
    return Record(topics.ROWS, partition, 0, 0, row.course.encode(), store.encode_course(store.CourseState(row), fence))


def on_catalogue(event: ev.CourseEvent | bytes) -> Record:
    return Record(topics.CATALOG, 0, 0, 0, b"c", event if isinstance(event, bytes) else ev.encode(event))


def reasons(known: CourseView, *used: str) -> dict[str, str]:
    """What somebody is recommended who used some courses, and why."""
    taste = Preferences()
    for time, course in enumerate(used):
        taste, _ = fold_use(taste, str(time), course, 7, float(time), 1.0)
    return {one.course: one.reason for one in known.catalogue.recommend(taste, 20.0, 5)}


def shown(known: CourseView, *used: str) -> set[str]:
    """What somebody is recommended who used some courses."""
    return set(reasons(known, *used))


def test_rows_wait_for_their_turn_and_the_newest_counts() -> None:
    """A busy course's row comes often; only as many as there is time for are put on the shelf."""
    known, _ = library()
    for row in (row_of("go", "art"), row_of("web", "art"), row_of("go", "sql", uses=9)):
        known.on_record(on_rows(row))
    assert shown(known, "sql") == set()
    assert known.index_rows(Times(1))
    assert not known.index_rows(Times(9))
    assert "go" in shown(known, "sql")
    assert known.catalogue.index.uses[known.catalogue.index.numbers["go"]] == 9


def test_a_row_of_an_owner_who_had_lost_the_partition_is_passed_over() -> None:
    """As recovery does: the highest fence of the partition counts."""
    known, _ = library()
    known.on_record(on_rows(row_of("go", "art", uses=9), fence=5))
    known.on_record(on_rows(row_of("go", "art", uses=2), fence=4))
    known.on_record(on_rows(row_of("web", "art", uses=2), fence=4, partition=1))
    known.index_rows(Times(9))
    assert [known.catalogue.index.uses[known.catalogue.index.numbers[course]] for course in ("go", "web")] == [9, 2]


def test_a_course_that_is_withdrawn_is_shown_no_more_until_it_is_back() -> None:
    """At once, also while its row still changes."""
    known, _ = library()
    known.on_record(on_rows(row_of("go", "art")))
    known.index_rows(Times(9))
    assert "go" in shown(known, "art")
    known.on_record(on_catalogue(ev.CourseWithdrawn(id="1", course_id="go", time=5.0)))
    assert "go" not in shown(known, "art")
    known.on_record(on_rows(row_of("go", "art", uses=9)))
    known.index_rows(Times(9))
    assert "go" not in shown(known, "art")
    known.on_record(on_catalogue(ev.CoursePublished(id="2", course_id="go", time=6.0, title="Go")))
    assert "go" in shown(known, "art")


def test_a_new_course_leans_on_what_it_is_about() -> None:
    """Nobody used it yet; a change of its entry counts as well, and what is no entry is passed over."""
    known, _ = library()
    for course, title in (("go", "Concurrency in Go"), ("art", "Oil painting")):
        known.on_record(on_catalogue(ev.CoursePublished(id=course, course_id=course, time=1.0, title=title)))
    known.on_record(on_catalogue(ev.CoursePublished(id="n", course_id="new", time=2.0, title="Advanced concurrency")))
    known.on_record(on_catalogue(b"{"))
    likeness, nothing = "like what you use", "new in the catalogue"
    assert (reasons(known, "go")["new"], reasons(known, "art")["new"]) == (likeness, nothing)
    known.on_record(on_catalogue(ev.CourseChanged(id="c", course_id="new", time=3.0, title="Painting with oil")))
    assert (reasons(known, "go")["new"], reasons(known, "art")["new"]) == (nothing, likeness)
    known.on_record(on_catalogue(ev.CourseChanged(id="d", course_id="nowhere", time=3.0, price=5.0)))
    assert "nowhere" not in known.catalogue.index.numbers


@pytest.mark.parametrize(("lists", "used"), [(MIN_LISTS - 1, False), (MIN_LISTS, True)])
def test_a_ranker_is_used_once_it_has_learned_enough(lists: int, used: bool) -> None:
    """Until then the sum of the generators orders candidates; another surface's ranker is not ours."""
    known, _ = library()
    ranker = LinearRanker(len(names_for("none")))
    ranker.lists = lists
    sealed = ranker_snapshot.encode_ranker(ranker_snapshot.ranker_snapshot(ranker, "none", 7))
    known.on_record(Record(topics.SNAPSHOTS, 0, 0, 0, b"churn", sealed))
    known.on_record(Record(topics.SNAPSHOTS, 0, 1, 0, b"ranker/everything", sealed))
    known.on_record(Record(topics.SNAPSHOTS, 0, 1, 0, b"rival/none", sealed))
    assert known.catalogue.rankers == {}
    known.on_record(Record(topics.SNAPSHOTS, 0, 2, 0, b"ranker/none", sealed))
    assert ("none" in known.catalogue.rankers) == used


def test_a_ranker_that_was_tampered_with_is_refused() -> None:
    """And counted."""
    known, metrics = library()
    ranker = LinearRanker(len(names_for("none")))
    sealed = ranker_snapshot.encode_ranker(ranker_snapshot.ranker_snapshot(ranker, "none"))
    known.on_record(Record(topics.SNAPSHOTS, 0, 0, 0, b"ranker/none", sealed.replace(b'"offset":-1', b'"offset":-2')))
    assert (known.catalogue.rankers, metrics.value("encore_snapshots_refused_total", "unreadable")) == ({}, 1)
