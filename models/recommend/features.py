"""Feature rows for the ranker, one per candidate: generator scores, the course's history, the person's own use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY
from models.recommend.candidates import Candidates, Repeats
from models.recommend.generators import CONTENT, COSINE, FASHION, ORDER, OWN, PEOPLE, POPULAR, SESSION, Query
from models.recommend.generators import NAMES as GENERATORS
from models.recommend.index import HALF_LIVES, Index

Floats = NDArray[np.float64]

_MAIN = (COSINE, ORDER, FASHION, SESSION, PEOPLE, CONTENT, POPULAR)
_CROSSED = ("cosine", "order", "people", "popular")
_CONTEXT = ("fresh visit", "history", "silence")
_OWN = ("seen", "uses", "since", "since to gap", "heat", "age")


def _names(repeats: bool) -> tuple[str, ...]:
    used = GENERATORS if repeats else GENERATORS[:OWN]
    names = [f"{name} {form}" for form in ("share", "log", "rank") for name in used]
    names += ["last share", "last but one share", "last log", "last but one log"]
    names += ["visit mean", "visit largest", "visit share"]
    names += ["popular day", "popular week", "popular month", "popular early", "uses in all"]
    names += ["course age", "course silence", "uses per person"]
    crossed = (*_CROSSED, "own") if repeats else _CROSSED
    names += [f"{signal} x {context}" for context in _CONTEXT for signal in crossed]
    names += [*_CONTEXT, "visit length"]
    if repeats:
        names += list(_OWN) + [f"{own} x {context}" for context in _CONTEXT for own in ("seen", "since to gap")]
    return tuple(names)


NAMES = _names(False)
NAMES_WITH_REPEATS = _names(True)


def column_names(repeats: Repeats) -> tuple[str, ...]:
    """Return the column names of rows, for a surface that shows only new courses, or also seen ones."""
    return NAMES if repeats == "none" else NAMES_WITH_REPEATS


def rows(index: Index, candidates: Candidates, query: Query, repeats: Repeats) -> NDArray[np.float32]:
    """Compute the feature rows of candidates.

    Returns:
        (candidates, columns), rounded to float16. So the ranker learns from exactly the rows that were ranked.
    """
    with_own = repeats != "none"
    generated = candidates.generated
    size = len(generated.numbers)
    scores = generated.scores if with_own else generated.scores[:OWN]
    share, rank = _share(scores), _ranks(scores)
    last = _share(generated.last)
    blocks = [share, 0.3 * np.log(share + 0.001), 0.4 * np.log1p(rank), last, 0.3 * np.log(last + 0.001)]
    blocks.append(generated.visit)
    popular = _popular(index, candidates, query)
    context = _context(query)
    crossed = share[[COSINE, ORDER, PEOPLE, POPULAR, OWN] if with_own else [COSINE, ORDER, PEOPLE, POPULAR]]
    blocks += [popular, _crossed(context, crossed)]
    blocks.append(np.broadcast_to(context[:, None], (len(context), size)))
    if with_own:
        own = _own(index, generated.numbers, query)
        blocks += [own, _crossed(context, own[[0, 3]])]
    described = np.concatenate(blocks).T
    return described.astype(np.float16).astype(np.float32)


def _crossed(context: Floats, signals: Floats) -> Floats:
    products: Floats = context[:3, None, None] * signals
    return products.reshape(3 * len(signals), signals.shape[1])


def _share(scores: Floats) -> Floats:
    largest = scores.max(1, initial=0.0)
    shares: Floats = scores / np.where(largest > 0, largest, 1.0)[:, None]
    return shares


def _ranks(scores: Floats) -> Floats:
    """Return each candidate's rank by each generator, from 0. Candidates without a score come last."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty_like(scores)
    size = scores.shape[1]
    np.put_along_axis(places, order, np.broadcast_to(np.arange(size, dtype=np.float64), scores.shape), axis=1)
    places[scores <= 0] = size
    return places


def _popular(index: Index, candidates: Candidates, query: Query) -> Floats:
    numbers = candidates.generated.numbers
    scales = 2.0 ** ((index.landmark - query.now) / DAY / np.array(HALF_LIVES))
    counts = np.log(index.popular[numbers].T * scales[:, None] + 0.1)
    uses = index.uses[numbers]
    return np.stack(
        (
            *counts,
            np.log1p(uses),
            np.log1p(np.maximum(query.now - index.first[numbers], 0.0) / DAY),
            np.log1p(np.maximum(query.now - index.last[numbers], 0.0) / 3_600.0),
            np.log1p(uses / np.maximum(index.audience[numbers], 1.0)),
        )
    )


def _context(query: Query) -> Floats:
    silence = max(0.0, query.now - query.times[0]) / 3_600.0 if len(query.times) else 1_000.0
    return np.array([float(not query.visit), np.log1p(query.known) / 3.0, np.log1p(silence) / 3.0, query.visit / 10.0])


def _own(index: Index, numbers: NDArray[np.int64], query: Query) -> Floats:
    """Return features of the person's own use of each candidate, 0 without any use."""
    described = np.zeros((len(_OWN), len(numbers)))
    if not len(query.recent):
        return described
    index.scratch[numbers] = np.arange(len(numbers))
    places = index.scratch[query.recent]
    places[places >= len(numbers)] = 0
    held = numbers[places] == query.recent
    places = places[held]
    since = np.maximum(query.now - query.times[held], 0.0) / DAY
    gap = (query.times[held] - query.firsts[held]) / DAY / np.maximum(query.uses[held] - 1.0, 1.0)
    described[:, places] = (
        np.ones(len(places)),
        np.log1p(query.uses[held]),
        np.log1p(since) / 2.0,
        np.where(query.uses[held] > 1, np.log1p(since / np.maximum(gap, 0.02)), 0.7),
        np.log1p(query.decayed_uses[held]),
        np.log1p(np.maximum(query.now - query.firsts[held], 0.0) / DAY) / 2.0,
    )
    return described
