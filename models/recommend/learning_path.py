"""The next course on a learning path: what people who finished a course finish afterwards."""

from __future__ import annotations

from models.person.preferences import COMPLETED, Preferences
from models.recommend.index import Index

MAX_FINISHED, RHO, SHRINKAGE = 5, 0.7, 3.0


def next_courses(index: Index, course: str, n: int = 5) -> tuple[tuple[str, float], ...]:
    """Return the courses that most often follow a finished one, each with its share of all that follow.

    A share is the weight of a course over the sum of weights plus 3. It is close to 0 while few people have gone on.
    """
    steps = index.path.get(index.numbers.get(course, -1), {})
    total = sum(steps.values()) + SHRINKAGE
    shares = {number: weight / total for number, weight in steps.items() if not index.withdrawn[number]}
    best = sorted(shares.items(), key=lambda step: (-step[1], index.names[step[0]]))[:n]
    return tuple((index.names[number], share) for number, share in best)


def next_on_path(index: Index, preferences: Preferences, n: int = 5) -> tuple[tuple[str, float], ...]:
    """Return what a person could finish next, given the last five courses they finished, without finished courses."""
    finished = [recent.course for recent in preferences.recent if recent.strength >= COMPLETED]
    scores: dict[str, float] = {}
    for place, course in enumerate(finished[:MAX_FINISHED]):
        for following, share in next_courses(index, course, 2 * n + len(finished)):
            scores[following] = scores.get(following, 0.0) + RHO**place * share
    for course in finished:
        scores.pop(course, None)
    return tuple(sorted(scores.items(), key=lambda step: (-step[1], step[0]))[:n])
