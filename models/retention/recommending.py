"""What a person is told to like next: lists made anew, told when they differ, and carried on what else is said."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec.structs import replace

from models.person.activity import DAY
from models.person.ledger import output_id, pseudonym
from models.person.person import Person
from models.person.preferences import Preferences, Recommendation, person_key
from models.person.rules import Rules
from models.recommend import features
from models.recommend.candidates import Repeats, choose
from models.recommend.examples import ListExample, example, is_drawn
from models.recommend.generators import asked, draw
from models.recommend.lists import is_news
from models.retention.context import Context
from models.schema.outputs import Output, Recommendations, RecommendedCourse

LISTED = 10
"""Courses of a list."""
TOLD = 5
"""Of those, the ones that are remembered as told: alerts carry them, and the next list is compared with them."""
SHARE = 0.25
"""Of the uses, those that the ranker may learn from."""
CARRIED = 3
"""Courses that an alert or a coupon trigger carries."""


def key_for(person: Person, rules: Rules) -> int:
    """Return the key that stands for a person in rows, made of their pseudonym."""
    return person_key(pseudonym(person.id, rules.pseudonym_key))


def is_old(person: Person, at: float) -> bool:
    """Return whether a list is to be made anew although the person did nothing: others did, for a day."""
    return bool(person.preferences.recent) and at - person.preferences.listed_at >= DAY


def relisted(person: Person, at: float, world: Context) -> tuple[Person, tuple[Output, ...]]:
    """Make a person's list anew, as of a moment; tell it if it is news.

    Not part of the fold: the list depends on what the world knows of courses when it is made, not on the person's log
    alone. It changes nothing but what was told. Who never used a course has no list of their own.
    """
    if world.shelf is None or not person.preferences.recent:
        return person, ()
    found = world.shelf.recommend(person.preferences, at, LISTED, key_for(person, world.rules))
    if not found and not person.preferences.last_published:
        return person, ()
    told = found[:TOLD]
    before = [one.course for one in person.preferences.last_published]
    if not is_news(before, [one.course for one in told]):
        return replace(person, preferences=replace(person.preferences, listed_at=at)), ()
    courses = contracted(found)
    cause = f"{at!r} {' '.join(one.course_id for one in courses)}"
    said = Recommendations(
        id=output_id(person.id, "recommendations", cause), user_id=person.id, time=at, courses=courses
    )
    return replace(person, preferences=replace(person.preferences, last_published=told, listed_at=at)), (said,)


def standing(person: Person, world: Context) -> tuple[RecommendedCourse, ...]:
    """Return what was last told, as far as it still may be: neither had by now nor withdrawn."""
    taste, shelf = person.preferences, world.shelf
    kept = [
        one for one in taste.last_published if not taste.owns(one.course) and (shelf is None or shelf.has(one.course))
    ]
    return contracted(kept[:CARRIED])


def contracted(found: Iterable[Recommendation]) -> tuple[RecommendedCourse, ...]:
    """Return recommendations as the contract has them."""
    return tuple(
        RecommendedCourse(course_id=one.course, score=one.score, reason=one.reason, because=one.because)
        for one in found
    )


def is_lesson(taste: Preferences, event_id: str, course: str, repeats: Repeats) -> bool:
    """Return whether the use of a course may teach the ranker: a fixed share of those that a list could foresee."""
    if not taste.recent:
        return False
    if repeats == "none" and (taste.recent[0].course == course or taste.has_seen(course)):  # the usual case
        return False
    return is_drawn(event_id, SHARE) and not (repeats == "unfinished" and taste.owns(course))


def lesson(person: Person, event_id: str, course: str, time: float, world: Context) -> ListExample | None:
    """Make the short list that a use teaches the ranker; none if the course was no candidate.

    Args:
        person: as they were before the use.
        event_id: of the use.
        course: that was used.
        time: of the use, seconds since 1970 UTC.
        world: with a shelf.
    """
    shelf = world.shelf
    if shelf is None:
        return None
    repeats = shelf.surface.repeats
    question = asked(shelf.index, person.preferences, time, key_for(person, world.rules))
    drawn = draw(shelf.index, shelf.content, question)
    candidates = choose(shelf.index, shelf.content, person.preferences, drawn, repeats)
    taken = np.flatnonzero(candidates.drawn.numbers == shelf.index.numbers.get(course, -1))
    if not len(taken):
        return None
    rows = features.rows(shelf.index, candidates, question, repeats)
    return example(output_id(person.id, "lesson", f"event {event_id}"), rows, int(taken[0]), repeats)
