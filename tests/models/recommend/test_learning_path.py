"""The next course on a learning path."""

import pytest

from models.person.preferences import (
    COMPLETED,
    OtherCourse,
    Preferences,
    RecentCourse,
)
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.recommend.index import Index
from models.recommend.learning_path import next_courses, next_on_path
from tests.models.course_uses import make_interaction


def index_of_paths(*uses: tuple[str, ...]) -> Index:
    """Return an index of people who completed courses in these orders."""
    rows: dict[str, CooccurrenceRow] = {}
    for person, courses in enumerate(uses):
        done: tuple[OtherCourse, ...] = ()
        for hour, course in enumerate(courses):
            finished = make_interaction(course, hour * 3_600.0, COMPLETED, *done, person=person)
            rows[course] = update_row(rows.get(course, CooccurrenceRow(course)), finished, CountingWindow())
            done = ((course, COMPLETED), *done)
    index = Index()
    for row in rows.values():
        index.update(row)
    return index


def test_the_next_course_is_what_others_finished_after() -> None:
    """Courses finished most often and soonest come first. Shares are close to 0 while few people went on."""
    index = index_of_paths(*[("a", "b", "c")] * 3, ("a", "c"))
    assert [course for course, _ in next_courses(index, "a")] == ["b", "c"]
    assert dict(next_courses(index, "a")) == pytest.approx({"b": 3 / (5.5 + 3), "c": 2.5 / (5.5 + 3)})
    assert next_courses(index, "c") == next_courses(index, "unheard of") == ()


def test_the_path_starts_from_finished_courses() -> None:
    """It does not lead to finished courses, and does not start from unfinished ones."""
    index = index_of_paths(*[("a", "b", "c")] * 3, *[("x", "y")] * 9)
    preferences = Preferences(
        (RecentCourse("x", 2.0, 9.0), RecentCourse("b", COMPLETED, 8.0), RecentCourse("a", COMPLETED, 7.0))
    )
    assert [course for course, _ in next_on_path(index, preferences)] == ["c"]
    index.withdraw("c")
    assert next_on_path(index, preferences) == ()
