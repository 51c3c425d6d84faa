"""What somebody is shown: ranked candidates made into a short, varied list, each with the reason it is there.

Rules: nothing the person has, as far as the surface minds; people without a history get what newcomers use; the last
place goes to a course that few have used yet, so that it can be found at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from zlib import crc32

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models import events as ev
from models.activity import DAY
from models.content import Content
from models.recommend import features, generators
from models.recommend.candidates import Candidates, Repeats, choose
from models.recommend.generators import COSINE, NAMES, SEEDS, Asked, asked, draw
from models.recommend.index import EARLY, IN, OUT, WEEK, Index
from models.taste import COMPLETED, STRENGTHS, Recommendation, Taste

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUGHT = STRENGTHS[ev.Purchase]
RARE = 20
"""Uses below which a course is rarely used."""
IN_TURN = 100
"""Rarely used courses that take turns on a person's last place, the best by their score."""
POOL = 100
"""Best candidates that a varied list is chosen from."""
POPULARITY = "popularity"
HYBRID = "hybrid"
RANKER = "ranker"
METHODS = (*NAMES, HYBRID, RANKER)


class Scores(Protocol):
    """Whatever gives candidates' rows a score."""

    def scores(self, rows: NDArray[np.float32]) -> Floats:
        """Return a score a row."""
        ...


class Surface(Struct, frozen=True, kw_only=True):
    """A place where recommendations stand, and what is wanted there.

    Attributes:
        repeats: what may be shown again.
        method: one of `METHODS`: a generator alone, `hybrid` (their sum), or the `ranker`.
        relevance: between 0 and 1; below 1 a course counts less the more it resembles those above it (MMR).
        rare_place: whether the last place is kept for a rarely used course.
    """

    repeats: Repeats = "none"
    method: str = RANKER
    relevance: float = 1.0
    rare_place: bool = True


class Ranked(Struct, frozen=True):
    """Candidates in the order of their scores."""

    numbers: Ints
    scores: Floats
    candidates: Candidates


def recommend(
    index: Index,
    content: Content,
    taste: Taste,
    now: float,
    n: int = 10,
    surface: Surface = Surface(),  # noqa: B008 - frozen
    ranker: Scores | None = None,
    person: int | None = None,
) -> tuple[Recommendation, ...]:
    """Return at most n courses for a person, best first.

    Args:
        index: all courses as they stand.
        content: what they are about.
        taste: the person's.
        now: the moment asked for, seconds since 1970 UTC.
        n: places on the surface.
        surface: what is wanted there; the hybrid stands in for a ranker that is not there.
        ranker: one for rows with or without repeats, as the surface has it.
        person: their key, to leave them out of their own neighbours.
    """
    question = asked(index, taste, now, person)
    candidates = choose(index, content, taste, draw(index, content, question), surface.repeats)
    ranked = rank(index, candidates, question, surface, ranker)
    chosen = shown(index, content, ranked, n, surface, turn_of(question))
    scores = dict(zip(ranked.numbers.tolist(), ranked.scores.tolist(), strict=True))
    return tuple(
        Recommendation(
            index.names[number], round(scores[number], 6), *_reason(index, taste, candidates, question, number)
        )
        for number in chosen.tolist()
    )


def rank(index: Index, candidates: Candidates, question: Asked, surface: Surface, ranker: Scores | None) -> Ranked:
    """Order candidates by what the surface wants; a generator alone leaves out what it says nothing of."""
    numbers = candidates.drawn.numbers
    if not len(question.recent):
        scores = index.popularity(numbers, EARLY, question.now) + 0.1 * index.popularity(numbers, WEEK, question.now)
    elif surface.method == RANKER and ranker is not None:
        scores = ranker.scores(features.rows(index, candidates, question, surface.repeats))
    elif surface.method in NAMES:
        scores = candidates.drawn.scores[NAMES.index(surface.method)]
        spoken = np.flatnonzero(scores > 0)
        order = spoken[np.argsort(-scores[spoken], kind="stable")]
        return Ranked(numbers[order], scores[order], candidates)
    else:
        scores = candidates.total
    order = np.argsort(-scores, kind="stable")
    return Ranked(numbers[order], scores[order], candidates)


