"""Components of the replay net: running moments, the ensemble, a Bayesian logistic regression, expert weights and a
reservoir of rows.
"""

from __future__ import annotations

import heapq
from math import log1p

import numpy as np
from numpy.typing import NDArray

CLIP = 5.0
VARIANCE_FLOOR = 1e-6
WEIGHT_PRECISION, BIAS_PRECISION = 30.0, 0.01
"""Precision of the normal prior of each weight of the logistic regression, and of its bias."""
LOGIT_MEMORY = 20_000
"""Rows after which the logistic regression keeps a third of what it learned from a row."""
MIN_CURVATURE = 0.02
"""Lower bound on the curvature of a row's log-loss. Without it, one surprising block could overturn a regression that
was certain for a long time."""
SHARES = np.linspace(0, 1, 5)
"""Shares of the first expert that are compared."""
EXPERT_MEMORY = 5_000
"""Rows after which a third of a row's loss is left in the comparison of shares."""
CORRELATED_ROWS = 10.0
"""Number of rows that count as one when shares are compared: rows of one person or one week are correlated."""
MAX_LOGIT = 9.0
"""Upper bound on every logit: a probability of one in eight thousand."""
ROWS_PER_FAILURE = 100
"""A model is at most as certain as one failure in so many rows: rows of one person or one season are correlated."""

Floats = NDArray[np.float32]


def logit_bound(rows: int) -> float:
    """Return the largest logit that a model may publish after it has learned so many rows."""
    return min(MAX_LOGIT, log1p(rows / ROWS_PER_FAILURE))


