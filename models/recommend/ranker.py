"""A ranker learns online from lists: a course that was taken, among candidates that were not.

The probability of the taken one under a softmax over the list is what is maximised (Cao et al. 2007, ListNet's top-1
case). `LinearRanker` is the reference. Columns are standardised with running statistics.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from river import base

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

CLIP = 5.0


class Ranker(Protocol):
    """Something that scores rows and learns from lists."""

    def scores(self, rows: Rows) -> Floats:
        """Return a score a row; only their order and their differences within a list mean anything."""
        ...

    def learn(self, rows: Rows, taken: int) -> None:
        """Learn that of the rows the one at `taken` was chosen."""
        ...


class Standard:
    """Running mean and scale of columns (Chan et al. 1979)."""

    def __init__(self, columns: int) -> None:
        self.count = 0.0
        self.mean = np.zeros(columns)
        self.squares = np.zeros(columns)
        self._scale = np.ones(columns)

    def update(self, rows: NDArray[np.floating]) -> None:
        """Take rows into account."""
        count = len(rows)
        mean = rows.mean(0, dtype=np.float64)
        squares = ((rows - mean) ** 2).sum(0)
        both = self.count + count
        delta = mean - self.mean
        self.squares += squares + delta**2 * self.count * count / both
        self.mean += delta * count / both
        self.count = both
        self._scale = 1.0 / np.sqrt(self.squares / both + 1e-6)

    @classmethod
    def of(cls, count: float, mean: Floats, squares: Floats) -> Standard:
        """Return one that has seen rows of such a mean and sum of squared distances from it."""
        standard = cls(len(mean))
        standard.count, standard.mean, standard.squares = count, mean, squares
        if count:
            standard._scale = 1.0 / np.sqrt(squares / count + 1e-6)
        return standard

    def __call__(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return rows as distances from the mean in units of the spread, at most 5."""
        z: NDArray[np.float64] = ((rows - self.mean) * self._scale).clip(-CLIP, CLIP)
        return z


class LinearRanker(base.Estimator):
    """A linear softmax over whole lists, learned by AdaGrad (Duchi et al. 2011).

    Parameters
    ----------
    columns
        Numbers in a row.
    rate
        AdaGrad's step.

    Examples
    --------
    >>> ranker = LinearRanker(2)
    >>> for _ in range(50):
    ...     ranker.learn(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], np.float32), 1)
    >>> int(ranker.scores(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)).argmax())
    1
    """

    def __init__(self, columns: int, rate: float = 0.1) -> None:
        self.columns = columns
        self.rate = rate
        self.lists = 0
        self.standard = Standard(columns)
        self.weights = np.zeros(columns)
        self.squares = np.full(columns, 1e-8)

    def scores(self, rows: Rows) -> Floats:
        """Return a score a row."""
        scores: Floats = self.standard(rows) @ self.weights
        return scores

    def learn(self, rows: Rows, taken: int) -> None:
        """Learn that of the rows the one at `taken` was chosen."""
        self.standard.update(rows)
        z = self.standard(rows)
        logits = z @ self.weights
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        chances[taken] -= 1.0
        gradient = chances @ z
        self.squares += gradient**2
        self.weights -= self.rate * gradient / np.sqrt(self.squares)
        self.lists += 1