def shown(index: Index, content: Content, ranked: Ranked, n: int, surface: Surface, turn: int = 0) -> Ints:
    """Choose the n courses that are shown, in order; the turn says which of the best rarely used ones has its day."""
    numbers = ranked.numbers
    if surface.relevance < 1.0:
        numbers = varied(content, numbers[:POOL], ranked.scores[:POOL], n, surface.relevance)
    best = numbers[:n]
    if not surface.rare_place or len(best) < n:
        return best
    rest = ranked.numbers[~np.isin(ranked.numbers, best[:-1])]
    rare = rest[index.uses[rest] < RARE][:IN_TURN]
    return np.append(best[:-1], rare[turn % len(rare)]) if len(rare) else best


def turn_of(question: Asked) -> int:
    """Return a number that is the same for a person all day, and another one tomorrow and for others."""
    return crc32(f"{question.person}:{int(question.now // DAY)}".encode())


def is_news(before: Sequence[str], now: Sequence[str], least: float = 0.3) -> bool:
    """Return whether a list differs enough from the one last told to be told: another first course, or many new ones.

    Examples:
        >>> is_news(["a", "b", "c", "d"], ["a", "c", "b", "e"]), is_news(["a", "b", "c"], ["b", "a", "c"])
        (False, True)
    """
    if list(before[:1]) != list(now[:1]):
        return True
    new = set(now) - set(before)
    return len(new) >= max(1.0, least * len(now))


def varied(content: Content, numbers: Ints, scores: Floats, n: int, relevance: float) -> Ints:
    """Choose courses that are good and unlike each other: maximal marginal relevance (Carbonell & Goldstein 1998)."""
    if not len(numbers):
        return numbers
    spread = float(scores.max() - scores.min())
    gain = relevance * (scores - scores.min()) / (spread or 1.0)
    alike = content.alike(numbers)
    nearest = np.zeros(len(numbers))
    chosen: list[int] = []
    for _ in range(min(n, len(numbers))):
        value = gain - (1.0 - relevance) * nearest
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        nearest = np.maximum(nearest, alike[chosen[-1]])
    return numbers[chosen]


def _reason(index: Index, taste: Taste, candidates: Candidates, question: Asked, number: int) -> tuple[str, str | None]:
    """Say why a course is shown: by the generator that speaks for it most, and the person's course behind that."""
    drawn = candidates.drawn
    place = int(np.flatnonzero(drawn.numbers == number)[0])
    said = drawn.scores[:, place] / np.maximum(drawn.scores.max(1), 1e-300)
    if said[generators.OWN] > 0:
        return "you come back to it", None
    seed = _seed(index, question, number)
    if seed is not None and said[COSINE : generators.CONTENT].max() > 0:
        because = index.names[int(question.recent[seed])]
        strength = next(recent.strength for recent in taste.recent if recent.course == because)
        verb = "finished" if strength >= COMPLETED else "bought" if strength >= BOUGHT else "used"
        return f"because you {verb} {because}", because
    if said[generators.PEOPLE] > 0:
        return "people like you use it", None
    if said[generators.CONTENT] > 0 and said[generators.CONTENT] >= said[generators.POPULAR]:
        return "like what you use", None
    return ("popular this week" if len(question.recent) else "a good start for many"), None


def _seed(index: Index, question: Asked, number: int) -> int | None:
    """Return the place of the person's newest courses' one that goes best with a course."""
    seeds = question.recent[:SEEDS]
    hits = index.near[seeds] == number
    places, slots = np.nonzero(hits)
    if not len(places):
        return None
    together = index.weight[seeds[places], IN, slots] + index.weight[seeds[places], OUT, slots]
    weights = together * 0.9**places / np.sqrt(index.mass[seeds[places]] + 1.0)
    return int(places[weights.argmax()])
