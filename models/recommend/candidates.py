"""Candidate selection: from all courses that the generators propose to the candidates that the ranker scores."""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.person.preferences import Preferences
from models.recommend.content import Content
from models.recommend.generators import CONTENT, OWN, POPULAR, GeneratedCourses
from models.recommend.index import Index

Repeats = Literal["none", "unfinished", "all"]
"""What a surface may show again: nothing seen before, seen courses that are neither bought nor finished, or all."""

MAX_CANDIDATES, MAX_POPULAR, MAX_OWN = 150, 20, 80
RARE_USES = 20
"""A course with fewer uses counts as rarely used."""
EXPLORATION_SHARE = 0.5
"""Share of a person's days with an exploration slot. A slot on every day would cost twice as many hits, and half of
the days suffice to show a whole catalogue."""
RANK_SKEW = 30.0
"""How strongly exploration prefers the best rarely used courses. The first of six gets two of three slots."""


class Candidates(Struct, frozen=True):
    """The candidates of a query, for the ranker.

    Attributes:
        generated: the candidates with their generator scores, highest total first.
        total: the sum of each candidate's generator scores, each divided by its maximum; content counts 0.3.
        exploration: number of the rarely used course in the exploration slot, or -1.
    """

    generated: GeneratedCourses
    total: NDArray[np.float64]
    exploration: int


def allowed_mask(
    index: Index, preferences: Preferences, numbers: NDArray[np.int64], repeats: Repeats
) -> NDArray[np.bool_]:
    """Return which courses may be shown: not withdrawn, and not excluded by the setting for repeats."""
    allowed = ~index.withdrawn[numbers]
    if repeats == "all":
        return allowed
    excluded_keys = preferences.owned if repeats == "unfinished" else preferences.seen + preferences.owned
    excluded = np.frombuffer(excluded_keys, "<u4")
    keys = index.keys[numbers]
    possible = np.zeros(1 << 14, np.bool_)  # a small filter, because `isin` is slow
    possible[excluded & 0x3FFF] = True
    hit = np.flatnonzero(possible[keys & 0x3FFF])
    allowed[hit[np.isin(keys[hit], excluded)]] = False
    return allowed


def select_candidates(
    index: Index, content: Content, preferences: Preferences, generated: GeneratedCourses, repeats: Repeats
) -> Candidates:
    """Select the best 150 courses by total score, the 20 most popular, and the person's own if they may repeat.

    Every other day, an exploration course is added: a rarely used course that was generated and is new to the person.
    Courses with a high total are more likely. Popular courses would never make room for one. For the selected courses,
    the content score is then computed in full.
    """
    allowed = np.flatnonzero(allowed_mask(index, preferences, generated.numbers, repeats))
    scores = generated.scores.take(allowed, 1)
    total = _total(scores, repeats)
    keep = _top_mask(total, MAX_CANDIDATES)
    keep[_top_mask(scores[POPULAR], MAX_POPULAR)] = True
    if repeats != "none":
        keep |= (scores[OWN] > 0) & _top_mask(scores[OWN], MAX_OWN)
    rare = np.flatnonzero((index.uses[generated.numbers[allowed]] < RARE_USES) & (scores[OWN] <= 0) & (total > 0))
    exploration = rare[_sample_exploration(total[rare], generated.exploration_draw)]
    keep[exploration] = True
    kept = allowed[keep]
    scores = scores.compress(keep, 1)
    scores[CONTENT] = content.cosines(generated.numbers[kept], generated.profile)
    total = _total(scores, repeats)
    order = np.argsort(-total, kind="stable")
    kept = kept[order]
    selected = GeneratedCourses(
        generated.numbers[kept],
        scores.take(order, 1),
        generated.last.take(kept, 1),
        generated.visit.take(kept, 1),
        generated.profile,
        generated.exploration_draw,
    )
    number = int(generated.numbers[allowed[exploration[0]]]) if len(exploration) else -1
    return Candidates(selected, total[order], number)


def _total(scores: NDArray[np.float64], repeats: Repeats) -> NDArray[np.float64]:
    used = scores if repeats != "none" else scores[:OWN]
    largest = used.max(1, initial=0.0)
    weights = np.where(largest > 0, 1.0 / np.maximum(largest, 1e-300), 0.0)
    weights[CONTENT] *= 0.3
    total: NDArray[np.float64] = weights @ used
    return total


def _sample_exploration(scores: NDArray[np.float64], draw: float) -> NDArray[np.int64]:
    """Return the place of the course for the exploration slot, or no place. Ranks follow Zipf's law over all draws."""
    if not len(scores) or draw >= EXPLORATION_SHARE:
        return np.zeros(0, np.int64)
    rank = int(((1.0 + RANK_SKEW * len(scores)) ** (draw / EXPLORATION_SHARE) - 1.0) / RANK_SKEW)
    return np.argpartition(-scores, rank)[rank : rank + 1]


def _top_mask(scores: NDArray[np.float64], limit: int) -> NDArray[np.bool_]:
    mask = np.ones(len(scores), np.bool_)
    if len(scores) > limit:
        mask[:] = False
        mask[np.argpartition(-scores, limit)[:limit]] = True
    return mask
