"""The rows a ranker sees: one a candidate, from what the generators say and what is known of course and person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY
from models.recommend.candidates import Candidates, Repeats
from models.recommend.generators import CONTENT, COSINE, FASHION, ORDER, OWN, PEOPLE, POPULAR, SESSION, Query
from models.recommend.generators import NAMES as GENERATORS
from models.recommend.index import LIVES, Index

Floats = NDArray[np.float64]

_MAIN = (COSINE, ORDER, FASHION, SESSION, PEOPLE, CONTENT, POPULAR)
_CROSSED = ("cosine", "order", "people", "popular")
_CONTEXT = ("fresh visit", "history", "silence")
_OWN = ("seen", "uses", "since", "since to gap", "heat", "age")


def _names(repeats: bool) -> tuple[str, ...]:
    spoken = GENERATORS if repeats else GENERATORS[:OWN]
    names = [f"{name} {form}" for form in ("share", "log", "rank") for name in spoken]
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


def names_for(repeats: Repeats) -> tuple[str, ...]:
    """Return the names of a row's columns, for a surface that shows only new courses, or also old ones."""
    return NAMES if repeats == "none" else NAMES_WITH_REPEATS


def rows(index: Index, candidates: Candidates, asked: Query, repeats: Repeats) -> NDArray[np.float32]:
    """Describe candidates.

    Returns:
        (candidates, names), rounded to float16's precision: what is learned from is exactly what was ranked.
    """
    with_own = repeats != "none"
    drawn = candidates.drawn
    size = len(drawn.numbers)
    scores = drawn.scores if with_own else drawn.scores[:OWN]
    share, rank = _share(scores), _ranks(scores)
    last = _share(drawn.last)
    blocks = [share, 0.3 * np.log(share + 0.001), 0.4 * np.log1p(rank), last, 0.3 * np.log(last + 0.001), drawn.visit]
    popular = _popular(index, candidates, asked)
    context = _context(asked)
    crossed = share[[COSINE, ORDER, PEOPLE, POPULAR, OWN] if with_own else [COSINE, ORDER, PEOPLE, POPULAR]]
    blocks += [popular, _crossed(context, crossed)]
    blocks.append(np.broadcast_to(context[:, None], (len(context), size)))
    if with_own:
        own = _own(index, drawn.numbers, asked)
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
    """Return each candidate's place by each generator, from 0; those it says nothing of stand last."""
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty_like(scores)
    size = scores.shape[1]
    np.put_along_axis(places, order, np.broadcast_to(np.arange(size, dtype=np.float64), scores.shape), axis=1)
    places[scores <= 0] = size
    return places


def _popular(index: Index, candidates: Candidates, asked: Query) -> Floats:
    numbers = candidates.drawn.numbers
    scales = 2.0 ** ((index.landmark - asked.now) / DAY / np.array(LIVES))
    counts = np.log(index.popular[numbers].T * scales[:, None] + 0.1)
    uses = index.uses[numbers]
    return np.stack(
        (
            *counts,
            np.log1p(uses),
            np.log1p(np.maximum(asked.now - index.first[numbers], 0.0) / DAY),
            np.log1p(np.maximum(asked.now - index.last[numbers], 0.0) / 3_600.0),
            np.log1p(uses / np.maximum(index.audience[numbers], 1.0)),
        )
    )


def _context(asked: Query) -> Floats:
    silence = max(0.0, asked.now - asked.times[0]) / 3_600.0 if len(asked.times) else 1_000.0
    return np.array([float(not asked.visit), np.log1p(asked.known) / 3.0, np.log1p(silence) / 3.0, asked.visit / 10.0])


def _own(index: Index, numbers: NDArray[np.int64], asked: Query) -> Floats:
    """Describe the person's own use of each candidate; all 0 where there was none."""
    described = np.zeros((len(_OWN), len(numbers)))
    if not len(asked.recent):
        return described
    index.mark[numbers] = np.arange(len(numbers))
    places = index.mark[asked.recent]
    places[places >= len(numbers)] = 0
    held = numbers[places] == asked.recent
    places = places[held]
    since = np.maximum(asked.now - asked.times[held], 0.0) / DAY
    gap = (asked.times[held] - asked.firsts[held]) / DAY / np.maximum(asked.uses[held] - 1.0, 1.0)
    described[:, places] = (
        np.ones(len(places)),
        np.log1p(asked.uses[held]),
        np.log1p(since) / 2.0,
        np.where(asked.uses[held] > 1, np.log1p(since / np.maximum(gap, 0.02)), 0.7),
        np.log1p(asked.heat[held]),
        np.log1p(np.maximum(asked.now - asked.firsts[held], 0.0) / DAY) / 2.0,
    )
    return described
