"""What somebody is shown: ranked candidates made into a short, varied list, each with the reason it is there.

Rules: nothing the person has, as far as the surface minds; people without a history get what newcomers use; the last
place of a list goes every other day to a course that few have used yet, so that it can be found at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.person.preferences import COMPLETED, STRENGTHS, Preferences, Recommendation
from models.recommend import features
from models.recommend.candidates import Candidates, Repeats, choose
from models.recommend.content import Content
from models.recommend.generators import CONTENT, COSINE, NAMES, OWN, PEOPLE, POPULAR, SEEDS, Query, asked, draw
from models.recommend.index import EARLY, IN, OUT, WEEK, Index
from models.schema import events as ev

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUGHT = STRENGTHS[ev.Purchase]
FEW = 5
"""Places below which a list keeps none for a rarely used course."""
POOL = 100
"""Best candidates that a varied list is chosen from."""
POPULARITY = "popularity"
HYBRID = "hybrid"
RANKER = "ranker"
METHODS = (*NAMES, HYBRID, RANKER)


class CandidateScorer(Protocol):
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
        rare_place: whether the last place of five or more is kept for the guest, a rarely used course.
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
    taste: Preferences,
    now: float,
    n: int = 10,
    surface: Surface = Surface(),  # noqa: B008 - frozen
    ranker: CandidateScorer | None = None,
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
    chosen = shown(content, ranked, n, surface)
    scores = dict(zip(ranked.numbers.tolist(), ranked.scores.tolist(), strict=True))
    reasons = _reasons(index, taste, candidates, question, chosen) if len(chosen) else []
    return tuple(
        Recommendation(index.names[number], round(scores[number], 6), *why)
        for number, why in zip(chosen.tolist(), reasons, strict=True)
    )


def rank(
    index: Index, candidates: Candidates, question: Query, surface: Surface, ranker: CandidateScorer | None
) -> Ranked:
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


def shown(content: Content, ranked: Ranked, n: int, surface: Surface) -> Ints:
    """Choose the n courses that are shown, in order; the last is the guest, if it is anybody's turn."""
    numbers = ranked.numbers
    if surface.relevance < 1.0:
        numbers = varied(content, numbers[:POOL], ranked.scores[:POOL], n, surface.relevance)
    best, guest = numbers[:n], ranked.candidates.guest
    if not surface.rare_place or n < FEW or len(best) < n or guest in best or guest not in ranked.numbers:
        return best
    return np.append(best[:-1], guest)


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


def _reasons(
    index: Index, taste: Preferences, candidates: Candidates, question: Query, chosen: Ints
) -> list[tuple[str, str | None]]:
    """Say why each course is shown: by the generator that speaks for it most, and the person's course behind that."""
    drawn = candidates.drawn
    index.mark[drawn.numbers] = np.arange(len(drawn.numbers))
    said = drawn.scores[:, index.mark[chosen]] / np.maximum(drawn.scores.max(1, initial=0.0), 1e-300)[:, None]
    strengths = {recent.course: recent.strength for recent in taste.recent}
    reasons: list[tuple[str, str | None]] = []
    for number, voices in zip(_sources(index, question, chosen), said.T, strict=True):
        because = None if number is None or voices[COSINE:CONTENT].max() <= 0 else index.names[number]
        if voices[OWN] > 0:
            reasons.append(("you come back to it", None))
        elif because is not None:
            strength = strengths[because]
            verb = "finished" if strength >= COMPLETED else "bought" if strength >= BOUGHT else "used"
            reasons.append((f"because you {verb} {because}", because))
        elif voices[PEOPLE] > 0:
            reasons.append(("people like you use it", None))
        elif voices[CONTENT] > 0 and voices[CONTENT] >= voices[POPULAR]:
            reasons.append(("like what you use", None))
        else:
            start = "popular this week" if len(question.recent) else "a good start for many"
            reasons.append((start if voices[POPULAR] > 0 else "new in the catalogue", None))
    return reasons


def _sources(index: Index, question: Query, chosen: Ints) -> list[int | None]:
    """Return for each course which of the person's newest ones goes best with it; nothing where none does."""
    seeds = question.recent[:SEEDS]
    lines = index.near[seeds]
    index.mark[chosen] = np.arange(len(chosen))
    which = index.mark[lines]
    which[(which < 0) | (which >= len(chosen))] = 0
    places, slots = np.nonzero(chosen[which] == lines)
    which, beside = which[places, slots], seeds[places]
    together = index.weight[beside, slots, IN] + index.weight[beside, slots, OUT]
    weights = together * 0.9**places / np.sqrt(index.mass[beside] + 1.0)
    sources: list[int | None] = [None] * len(chosen)
    for hit in np.argsort(-weights, kind="stable")[::-1].tolist():
        sources[int(which[hit])] = int(beside[hit])
    return sources
