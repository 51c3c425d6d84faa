"""A baseline with embeddings: River's matrix factorisation, adapted to implicit feedback."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from river import base, optim, reco


class Embedding(base.Estimator):
    """River's `FunkMF` on implicit feedback: a use is a 1, and some random courses are a 0.

    Parameters
    ----------
    factors
        Length of the vectors.
    negatives
        Random courses per use that count as not used.
    seed
        Seed of the initial vectors and of the random courses.

    Examples
    --------
    >>> model = Embedding(seed=3)
    >>> for _ in range(100):
    ...     for person, course in [("ann", "a"), ("ann", "b"), ("bob", "c"), ("bob", "d")]:
    ...         model.learn_one(person, course)
    >>> sorted(course for course, _ in model.recommend("ann", 2))
    ['a', 'b']
    """

    def __init__(self, factors: int = 32, negatives: int = 5, rate: float = 0.05, seed: int = 1) -> None:
        self.factors = factors
        self.negatives = negatives
        self.rate = rate
        self.seed = seed
        self.model = reco.FunkMF(n_factors=factors, optimizer=optim.SGD(rate), l2=0.01, seed=seed)
        self.courses: dict[str, int] = {}
        self._names: list[str] = []
        self._vectors = np.zeros((64, factors))
        self._dice = np.random.default_rng(seed)

    def learn_one(self, user: str, item: str) -> None:
        """Learn that a person used a course."""
        if item not in self.courses:
            self.courses[item] = len(self._names)
            self._names.append(item)
            if len(self._names) > len(self._vectors):
                self._vectors = np.concatenate((self._vectors, np.zeros_like(self._vectors)))
        self._fit(user, item, 1.0)
        for place in self._dice.integers(0, len(self._names), self.negatives).tolist():
            if self._names[place] != item:
                self._fit(user, self._names[place], 0.0)

    def scores(self, user: str) -> NDArray[np.float64]:
        """Return a score for each course, in the order of `courses`. For an unknown person, all are 0."""
        if user not in self.model.u_latents:
            return np.zeros(len(self._names))
        scores: NDArray[np.float64] = self._vectors[: len(self._names)] @ self.model.u_latents[user]
        return scores

    def recommend(self, user: str, n: int = 20) -> list[tuple[str, float]]:
        """Return the n courses with the highest scores, best first. Known courses are included."""
        scores = self.scores(user)
        return [(self._names[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:n].tolist()]

    def _fit(self, user: str, item: str, used: float) -> None:
        self.model.learn_one(user, item, used)  # type: ignore[no-untyped-call]
        self._vectors[self.courses[item]] = self.model.i_latents[item]
