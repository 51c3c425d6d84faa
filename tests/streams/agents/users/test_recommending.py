"""Lists are made beside the fold: told when they are news, remembered, carried on, and never what the person has."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec.structs import replace

from models.person.person import Person
from models.person.preferences import Preferences, RecentCourse, course_key
from models.recommend.catalogue import Catalogue
from models.retention.context import Context
from models.retention.recommending import TOLD, is_old, lesson, standing
from models.schema import events as ev
from streams.kafka import topics
from tests.models.course_uses import make_visits, train_recommender
from tests.models.people import DAY, NOON, make_context
from tests.streams.processor_harness import ProcessorHarness, record

HISTORY = make_visits(people=80)
LAST = HISTORY[-1][2]


def shelf() -> Catalogue:
    """Everything that the visitors of a small world have used."""
    model, known = train_recommender(HISTORY), Catalogue()
    for row in model.rows.values():
        known.put(row)
    return known


def after(*courses: str) -> Context:
    return replace(make_context(), shelf=shelf())


def used(course: str, number: int = 0) -> ev.CourseView:
    return ev.CourseView(id=f"view {number}", user_id="Ada", time=NOON + number, course_id=course)


def lists(station: ProcessorHarness) -> list[dict[str, Any]]:
    return [orjson.loads(said.value or b"") for said in station.outputs if said.topic == topics.RECOMMENDATIONS]


def listed(station: ProcessorHarness) -> bool:
    told = station.processor.refresh_recommendations(b"Ada")
    station.commit_all()
    return told


def test_a_list_is_told_when_it_is_news() -> None:
    """And not again while it is the same; another use makes another one. None of the courses is the person's."""
    station = ProcessorHarness(context=after())
    station.process(record(used("c4"), 0))
    assert (listed(station), listed(station)) == (True, False)
    (told,) = lists(station)
    assert told["user_id"] == "Ada"
    assert "c4" not in {one["course_id"] for one in told["courses"]}
    station.process(record(used("c1", 1), 1), record(used("c5", 2), 2), record(used("c9", 3), 3))
    assert listed(station)
    assert len({one["id"] for one in lists(station)}) == 2


def test_without_a_shelf_nothing_is_told() -> None:
    """A worker that recommends nothing, and a person of whom nothing is known to like."""
    station = ProcessorHarness(context=make_context())
    station.process(record(used("c4"), 0))
    assert not listed(station)
    assert station.users.get(b"Ada").person.preferences.last_published == ()


def test_a_list_survives_a_restart() -> None:
    """What was told is part of the person: after a recovery the same list is no news."""
    station = ProcessorHarness(context=after())
    station.process(record(used("c4"), 0))
    assert listed(station)
    again = ProcessorHarness(station.changelog, context=after())
    assert len(again.users.get(b"Ada").person.preferences.last_published) == TOLD
    assert not listed(again)


def test_what_is_carried_is_what_stands() -> None:
    """What was told, without what the person got since and what was withdrawn since."""
    station = ProcessorHarness(context=after())
    station.process(record(used("c4"), 0))
    listed(station)
    person = station.users.get(b"Ada").person
    known = shelf()
    first, second, third, *_ = (one.course for one in person.preferences.last_published)
    assert [one.course_id for one in standing(person, after())] == [first, second, third]
    known.index.withdraw(second)
    station.process(record(ev.Purchase(id="b", user_id="Ada", time=NOON + 9, amount=9.0, course_id=first), 1))
    person = station.users.get(b"Ada").person
    carried = [one.course_id for one in standing(person, replace(make_context(), shelf=known))]
    assert carried[0] == third
    assert not {first, second} & set(carried)


def test_who_is_forgotten_has_no_list() -> None:
    """The topic's record is taken back, and none is made anew."""
    station = ProcessorHarness(context=after())
    station.process(record(used("c4"), 0))
    listed(station)
    station.process(record(ev.ErasureRequested(id="x", user_id="Ada", time=NOON + 9), 1))
    station.commit_all()
    said = [one.value for one in station.outputs if one.topic == topics.RECOMMENDATIONS]
    assert said[-1] is None
    assert not listed(station)


def test_a_list_grows_old_for_those_who_have_a_taste() -> None:
    """A day after it was made; nobody makes one for people who never used a course."""
    person = Person("Ada", preferences=Preferences((RecentCourse("c4", 1.0, NOON),), listed_at=NOON))
    assert (is_old(person, NOON + DAY - 1), is_old(person, NOON + DAY), is_old(Person("Bob"), NOON)) == (
        False,
        True,
        False,
    )


def test_a_lesson_is_what_the_ranker_would_have_been_asked() -> None:
    """The course that was used stands first among the candidates there were; one that was none teaches nothing."""
    person = Person("Ada", preferences=Preferences((RecentCourse("c4", 1.0, LAST),), course_key("c4"), courses=1))
    found = [lesson(person, "e", f"c{number}", LAST + 60, after()) for number in range(40)]
    lessons = [one for one in found if one is not None]
    assert lessons
    assert found[4] is None
    assert lesson(person, "e", "unheard of", LAST + 60, after()) is None
    assert all(len(one.unpacked()) <= 21 for one in lessons)
    assert len({one.rows for one in lessons}) == len(lessons)
