"""The next course on a learning path: what people who finished one go on to finish."""

from __future__ import annotations

from models.person.preferences import COMPLETED, Preferences
from models.recommend.index import Index

DONE, RHO, SHRINKAGE = 5, 0.7, 3.0


def after(index: Index, course: str, n: int = 5) -> tuple[tuple[str, float], ...]:
    """Return the courses that follow a finished one most often, with their share of all that follow it.

    The shares lean towards 0 while few people have gone on: each is its weight over the sum of weights plus 3.
    """
    steps = index.path.get(index.numbers.get(course, -1), {})
    whole = sum(steps.values()) + SHRINKAGE
    shares = {number: weight / whole for number, weight in steps.items() if not index.gone[number]}
    best = sorted(shares.items(), key=lambda step: (-step[1], index.names[step[0]]))[:n]
    return tuple((index.names[number], share) for number, share in best)


def next_on_path(index: Index, taste: Preferences, n: int = 5) -> tuple[tuple[str, float], ...]:
    """Return what a person could finish next, from the last five courses they finished; never one they finished."""
    done = [recent.course for recent in taste.recent if recent.strength >= COMPLETED]
    scores: dict[str, float] = {}
    for place, course in enumerate(done[:DONE]):
        for following, share in after(index, course, 2 * n + len(done)):
            scores[following] = scores.get(following, 0.0) + RHO**place * share
    for course in done:
        scores.pop(course, None)
    return tuple(sorted(scores.items(), key=lambda step: (-step[1], step[0]))[:n])
