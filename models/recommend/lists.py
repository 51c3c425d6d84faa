"""The list that a person sees: ranked candidates become a short, diverse list, with a reason for each course.

Rules: courses excluded by the setting for repeats are left out. People without a history get what newcomers use. Every
other day, the last place of a list is an exploration slot for a rarely used course, so that it can be found at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.person.preferences import COMPLETED, STRENGTHS, Preferences, Recommendation
from models.recommend import features
from models.recommend.candidates import Candidates, Repeats, select_candidates
from models.recommend.content import Content
from models.recommend.generators import CONTENT, COSINE, NAMES, OWN, PEOPLE, POPULAR, SEEDS, Query, generate, make_query
from models.recommend.index import IN, NEWCOMERS, OUT, WEEK, Index
from models.schema import events as ev

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUGHT = STRENGTHS[ev.Purchase]
MIN_PLACES = 5
"""A shorter list has no exploration slot."""
DIVERSITY_POOL = 100
"""Number of best candidates that a diverse list is chosen from."""
POPULARITY = "popularity"
HYBRID = "hybrid"
RANKER = "ranker"
METHODS = (*NAMES, HYBRID, RANKER)


class CandidateScorer(Protocol):
    """Scores candidates' feature rows."""

    def scores(self, rows: NDArray[np.float32]) -> Floats:
        """Return one score per row."""
        ...


class Surface(Struct, frozen=True, kw_only=True):
    """A place in the product that shows recommendations, and its settings.

    Attributes:
        repeats: what may be shown again.
        method: one of `METHODS`: a single generator, `hybrid` (the sum of all), or the `ranker`.
        relevance: from 0 to 1. Below 1, a course counts less the more it resembles those above it (MMR).
        rare_place: whether the last place of five or more is the exploration slot.
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
    preferences: Preferences,
    now: float,
    n: int = 10,
    surface: Surface = Surface(),  # noqa: B008 - frozen
    ranker: CandidateScorer | None = None,
    person: int | None = None,
) -> tuple[Recommendation, ...]:
    """Return at most n courses for a person, best first.

    Args:
        index: all courses.
        content: what they are about.
        preferences: of the person.
        now: the moment of the query, seconds since 1970 UTC.
        n: number of places on the surface.
        surface: its settings. Without a ranker, the method `ranker` falls back to `hybrid`.
        ranker: scores rows of the surface's setting for repeats.
        person: the person's key, so that they are not their own neighbour.
    """
    query = make_query(index, preferences, now, person)
    candidates = select_candidates(index, content, preferences, generate(index, content, query), surface.repeats)
    ranked = rank_candidates(index, candidates, query, surface, ranker)
    chosen = select_shown(content, ranked, n, surface)
    scores = dict(zip(ranked.numbers.tolist(), ranked.scores.tolist(), strict=True))
    reasons = _reasons(index, preferences, candidates, query, chosen) if len(chosen) else []
    return tuple(
        Recommendation(index.names[number], round(scores[number], 6), *why)
        for number, why in zip(chosen.tolist(), reasons, strict=True)
    )


def rank_candidates(
    index: Index, candidates: Candidates, query: Query, surface: Surface, ranker: CandidateScorer | None
) -> Ranked:
    """Order candidates by the surface's method. A single generator leaves out courses without a score."""
    numbers = candidates.generated.numbers
    if not len(query.recent):
        week = index.popularity(numbers, WEEK, query.now)
        scores = index.popularity(numbers, NEWCOMERS, query.now) + 0.1 * week
    elif surface.method == RANKER and ranker is not None:
        scores = ranker.scores(features.rows(index, candidates, query, surface.repeats))
    elif surface.method in NAMES:
        scores = candidates.generated.scores[NAMES.index(surface.method)]
        scored = np.flatnonzero(scores > 0)
        order = scored[np.argsort(-scores[scored], kind="stable")]
        return Ranked(numbers[order], scores[order], candidates)
    else:
        scores = candidates.total
    order = np.argsort(-scores, kind="stable")
    return Ranked(numbers[order], scores[order], candidates)


