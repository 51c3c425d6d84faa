"""A catalogue of thirty courses from the first day on: lists have full length and correct courses."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import get_args

import pytest

from models.person.activity import DAY
from models.person.preferences import Preferences, fold_interaction, person_key
from models.recommend.candidates import Repeats
from models.recommend.catalogue import Catalogue
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.schema import events as ev
from streams.evaluation.recommender import Recommender
from tests.models.course_uses import make_visits, train_recommender

COURSES, WITHDRAWN = [f"c{number}" for number in range(30)], {"c1", "c29"}


@lru_cache
def small_platform(uses: int, used: int) -> tuple[Catalogue, dict[str, Preferences], float]:
    """Return a catalogue of thirty courses, of which only the first `used` have uses. Two were withdrawn at the end."""
    dice, catalogue, now = random.Random(uses), Catalogue(), 0.0
    rows: dict[str, CooccurrenceRow] = {}
    people: dict[str, Preferences] = {"nobody yet": Preferences()}
    for course in COURSES:
        catalogue.on_course_event(
            ev.CoursePublished(id=course, course_id=course, time=0.0, title=f"all about {course}")
        )
    for use in range(uses):
        now += 10_000 * dice.random()
        person, course = f"p{dice.randrange(30)}", f"c{dice.randrange(used)}"
        kind = dice.choice([ev.CourseView, ev.CourseView, ev.CourseCompleted])
        event = kind(id=str(use), user_id=person, time=now, course_id=course)
        people[person], interaction = fold_interaction(people.get(person, Preferences()), event, person_key(person))
        if interaction is not None:
            rows[course] = update_row(rows.get(course, CooccurrenceRow(course)), interaction, CountingWindow())
            catalogue.update_row(rows[course])
    for course in WITHDRAWN:
        catalogue.on_course_event(ev.CourseWithdrawn(id=f"no {course}", course_id=course, time=now))
    return catalogue, people, now


@pytest.mark.parametrize("repeats", get_args(Repeats))
@pytest.mark.parametrize(("uses", "used"), [(0, 1), (3, 2), (300, 5), (300, 30), (3_000, 30)])
def test_a_list_is_as_long_as_it_can_be(uses: int, used: int, repeats: Repeats) -> None:
    """With few or no uses, each allowed course is listed once, and no course that is withdrawn or excluded."""
    catalogue, people, now = small_platform(uses, used)
    for name, preferences in people.items():
        had = {
            course
            for course in COURSES
            if preferences.owns(course) or (repeats == "none" and preferences.has_seen(course))
        }
        allowed = set(COURSES) - WITHDRAWN - (set() if repeats == "all" else had)
        for places in (1, 3, 10, 40):
            for day in range(3):
                found = catalogue.recommend(preferences, now + day * DAY, places, person_key(name), repeats)
                listed = [one.course for one in found]
                assert len(listed) == len(set(listed)) == min(places, len(allowed))
                assert set(listed) <= allowed


def test_an_unused_course_has_the_reason_new() -> None:
    """The reason does not say that it is popular, or that others began with it."""
    catalogue, _, _ = small_platform(0, 1)
    assert {one.reason for one in catalogue.recommend(Preferences(), 0.0, 10)} == {"new in the catalogue"}
    catalogue, people, now = small_platform(300, 5)
    reasons = {one.course: one.reason for one in catalogue.recommend(people["p1"], now, 40)}
    assert reasons["c20"] == "new in the catalogue"


def test_used_courses_come_before_unused_ones() -> None:
    """Unused courses only fill the end of a list."""
    catalogue, people, now = small_platform(300, 5)
    listed = [one.course for one in catalogue.recommend(people["nobody yet"], now, 10)]
    assert set(listed[:4]) == {"c0", "c2", "c3", "c4"}


def test_a_small_catalogue_is_learned() -> None:
    """The first five courses have more hits than the five most popular ones."""
    history = make_visits(people=80, courses=28)
    late = [use for use in history if use[2] > 20 * DAY]
    model: Recommender = train_recommender(history[: -len(late)], share=1.0)
    hits = popular = tests = 0
    for user, course, time in late:
        preferences = model.preferences.get(user, Preferences())
        if preferences.recent and not preferences.has_seen(course):
            tests += 1
            hits += course in {one.course for one in model.recommend(user, time, 5)}
            unseen = [name for name in model.rows if not preferences.has_seen(name)]
            popular += course in sorted(unseen, key=lambda name: -model.rows[name].uses)[:5]
        model.learn_one(user, course, time)
    assert tests > 60
    assert hits > 1.2 * popular
