"""Small worlds of courses and uses that the tests of recommendations share."""

from __future__ import annotations

import numpy as np

from models.person.activity import DAY
from models.person.preferences import Interaction, OtherCourse
from models.recommend.lists import Surface
from models.recommend.similarity import CountingWindow
from streams.evaluation.recommender import Recommender

Use = tuple[str, str, float]
SHELF, WINDOW = Surface(), CountingWindow()


def visits(people: int = 60, courses: int = 40, days: int = 30, seed: int = 3) -> list[Use]:
    """Uses of people who like one of four groups of courses and go through it roughly in order."""
    dice = np.random.default_rng(seed)
    told: list[Use] = []
    for person in range(people):
        group, place = person % 4, int(dice.integers(0, courses // 4))
        for time in np.sort(dice.uniform(0.0, days * DAY, 15)).tolist():
            if dice.random() < 0.2:
                course = int(dice.integers(0, 4))
            else:
                place = (place + int(dice.integers(1, 3))) % (courses // 4)
                course = group + 4 * place
            told.append((f"p{person}", f"c{course}", time))
    return sorted(told, key=lambda use: use[2])


def taught(
    told: list[Use], surface: Surface = SHELF, window: CountingWindow = WINDOW, share: float = 0.0
) -> Recommender:
    """A recommender that has seen uses; its rankers have learned from a share of them."""
    model = Recommender(window, surface, share)
    for course in sorted({course for _, course, _ in told}):
        model.describe(course, {f"group {int(course[1:]) % 4}": 2.0, course: 1.0})
    for user, course, time in told:
        (model.learn_one if share else model.use)(user, course, time)
    return model


def heard(
    course: str, time: float, after: float, *others: OtherCourse, person: int = 1, before: float = 0.0, new: bool = True
) -> Interaction:
    """An interaction of a person with a course."""
    name = f"{person}:{course}:{time}"
    return Interaction(
        id=name, course=course, person=person, time=time, before=before, after=after, new=new, others=others
    )
