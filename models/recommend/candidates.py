"""From all that the generators drew to the candidates that the ranker sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.person.preferences import Preferences
from models.recommend.content import Content
from models.recommend.generators import CONTENT, OWN, POPULAR, Generated
from models.recommend.index import Index

Repeats = Literal["none", "unfinished", "all"]
"""What a surface may show again: nothing seen before, what is neither bought nor finished, or everything."""

MOST, POPULAR_MOST, OWN_MOST = 150, 20, 80
RARE = 20
"""Uses below which a course is rarely used."""
GUESTS = 0.5
"""Share of a person's days on which a rarely used course is their guest. Every day would cost twice as many hits, and
a catalogue is shown whole on half of them."""
LEANING = 30.0
"""How much the best of the rarely used is preferred to the others: the first of six gets two turns of three."""


class Candidates(Struct, frozen=True):
    """The courses that are worth ranking for somebody, and what the generators say of them.

    Attributes:
        drawn: the candidates alone, best by the sum of the generators first.
        total: that sum: each generator's score over its largest, content counting .3.
        guest: number of the rarely used course whose turn it is; -1 if it is nobody's.
    """

    drawn: Generated
    total: NDArray[np.float64]
    guest: int


def allowed(index: Index, taste: Preferences, numbers: NDArray[np.int64], repeats: Repeats) -> NDArray[np.bool_]:
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


def choose(index: Index, content: Content, taste: Preferences, drawn: Generated, repeats: Repeats) -> Candidates:
    """Keep the best 150 by all generators together, the 20 most popular, and the person's own if they may repeat.

    With them comes, every other day, a guest: one of the rarely used courses that were drawn and are new to the person,
    the likelier the better it stands. The popular ones would never let it in, however many people it is drawn for. Of
    those that are kept, likeness to the person's profile is then worked out in full.
    """
    fit = np.flatnonzero(allowed(index, taste, drawn.numbers, repeats))
    scores = drawn.scores.take(fit, 1)
    total = _total(scores, repeats)
    keep = _best(total, MOST)
    keep[_best(scores[POPULAR], POPULAR_MOST)] = True
    if repeats != "none":
        keep |= (scores[OWN] > 0) & _best(scores[OWN], OWN_MOST)
    rare = np.flatnonzero((index.uses[drawn.numbers[fit]] < RARE) & (scores[OWN] <= 0) & (total > 0))
    guest = rare[_in_turn(total[rare], drawn.turn)]
    keep[guest] = True
    kept = fit[keep]
    scores = scores.compress(keep, 1)
    scores[CONTENT] = content.likeness(drawn.numbers[kept], drawn.profile)
    total = _total(scores, repeats)
    order = np.argsort(-total, kind="stable")
    kept = kept[order]
    chosen = Generated(
        drawn.numbers[kept],
        scores.take(order, 1),
        drawn.last.take(kept, 1),
        drawn.visit.take(kept, 1),
        drawn.profile,
        drawn.turn,
    )
    return Candidates(chosen, total[order], int(drawn.numbers[fit[guest[0]]]) if len(guest) else -1)


def _total(scores: NDArray[np.float64], repeats: Repeats) -> NDArray[np.float64]:
    spoken = scores if repeats != "none" else scores[:OWN]
    largest = spoken.max(1, initial=0.0)
    weights = np.where(largest > 0, 1.0 / np.maximum(largest, 1e-300), 0.0)
    weights[CONTENT] *= 0.3
    total: NDArray[np.float64] = weights @ spoken
    return total


def _in_turn(scores: NDArray[np.float64], turn: float) -> NDArray[np.int64]:
    """Return the place of the one whose turn it is, or no place: over all turns, ranks are drawn by Zipf's law."""
    if not len(scores) or turn >= GUESTS:
        return np.zeros(0, np.int64)
    rank = int(((1.0 + LEANING * len(scores)) ** (turn / GUESTS) - 1.0) / LEANING)
    return np.argpartition(-scores, rank)[rank : rank + 1]


def _best(scores: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    best = np.ones(len(scores), np.bool_)
    if len(scores) > most:
        best[:] = False
        best[np.argpartition(-scores, most)[:most]] = True
    return best