def probabilities(logits: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Convert (n,) logits to probabilities, compressed so that no logit exceeds `bound`. Their order stays.

    Examples:
        >>> probabilities(np.array([-0.5, 0.5, 40.0]), bound=2.0).round(3)
        array([0.378, 0.622, 0.881])
    """
    compressed = logits / (1 + (logits / max(bound, 1e-9)) ** 4) ** 0.25
    return np.asarray(1 / (1 + np.exp(-compressed)), np.float64)


class RunningMoments:
    """Running mean and sum of squared deviations of every column, merged block by block (Chan et al. 1979)."""

    def __init__(self, width: int = 0) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self.squares = np.zeros(width)

    def merge(self, rows: Floats) -> None:
        """Add a block of rows (n, d)."""
        count, mean = len(rows), rows.mean(axis=0, dtype=np.float64)
        total, delta = self.count + count, mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0) + delta**2 * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total

    def widen(self, width: int) -> None:
        """Grow to `width` columns; a new column was 0 in all rows so far."""
        zeros = np.zeros(width - len(self.mean))
        self.mean, self.squares = np.append(self.mean, zeros), np.append(self.squares, zeros)

    @property
    def scale(self) -> NDArray[np.float64]:
        """Factor (d,) that converts a deviation to standard deviations."""
        return 1 / np.sqrt(self.squares / max(1, self.count) + VARIANCE_FLOOR)


class Ensemble:
    """The parameters of `copies` nets d -> hidden (ReLU) -> 1 as one flat vector, with views into it.

    Shapes: `inner` (copies, d, hidden), `inner_bias` and `outer` (copies, hidden), `outer_bias` (copies,).
    """

    @staticmethod
    def size(copies: int, width: int, hidden: int) -> int:
        """Return the number of parameters."""
        return copies * (width * hidden + 2 * hidden + 1)

    def __init__(self, copies: int, width: int, hidden: int, flat: Floats | None = None) -> None:
        ends = np.cumsum([copies * width * hidden, copies * hidden, copies * hidden, copies])
        self.flat: Floats = np.zeros(self.size(copies, width, hidden), np.float32) if flat is None else flat
        inner, inner_bias, outer, outer_bias = np.split(self.flat, ends[:-1])
        self.inner = inner.reshape(copies, width, hidden)
        self.inner_bias = inner_bias.reshape(copies, hidden)
        self.outer = outer.reshape(copies, hidden)
        self.outer_bias = outer_bias

    def __reduce__(self) -> tuple[type[Ensemble], tuple[int, int, int, Floats]]:
        # A copy of each field by itself would break the views into the flat vector.
        return Ensemble, (*self.inner.shape, self.flat)

    def with_width(self, width: int) -> Ensemble:
        """Return the same nets with more inputs. All weights of the new inputs are 0."""
        copies, before, hidden = self.inner.shape
        wider = Ensemble(copies, width, hidden)
        wider.inner[:, :before] = self.inner
        wider.flat[copies * width * hidden :] = self.flat[copies * before * hidden :]
        return wider

    def gradient(self, rows: Floats, labels: Floats, into: Ensemble) -> None:
        """Write the gradient of each net's mean log-loss into `into`: rows (copies, n, d), labels (copies, n)."""
        hidden = np.maximum(rows @ self.inner + self.inner_bias[:, None], 0)
        logits = (hidden @ self.outer[:, :, None])[:, :, 0] + self.outer_bias[:, None]
        error = (1 / (1 + np.exp(-logits.clip(-30, 30))) - labels) / labels.shape[1]
        into.outer[:] = (error[:, None] @ hidden)[:, 0]
        into.outer_bias[:] = error.sum(axis=1)
        back = (error[:, :, None] * self.outer[:, None]) * (hidden > 0)
        into.inner[:] = rows.transpose(0, 2, 1) @ back
        into.inner_bias[:] = back.sum(axis=1)

    def logits(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean logit of the nets for standardised rows (n, d): one product with all hidden units."""
        copies, width, hidden = self.inner.shape
        inner = self.inner.transpose(1, 0, 2).reshape(width, copies * hidden)
        units = np.maximum(z @ inner.astype(np.float64) + self.inner_bias.ravel(), 0)
        logits: NDArray[np.float64] = units @ (self.outer.ravel() / copies) + self.outer_bias.mean()
        return logits


class BayesianLogit:
    """A logistic regression with a normal prior that updates its posterior block by block (MacKay 1992).

    Each block is one Newton step from the present posterior (Laplace's approximation, Spiegelhalter & Lauritzen
    1990), so it learns much from few rows. The prior is strong because rows of one person are nearly the same. The
    posterior decays towards the prior.

    Attributes:
        weights: (d,) weights of standardised columns.
        bias: of the logit.
        precision: (d + 1, d + 1) inverse of the posterior's covariance; the bias is last.
    """

    def __init__(self, width: int = 0) -> None:
        self.weights = np.zeros(width)
        self.bias = 0.0
        self.precision = _prior_precision(width)

    def learn(self, z: NDArray[np.float64], labels: Floats) -> None:
        """Learn a block of standardised rows (n, d)."""
        rows, predicted = np.column_stack((z, np.ones(len(z)))), 1 / (1 + np.exp(-self.logits(z).clip(-30, 30)))
        kept = max(0.0, 1 - len(z) / LOGIT_MEMORY)
        self.precision = kept * self.precision + (1 - kept) * _prior_precision(z.shape[1])
        self.precision += (rows * np.maximum(predicted * (1 - predicted), MIN_CURVATURE)[:, None]).T @ rows
        step = np.linalg.solve(self.precision, rows.T @ (labels - predicted))
        self.weights = self.weights + step[:-1]
        self.bias += float(step[-1])

    def logits(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logit of each standardised row (n, d)."""
        logits: NDArray[np.float64] = z @ self.weights + self.bias
        return logits

    def widen(self, width: int) -> None:
        """Grow to `width` columns."""
        before, wider = len(self.weights), _prior_precision(width)
        old = np.append(np.arange(before), width)
        wider[np.ix_(old, old)] = self.precision
        self.weights, self.precision = np.append(self.weights, np.zeros(width - before)), wider


def _prior_precision(width: int) -> NDArray[np.float64]:
    return np.diag(np.append(np.full(width, WEIGHT_PRECISION), BIAS_PRECISION))


class ExpertWeights:
    """Weights two models by the log-loss that mixtures of them had on rows before either learned them.

    The mixtures are weighted by their decayed log-loss (exponential weights, Vovk 1990; Littlestone & Warmuth 1994).
    Before any loss is known, each model has weight one half.

    Attributes:
        losses: decayed sum of the log-loss of each mixture in `SHARES`.
    """

    def __init__(self) -> None:
        self.losses = np.zeros(len(SHARES))

    @property
    def share(self) -> float:
        """The first model's share of the logit."""
        weights = np.exp(-(self.losses - self.losses.min()) / CORRELATED_ROWS)
        return float(weights @ SHARES / weights.sum())

    def combine(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the combined logits of rows (n,) from both models' logits."""
        share = self.share
        return share * first + (1 - share) * second

    def update(self, first: NDArray[np.float64], second: NDArray[np.float64], labels: Floats) -> None:
        """Add the losses of rows (n,): both models' logits from before they learned the rows, and the labels."""
        logits = (np.outer(SHARES, first) + np.outer(1 - SHARES, second)).clip(-MAX_LOGIT, MAX_LOGIT)
        losses = (np.logaddexp(0, logits) - labels * logits).sum(axis=1)
        self.losses = max(0.0, 1 - len(labels) / EXPERT_MEMORY) * self.losses + losses


class Reservoir:
    """Keeps the `capacity` rows with the smallest keys, in no order. With random keys this is a uniform sample.

    The contents depend on rows and keys alone. Offering the same rows again therefore restores them.
    """

    def __init__(self, capacity: int, width: int = 0) -> None:
        self.capacity = capacity
        self.count = 0
        self._rows = np.zeros((0, width), np.float32)
        self._labels = np.zeros(0, np.float32)
        self._largest: list[tuple[float, int]] = []

    def offer(self, row: Floats, label: bool, key: float) -> None:
        """Keep the row if its key is among the smallest."""
        if self.count < self.capacity:
            if self.count == len(self._rows):
                self._grow()
            slot, self.count = self.count, self.count + 1
            heapq.heappush(self._largest, (-key, slot))
        elif key < -self._largest[0][0]:
            slot = self._largest[0][1]
            heapq.heapreplace(self._largest, (-key, slot))
        else:
            return
        self._rows[slot], self._labels[slot] = row, label

    def sample(self, rng: np.random.Generator, copies: int, count: int) -> tuple[Floats, Floats]:
        """Draw rows (copies, count, d) and labels (copies, count), with replacement."""
        picks = rng.integers(self.count, size=(copies, count))
        return self._rows[picks], self._labels[picks]

    def widen(self, width: int) -> None:
        """Grow to `width` columns; a new column is 0 in all rows held."""
        zeros = np.zeros((len(self._rows), width - self._rows.shape[1]), np.float32)
        self._rows = np.concatenate((self._rows, zeros), axis=1)

    def _grow(self) -> None:
        size = min(self.capacity, max(256, 2 * len(self._rows)))
        rows, labels = np.zeros((size, self._rows.shape[1]), np.float32), np.zeros(size, np.float32)
        rows[: self.count], labels[: self.count] = self._rows, self._labels
        self._rows, self._labels = rows, labels
