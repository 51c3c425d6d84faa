"""The courses agent, its changelog and the course view give the similarities of the reference `ItemSimilarity`."""

from __future__ import annotations

import random

import pytest

from models.person.activity import DAY
from models.person.preferences import STRENGTHS, Interaction, Preferences, RecentCourse, fold_use, person_key
from models.recommend.catalogue import Catalogue
from models.recommend.cooccurrence import CountingWindow
from models.recommend.generators import COSINE, generate, make_query
from models.recommend.item_similarity import ItemSimilarity
from streams.agents.courses.view import GlobalCourseView
from streams.clock import TimeBudget
from streams.kafka import topics
from streams.metrics import Metrics
from streams.settings import Settings
from tests.streams.agents.courses.test_agent import Agent, record
from tests.streams.doubles import Record

Use = tuple[str, str, float, float]
CHUNK = 50


def random_uses(dice: random.Random, count: int = 600, users: int = 25, courses: int = 20) -> list[Use]:
    """Return uses in order of time as user, course, time and strength; some courses are more popular than others."""
    time, uses, strengths = 0.0, [], sorted(set(STRENGTHS.values()))
    for _ in range(count):
        time += dice.expovariate(1.0 / (0.2 * DAY))
        course = f"c{int(courses * dice.random() ** 2)}"
        uses.append((f"u{dice.randrange(users)}", course, time, dice.choice(strengths)))
    return uses


def interactions_of(uses: list[Use]) -> list[Interaction]:
    """Return the interactions that the users agent sends for these uses."""
    preferences: dict[str, Preferences] = {}
    interactions = []
    for number, (user, course, time, strength) in enumerate(uses):
        before = preferences.get(user, Preferences())
        preferences[user], interaction = fold_use(before, f"i{number}", course, person_key(user), time, strength)
        if interaction is not None:
            interactions.append(interaction)
    return interactions


def as_delivered(interactions: list[Interaction], dice: random.Random) -> list[Interaction]:
    """Return interactions as Kafka delivers them from several partitions: slightly out of order, some of them twice."""
    keyed = [(place + dice.uniform(0, 20), one) for place, one in enumerate(interactions)]
    keyed += [(place + dice.uniform(20, 40), one) for place, one in enumerate(interactions) if dice.random() < 0.2]
    return [one for _, one in sorted(keyed, key=lambda pair: pair[0])]


def catalogue_of(agent: Agent, interactions: list[Interaction]) -> Catalogue:
    """Let the agent process interactions in chunks, and a course view read the changelog after each chunk."""
    view, read = GlobalCourseView(Settings(), Metrics()), 0
    for start in range(0, len(interactions), CHUNK):
        chunk = interactions[start : start + CHUNK]
        agent.process(*(record(start + place, one) for place, one in enumerate(chunk)))
        agent.courses.flush()
        agent.acknowledge()
        for key, value in agent.changelog[read:]:
            view.on_record(Record(topics.ROWS, 0, read, 0, key, value))
            read += 1
        assert not view.index_rows(TimeBudget(float("inf")))
    return view.catalogue


def served_similarities(catalogue: Catalogue, course: str, now: float) -> dict[str, float]:
    """Return what the `cosine` generator gives a user of one course, for every other course with a value."""
    user = Preferences((RecentCourse(course, 1.0, now, now),))
    generated = generate(catalogue.index, catalogue.content, make_query(catalogue.index, user, now))
    scores = zip(generated.numbers.tolist(), generated.scores[COSINE].tolist(), strict=True)
    return {catalogue.index.names[number]: score for number, score in scores if score}


@pytest.mark.parametrize("seed", range(6))
def test_production_gives_the_similarities_of_the_reference(seed: int) -> None:
    """Also with duplicates, and with interactions out of order. The index holds float32 values."""
    dice = random.Random(seed)
    uses = random_uses(dice)
    reference = ItemSimilarity(CountingWindow(), shrinkage=1.0, exponent=0.5)
    for user, course, time, strength in uses:
        reference.learn_one(user, course, time, strength)
    catalogue = catalogue_of(Agent(), as_delivered(interactions_of(uses), dice))
    assert len(reference.rows) == 20
    for course in reference.rows:
        expected = {other: value for other, value in reference.similarities(course).items() if value}
        assert len(expected) > 10
        assert served_similarities(catalogue, course, uses[-1][2]) == pytest.approx(expected, rel=1e-5)
