"""Recommendation lists: published when they change, stored, carried by other outputs, without owned courses."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec.structs import replace

from models.person.person import Person
from models.person.preferences import Preferences, RecentCourse, course_key
from models.recommend.catalogue import Catalogue
from models.retention.context import Context
from models.retention.recommendations import MAX_REMEMBERED, current_recommendations, is_list_stale, make_training_list
from models.schema import events as ev
from streams.kafka import topics
from tests.models.course_uses import make_visits, train_recommender
from tests.models.people import DAY, NOON, make_context
from tests.streams.processor_harness import ProcessorHarness, record

HISTORY = make_visits(people=80)
LAST = HISTORY[-1][2]


def catalogue() -> Catalogue:
    """A catalogue with all courses that the visitors of a small platform have used."""
    model, known = train_recommender(HISTORY), Catalogue()
    for row in model.rows.values():
        known.update_row(row)
    return known


def after(*courses: str) -> Context:
    return replace(make_context(), catalogue=catalogue())


def used(course: str, number: int = 0) -> ev.CourseView:
    return ev.CourseView(id=f"view {number}", user_id="Ada", time=NOON + number, course_id=course)


def lists(harness: ProcessorHarness) -> list[dict[str, Any]]:
    return [orjson.loads(output.value or b"") for output in harness.outputs if output.topic == topics.RECOMMENDATIONS]


def refresh(harness: ProcessorHarness) -> bool:
    published = harness.processor.refresh_recommendations(b"Ada")
    harness.commit_all()
    return published


def test_a_list_is_published_when_it_changes() -> None:
    """An equal list is not published again; another use changes it. It contains no course of the user."""
    harness = ProcessorHarness(context=after())
    harness.process(record(used("c4"), 0))
    assert (refresh(harness), refresh(harness)) == (True, False)
    (published,) = lists(harness)
    assert published["user_id"] == "Ada"
    assert "c4" not in {one["course_id"] for one in published["courses"]}
    harness.process(record(used("c1", 1), 1), record(used("c5", 2), 2), record(used("c9", 3), 3))
    assert refresh(harness)
    assert len({one["id"] for one in lists(harness)}) == 2


def test_without_a_catalogue_nothing_is_published() -> None:
    """The worker has no courses to recommend."""
    harness = ProcessorHarness(context=make_context())
    harness.process(record(used("c4"), 0))
    assert not refresh(harness)
    assert harness.users.get(b"Ada").person.preferences.last_published == ()


def test_a_list_survives_a_restart() -> None:
    """The published list is part of the user's state. After a recovery an equal list is not published again."""
    harness = ProcessorHarness(context=after())
    harness.process(record(used("c4"), 0))
    assert refresh(harness)
    again = ProcessorHarness(harness.changelog, context=after())
    assert len(again.users.get(b"Ada").person.preferences.last_published) == MAX_REMEMBERED
    assert not refresh(again)


def test_carried_courses_are_those_still_recommended() -> None:
    """The published courses, without those that the user got or that were withdrawn since."""
    harness = ProcessorHarness(context=after())
    harness.process(record(used("c4"), 0))
    refresh(harness)
    person = harness.users.get(b"Ada").person
    known = catalogue()
    first, second, third, *_ = (one.course for one in person.preferences.last_published)
    assert [one.course_id for one in current_recommendations(person, after())] == [first, second, third]
    known.index.withdraw(second)
    harness.process(record(ev.Purchase(id="b", user_id="Ada", time=NOON + 9, amount=9.0, course_id=first), 1))
    person = harness.users.get(b"Ada").person
    carried = [one.course_id for one in current_recommendations(person, replace(make_context(), catalogue=known))]
    assert carried[0] == third
    assert not {first, second} & set(carried)


def test_an_erased_user_has_no_list() -> None:
    """The record on the topic is deleted, and no new list is computed."""
    harness = ProcessorHarness(context=after())
    harness.process(record(used("c4"), 0))
    refresh(harness)
    harness.process(record(ev.ErasureRequested(id="x", user_id="Ada", time=NOON + 9), 1))
    harness.commit_all()
    values = [one.value for one in harness.outputs if one.topic == topics.RECOMMENDATIONS]
    assert values[-1] is None
    assert not refresh(harness)


def test_a_list_becomes_old_for_users_with_preferences() -> None:
    """A day after it was computed. A user who never used a course gets no list."""
    person = Person("Ada", preferences=Preferences((RecentCourse("c4", 1.0, NOON),), listed_at=NOON))
    assert (
        is_list_stale(person, NOON + DAY - 1),
        is_list_stale(person, NOON + DAY),
        is_list_stale(Person("Bob"), NOON),
    ) == (
        False,
        True,
        False,
    )


def test_an_example_contains_the_candidates_of_a_list() -> None:
    """The used course is first among the candidates. A course that was no candidate gives no example."""
    person = Person("Ada", preferences=Preferences((RecentCourse("c4", 1.0, LAST),), course_key("c4"), courses=1))
    found = [make_training_list(person, "e", f"c{number}", LAST + 60, after()) for number in range(40)]
    examples = [one for one in found if one is not None]
    assert examples
    assert found[4] is None
    assert make_training_list(person, "e", "unheard of", LAST + 60, after()) is None
    assert all(len(one.unpack()) <= 21 for one in examples)
    assert len({one.rows for one in examples}) == len(examples)
