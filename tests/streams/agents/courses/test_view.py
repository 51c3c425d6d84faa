"""The course view: every topic's newest valid records count."""

from __future__ import annotations

import pytest

from models.person.preferences import Preferences, fold_use
from models.recommend import ranker_snapshot, ranker_state
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.recommend.features import column_names
from models.recommend.linear_ranker import LinearRanker
from models.schema import event_codec
from models.schema import events as ev
from streams.agents.courses import store
from streams.agents.courses.view import MIN_LISTS, GlobalCourseView
from streams.kafka import topics
from streams.metrics import Metrics
from streams.settings import Settings
from tests.models.course_uses import make_interaction
from tests.streams.doubles import CountedBudget, Record


def new_view() -> tuple[GlobalCourseView, Metrics]:
    metrics = Metrics()
    return GlobalCourseView(Settings(), metrics), metrics


def row_of(course: str, *others: str, uses: int = 3) -> CooccurrenceRow:
    row = CooccurrenceRow(course)
    for person in range(uses):
        row = update_row(
            row,
            make_interaction(course, 10.0 + person, 2.0, *((other, 1.0) for other in others), person=person),
            CountingWindow(),
        )
    return row


def on_rows(row: CooccurrenceRow, fence: int = 1, partition: int = 0) -> Record:
    return Record(topics.ROWS, partition, 0, 0, row.course.encode(), store.encode_course(store.CourseState(row), fence))


def on_catalogue(event: ev.CourseEvent | bytes) -> Record:
    return Record(topics.CATALOG, 0, 0, 0, b"c", event if isinstance(event, bytes) else event_codec.encode(event))


def reasons(view: GlobalCourseView, *used: str) -> dict[str, str]:
    """Return the courses recommended to a user of some courses, with the reasons."""
    taste = Preferences()
    for time, course in enumerate(used):
        taste, _ = fold_use(taste, str(time), course, 7, float(time), 1.0)
    return {one.course: one.reason for one in view.catalogue.recommend(taste, 20.0, 5)}


def recommended(view: GlobalCourseView, *used: str) -> set[str]:
    """Return the courses recommended to a user of some courses."""
    return set(reasons(view, *used))


def test_rows_wait_to_be_indexed_and_the_newest_counts() -> None:
    """A busy course writes its row often; only as many rows are indexed as there is time for."""
    view, _ = new_view()
    for row in (row_of("go", "art"), row_of("web", "art"), row_of("go", "sql", uses=9)):
        view.on_record(on_rows(row))
    assert recommended(view, "sql") == set()
    assert view.index_rows(CountedBudget(1))
    assert not view.index_rows(CountedBudget(9))
    assert "go" in recommended(view, "sql")
    assert view.catalogue.index.uses[view.catalogue.index.numbers["go"]] == 9


def test_a_row_of_a_fenced_owner_is_ignored() -> None:
    """As in recovery, the highest fence of the partition counts."""
    view, _ = new_view()
    view.on_record(on_rows(row_of("go", "art", uses=9), fence=5))
    view.on_record(on_rows(row_of("go", "art", uses=2), fence=4))
    view.on_record(on_rows(row_of("web", "art", uses=2), fence=4, partition=1))
    view.index_rows(CountedBudget(9))
    assert [view.catalogue.index.uses[view.catalogue.index.numbers[course]] for course in ("go", "web")] == [9, 2]


def test_a_withdrawn_course_is_not_recommended_until_it_is_published_again() -> None:
    """This applies at once, even while its row still changes."""
    view, _ = new_view()
    view.on_record(on_rows(row_of("go", "art")))
    view.index_rows(CountedBudget(9))
    assert "go" in recommended(view, "art")
    view.on_record(on_catalogue(ev.CourseWithdrawn(id="1", course_id="go", time=5.0)))
    assert "go" not in recommended(view, "art")
    view.on_record(on_rows(row_of("go", "art", uses=9)))
    view.index_rows(CountedBudget(9))
    assert "go" not in recommended(view, "art")
    view.on_record(on_catalogue(ev.CoursePublished(id="2", course_id="go", time=6.0, title="Go")))
    assert "go" in recommended(view, "art")


def test_a_new_course_is_recommended_by_its_content() -> None:
    """It has no users yet. A change of its entry counts as well, and an invalid entry is ignored."""
    view, _ = new_view()
    for course, title in (("go", "Concurrency in Go"), ("art", "Oil painting")):
        view.on_record(on_catalogue(ev.CoursePublished(id=course, course_id=course, time=1.0, title=title)))
    view.on_record(on_catalogue(ev.CoursePublished(id="n", course_id="new", time=2.0, title="Advanced concurrency")))
    view.on_record(on_catalogue(b"{"))
    similar, new = "like what you use", "new in the catalogue"
    assert (reasons(view, "go")["new"], reasons(view, "art")["new"]) == (similar, new)
    view.on_record(on_catalogue(ev.CourseChanged(id="c", course_id="new", time=3.0, title="Painting with oil")))
    assert (reasons(view, "go")["new"], reasons(view, "art")["new"]) == (new, similar)
    view.on_record(on_catalogue(ev.CourseChanged(id="d", course_id="nowhere", time=3.0, price=5.0)))
    assert "nowhere" not in view.catalogue.index.numbers


@pytest.mark.parametrize(("lists", "used"), [(MIN_LISTS - 1, False), (MIN_LISTS, True)])
def test_a_ranker_is_used_once_it_has_learned_enough(lists: int, used: bool) -> None:
    """Until then, the sum of the generators orders candidates. Rankers of other surfaces are ignored."""
    view, _ = new_view()
    ranker = LinearRanker(len(column_names("none")))
    ranker.lists = lists
    sealed = ranker_snapshot.encode_ranker(ranker_state.snapshot_ranker(ranker, "none", 7))
    view.on_record(Record(topics.SNAPSHOTS, 0, 0, 0, b"churn", sealed))
    view.on_record(Record(topics.SNAPSHOTS, 0, 1, 0, b"ranker/everything", sealed))
    view.on_record(Record(topics.SNAPSHOTS, 0, 1, 0, b"rival/none", sealed))
    assert view.catalogue.rankers == {}
    view.on_record(Record(topics.SNAPSHOTS, 0, 2, 0, b"ranker/none", sealed))
    assert ("none" in view.catalogue.rankers) == used


def test_a_ranker_that_was_tampered_with_is_refused() -> None:
    """The refusal is counted."""
    view, metrics = new_view()
    ranker = LinearRanker(len(column_names("none")))
    sealed = ranker_snapshot.encode_ranker(ranker_state.snapshot_ranker(ranker, "none"))
    view.on_record(Record(topics.SNAPSHOTS, 0, 0, 0, b"ranker/none", sealed.replace(b'"offset":-1', b'"offset":-2')))
    assert (view.catalogue.rankers, metrics.value("encore_snapshots_refused_total", "unreadable")) == ({}, 1)
