"""Scoring with a ranker that has learned. Workers use these classes; only the trainer needs the estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

CLIP = 5.0


class Standardizer:
    """Running mean and scale of columns (Chan et al. 1979)."""

    def __init__(self, columns: int) -> None:
        self.count = 0.0
        self.mean = np.zeros(columns)
        self.squares = np.zeros(columns)
        self._scale = np.ones(columns)

    def update(self, rows: NDArray[np.floating]) -> None:
        """Add rows to the statistics."""
        count = len(rows)
        mean = rows.mean(0, dtype=np.float64)
        squares = ((rows - mean) ** 2).sum(0)
        total = self.count + count
        delta = mean - self.mean
        self.squares += squares + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total
        self._scale = 1.0 / np.sqrt(self.squares / total + 1e-6)

    @classmethod
    def from_moments(cls, count: float, mean: Floats, squares: Floats) -> Standardizer:
        """Return a standardizer with given statistics: `squares` is the sum of squared distances from the mean."""
        standard = cls(len(mean))
        standard.count, standard.mean, standard.squares = count, mean, squares
        if count:
            standard._scale = 1.0 / np.sqrt(squares / count + 1e-6)
        return standard

    def __call__(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return rows as distances from the mean in standard deviations, clipped to [-5, 5]."""
        z: NDArray[np.float64] = ((rows - self.mean) * self._scale).clip(-CLIP, CLIP)
        return z


class LinearScorer:
    """A weighted sum of standardised columns."""

    def __init__(self, standard: Standardizer, weights: Floats) -> None:
        self.standard = standard
        self.weights = weights

    def scores(self, rows: Rows) -> Floats:
        """Return one score per row. Only differences within a list have a meaning."""
        scores: Floats = self.standard(rows) @ self.weights
        return scores


class NetScorer:
    """The mean of small nets with one hidden layer and a linear path.

    Args:
        standard: standardises the columns.
        weights: input to hidden (columns, hidden * nets), hidden bias, hidden to output (nets, hidden), and the linear
            path (columns, nets).
        nets: number of nets.
    """

    def __init__(self, standard: Standardizer, weights: list[NDArray[np.float32]], nets: int) -> None:
        self.standard = standard
        self.weights = weights
        self.nets = nets

    def scores(self, rows: Rows) -> Floats:
        """Return one score per row. Only differences within a list have a meaning."""
        inner, bias, out, path = self.weights
        z = self.standard(rows).astype(np.float32)
        hidden = np.maximum(z @ inner + bias, 0.0)
        logits = hidden @ (out.ravel() / self.nets) + z @ path.mean(1)
        scores: Floats = logits.astype(np.float64)
        return scores


HIDDEN, NETS = 16, 4
"""Width of each net, and number of nets."""


def net_shapes(columns: int, hidden: int = HIDDEN, nets: int = NETS) -> list[tuple[int, ...]]:
    """Return the shapes of the four weight arrays of a `NetScorer`."""
    width = hidden * nets
    return [(columns, width), (width,), (nets, hidden), (columns, nets)]
