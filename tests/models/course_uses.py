"""Courses and their uses that tests of recommendations share."""

from __future__ import annotations

import numpy as np

from models.person.activity import DAY
from models.person.preferences import Interaction, OtherCourse
from models.recommend.cooccurrence import CountingWindow
from models.recommend.lists import Surface
from streams.evaluation.recommender import Recommender

UseRow = tuple[str, str, float]
SURFACE, WINDOW = Surface(), CountingWindow()


def make_visits(people: int = 60, courses: int = 40, days: int = 30, seed: int = 3) -> list[UseRow]:
    """Generate uses by people who like one of four groups of courses and take it roughly in order."""
    rng = np.random.default_rng(seed)
    uses: list[UseRow] = []
    for person in range(people):
        group, place = person % 4, int(rng.integers(0, courses // 4))
        for time in np.sort(rng.uniform(0.0, days * DAY, 15)).tolist():
            if rng.random() < 0.2:
                course = int(rng.integers(0, 4))
            else:
                place = (place + int(rng.integers(1, 3))) % (courses // 4)
                course = group + 4 * place
            uses.append((f"p{person}", f"c{course}", time))
    return sorted(uses, key=lambda use: use[2])


def train_recommender(
    uses: list[UseRow], surface: Surface = SURFACE, window: CountingWindow = WINDOW, share: float = 0.0
) -> Recommender:
    """Train a recommender on uses; its rankers learn from a share of them."""
    model = Recommender(window, surface, share)
    for course in sorted({course for _, course, _ in uses}):
        model.describe(course, {f"group {int(course[1:]) % 4}": 2.0, course: 1.0})
    for user, course, time in uses:
        (model.learn_one if share else model.use)(user, course, time)
    return model


def make_interaction(
    course: str, time: float, after: float, *others: OtherCourse, person: int = 1, before: float = 0.0, new: bool = True
) -> Interaction:
    """Make an interaction of a person with a course."""
    name = f"{person}:{course}:{time}"
    return Interaction(
        id=name, course=course, person=person, time=time, before=before, after=after, new=new, others=others
    )