def select_shown(content: Content, ranked: Ranked, n: int, surface: Surface) -> Ints:
    """Select the n courses to show, in order. The last one is the exploration course, if there is one."""
    numbers = ranked.numbers
    if surface.relevance < 1.0:
        numbers = diversify(content, numbers[:DIVERSITY_POOL], ranked.scores[:DIVERSITY_POOL], n, surface.relevance)
    best, exploration = numbers[:n], ranked.candidates.exploration
    if not surface.rare_place or n < MIN_PLACES or len(best) < n:
        return best
    if exploration in best or exploration not in ranked.numbers:
        return best
    return np.append(best[:-1], exploration)


def differs_enough(before: Sequence[str], now: Sequence[str], min_share: float = 0.3) -> bool:
    """Return whether a list must be published again: it has another first course, or many new courses.

    Examples:
        >>> differs_enough(["a", "b", "c", "d"], ["a", "c", "b", "e"]), differs_enough(["a", "b", "c"], ["b", "a", "c"])
        (False, True)
    """
    if list(before[:1]) != list(now[:1]):
        return True
    new = set(now) - set(before)
    return len(new) >= max(1.0, min_share * len(now))


def diversify(content: Content, numbers: Ints, scores: Floats, n: int, relevance: float) -> Ints:
    """Select courses by maximal marginal relevance: good and diverse (Carbonell & Goldstein 1998)."""
    if not len(numbers):
        return numbers
    spread = float(scores.max() - scores.min())
    gain = relevance * (scores - scores.min()) / (spread or 1.0)
    similarity = content.pairwise_cosines(numbers)
    nearest = np.zeros(len(numbers))
    chosen: list[int] = []
    for _ in range(min(n, len(numbers))):
        value = gain - (1.0 - relevance) * nearest
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        nearest = np.maximum(nearest, similarity[chosen[-1]])
    return numbers[chosen]


def _reasons(
    index: Index, preferences: Preferences, candidates: Candidates, query: Query, chosen: Ints
) -> list[tuple[str, str | None]]:
    """Return the reason for each course, and the person's own course that led to it, if there is one."""
    generated = candidates.generated
    index.scratch[generated.numbers] = np.arange(len(generated.numbers))
    largest = np.maximum(generated.scores.max(1, initial=0.0), 1e-300)
    shares = generated.scores[:, index.scratch[chosen]] / largest[:, None]
    strengths = {recent.course: recent.strength for recent in preferences.recent}
    reasons: list[tuple[str, str | None]] = []
    for number, share in zip(_sources(index, query, chosen), shares.T, strict=True):
        because = None if number is None or share[COSINE:CONTENT].max() <= 0 else index.names[number]
        if share[OWN] > 0:
            reasons.append(("you come back to it", None))
        elif because is not None:
            strength = strengths[because]
            verb = "finished" if strength >= COMPLETED else "bought" if strength >= BOUGHT else "used"
            reasons.append((f"because you {verb} {because}", because))
        elif share[PEOPLE] > 0:
            reasons.append(("people like you use it", None))
        elif share[CONTENT] > 0 and share[CONTENT] >= share[POPULAR]:
            reasons.append(("like what you use", None))
        else:
            start = "popular this week" if len(query.recent) else "a good start for many"
            reasons.append((start if share[POPULAR] > 0 else "new in the catalogue", None))
    return reasons


def _sources(index: Index, query: Query, chosen: Ints) -> list[int | None]:
    """Return for each course which of the person's newest courses goes best with it; None if none does."""
    seeds = query.recent[:SEEDS]
    neighbours = index.near[seeds]
    index.scratch[chosen] = np.arange(len(chosen))
    target = index.scratch[neighbours]
    target[(target < 0) | (target >= len(chosen))] = 0
    places, slots = np.nonzero(chosen[target] == neighbours)
    target, seed = target[places, slots], seeds[places]
    together = index.weight[seed, slots, IN] + index.weight[seed, slots, OUT]
    weights = together * 0.9**places / np.sqrt(index.mass[seed] + 1.0)
    sources: list[int | None] = [None] * len(chosen)
    for hit in np.argsort(-weights, kind="stable")[::-1].tolist():
        sources[int(target[hit])] = int(seed[hit])
    return sources
