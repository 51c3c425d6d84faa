"""From all that the generators drew to the candidates that the ranker sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.content import Content
from models.recommend.generators import CONTENT, OWN, POPULAR, Drawn
from models.recommend.index import Index
from models.taste import Taste

Repeats = Literal["none", "unfinished", "all"]
"""What a surface may show again: nothing seen before, what is neither bought nor finished, or everything."""

MOST, POPULAR_MOST, OWN_MOST = 150, 20, 80


class Candidates(Struct, frozen=True):
    """The courses that are worth ranking for somebody, and what the generators say of them.

    Attributes:
        drawn: the candidates alone, best by the sum of the generators first.
        total: that sum: each generator's score over its largest, content counting .3.
    """

    drawn: Drawn
    total: NDArray[np.float64]


def allowed(index: Index, taste: Taste, numbers: NDArray[np.int64], repeats: Repeats) -> NDArray[np.bool_]:
    """Return which courses may be shown: not withdrawn, and not what the person has, as far as the surface minds."""
    fit = ~index.gone[numbers]
    if repeats == "all":
        return fit
    without = np.frombuffer(taste.owned if repeats == "unfinished" else taste.seen + taste.owned, "<u4")
    keys = index.keys[numbers]
    maybe = np.zeros(1 << 14, np.bool_)
    maybe[without & 0x3FFF] = True
    hit = np.flatnonzero(maybe[keys & 0x3FFF])
    fit[hit[np.isin(keys[hit], without)]] = False
    return fit


def choose(index: Index, content: Content, taste: Taste, drawn: Drawn, repeats: Repeats) -> Candidates:
    """Keep the best 150 by all generators together, the 20 most popular, and the person's own if they may repeat.

    Of those that are kept, likeness to the person's profile is then worked out in full.
    """
    fit = np.flatnonzero(allowed(index, taste, drawn.numbers, repeats))
    scores = drawn.scores[:, fit]
    keep = _best(_total(scores, repeats), MOST)
    keep[_best(scores[POPULAR], POPULAR_MOST)] = True
    if repeats != "none":
        keep |= (scores[OWN] > 0) & _best(scores[OWN], OWN_MOST)
    drawn = taken(drawn, fit[keep])
    drawn.scores[CONTENT] = content.likeness(drawn.numbers, drawn.profile)
    total = _total(drawn.scores, repeats)
    order = np.argsort(-total, kind="stable")
    return Candidates(taken(drawn, order), total[order])


def _total(scores: NDArray[np.float64], repeats: Repeats) -> NDArray[np.float64]:
    spoken = scores if repeats != "none" else scores[:OWN]
    largest = spoken.max(1, initial=0.0)
    weights = np.where(largest > 0, 1.0 / np.maximum(largest, 1e-300), 0.0)
    weights[CONTENT] *= 0.3
    total: NDArray[np.float64] = weights @ spoken
    return total


def taken(drawn: Drawn, which: NDArray[np.int64]) -> Drawn:
    """Return some of what was drawn."""
    last, visit = drawn.last[:, which], drawn.visit[:, which]
    return Drawn(drawn.numbers[which], drawn.scores[:, which], last, visit, drawn.profile)


def _best(scores: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    best = np.ones(len(scores), np.bool_)
    if len(scores) > most:
        best[:] = False
        best[np.argpartition(-scores, most)[:most]] = True
    return best
