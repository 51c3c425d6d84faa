"""A person's published recommendations: when a list is computed, when it is published, and what alerts carry of it."""

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
from models.recommend.candidates import Repeats, select_candidates
from models.recommend.examples import ListExample, is_sampled, make_list_example
from models.recommend.generators import generate, make_query
from models.recommend.lists import differs_enough
from models.retention.context import Context
from models.schema.outputs import Output, Recommendations, RecommendedCourse

LIST_LENGTH = 10
"""Courses in a published list."""
MAX_REMEMBERED = 5
"""Courses of a list that are remembered. Alerts carry them, and the next list is compared with them."""
TRAINING_SHARE = 0.25
"""Share of the uses that the ranker may learn from."""
MAX_IN_ALERT = 3
"""Courses that an alert or a coupon trigger carries."""


def key_for(person: Person, rules: Rules) -> int:
    """Return the key of a person in course rows, computed from the pseudonym."""
    return person_key(pseudonym(person.id, rules.pseudonym_key))


def is_list_stale(person: Person, at: float) -> bool:
    """Return whether a list is a day old, so that it is computed again even if the person did nothing."""
    return bool(person.preferences.recent) and at - person.preferences.listed_at >= DAY


def refresh_list(person: Person, at: float, context: Context) -> tuple[Person, tuple[Output, ...]]:
    """Compute a person's list as of a moment, and return it as an output if it differs enough from the last one.

    This is not part of `step`: the list depends on the catalogue at this moment, not on the person's events alone. Only
    `last_published` and `listed_at` change. A person who never used a course has no list.
    """
    if context.catalogue is None or not person.preferences.recent:
        return person, ()
    found = context.catalogue.recommend(person.preferences, at, LIST_LENGTH, key_for(person, context.rules))
    if not found and not person.preferences.last_published:
        return person, ()
    remembered = found[:MAX_REMEMBERED]
    before = [one.course for one in person.preferences.last_published]
    if not differs_enough(before, [one.course for one in remembered]):
        return replace(person, preferences=replace(person.preferences, listed_at=at)), ()
    courses = to_output(found)
    cause = f"{at!r} {' '.join(one.course_id for one in courses)}"
    output = Recommendations(
        id=output_id(person.id, "recommendations", cause), user_id=person.id, time=at, courses=courses
    )
    return replace(person, preferences=replace(person.preferences, last_published=remembered, listed_at=at)), (output,)


def current_recommendations(person: Person, context: Context) -> tuple[RecommendedCourse, ...]:
    """Return the last published courses, without those that the person owns now and those withdrawn since."""
    preferences, catalogue = person.preferences, context.catalogue
    kept = [
        one
        for one in preferences.last_published
        if not preferences.owns(one.course) and (catalogue is None or catalogue.is_available(one.course))
    ]
    return to_output(kept[:MAX_IN_ALERT])


def to_output(found: Iterable[Recommendation]) -> tuple[RecommendedCourse, ...]:
    """Return recommendations in the form of the output schema."""
    return tuple(
        RecommendedCourse(course_id=one.course, score=one.score, reason=one.reason, because=one.because)
        for one in found
    )


def is_training_use(preferences: Preferences, event_id: str, course: str, repeats: Repeats) -> bool:
    """Return whether the ranker may learn from a use: a fixed share of those that a list could have predicted."""
    if not preferences.recent:
        return False
    if repeats == "none" and (preferences.recent[0].course == course or preferences.has_seen(course)):  # usual case
        return False
    return is_sampled(event_id, TRAINING_SHARE) and not (repeats == "unfinished" and preferences.owns(course))


def make_training_list(person: Person, event_id: str, course: str, time: float, context: Context) -> ListExample | None:
    """Return the short list that a use teaches the ranker; None if the course was no candidate.

    Args:
        person: before the use.
        event_id: id of the use.
        course: the course that was used.
        time: time of the use, seconds since 1970 UTC.
        context: with a catalogue.
    """
    catalogue = context.catalogue
    if catalogue is None:
        return None
    repeats = catalogue.surface.repeats
    query = make_query(catalogue.index, person.preferences, time, key_for(person, context.rules))
    generated = generate(catalogue.index, catalogue.content, query)
    candidates = select_candidates(catalogue.index, catalogue.content, person.preferences, generated, repeats)
    taken = np.flatnonzero(candidates.generated.numbers == catalogue.index.numbers.get(course, -1))
    if not len(taken):
        return None
    rows = features.rows(catalogue.index, candidates, query, repeats)
    return make_list_example(output_id(person.id, "lesson", f"event {event_id}"), rows, int(taken[0]), repeats)
