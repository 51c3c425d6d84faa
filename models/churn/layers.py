"""The parts of the replay net: running moments, the nets themselves, a logistic regression, what weighs one against the
other, and a reservoir of rows.
"""

from __future__ import annotations

import heapq
from math import log1p

import numpy as np
from numpy.typing import NDArray

CLIP = 5.0
VARIANCE_FLOOR = 1e-6
LINE_PRIOR, LINE_BIAS_PRIOR = 30.0, 0.01
"""Precision of the normal prior of each weight, and of the bias."""
LINE_MEMORY = 20_000
"""Rows after which a third is left of what the logistic regression made of a row."""
LEAST_CURVATURE = 0.02
"""Of the log-loss of a row: a line that was certain for long would else be thrown by the first block that is not."""
SHARES = np.linspace(0, 1, 5)
"""Blends that are tried."""
BLEND_MEMORY = 5_000
"""Rows after which a third is left of what a blend lost on a row."""
ROWS_ALIKE = 10.0
"""So many rows count as one when blends are compared: rows of one person, or of one week, are alike."""
MOST_LOGIT = 9.0
"""No more certain than one in eight thousand, whatever the row."""
ROWS_PER_DOUBT = 100
"""A model is at most as certain as one failure among so many rows: rows of one person, or of one season, are alike."""

Floats = NDArray[np.float32]


def certainty(rows: int) -> float:
    """Return the largest logit that a model of so many rows may state."""
    return min(MOST_LOGIT, log1p(rows / ROWS_PER_DOUBT))


def probabilities(logits: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """Turn logits into probabilities, bending them so that none goes beyond `most`; their order stays.

    Examples:
        >>> probabilities(np.array([-0.5, 0.5, 40.0]), most=2.0).round(3)
        array([0.378, 0.622, 0.881])
    """
    bent = logits / (1 + (logits / max(most, 1e-9)) ** 4) ** 0.25
    return np.asarray(1 / (1 + np.exp(-bent)), np.float64)


class RunningMoments:
    """Running mean and sum of squared deviations of every column, merged block by block (Chan et al. 1979)."""

    def __init__(self, width: int = 0) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self.squares = np.zeros(width)

    def merge(self, rows: Floats) -> None:
        """Take in a block of rows (n, d)."""
        count, mean = len(rows), rows.mean(axis=0, dtype=np.float64)
        total, apart = self.count + count, mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0) + apart**2 * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count = total

    def widen(self, width: int) -> None:
        """Grow to `width` columns; a new column was 0 in all rows so far."""
        more = np.zeros(width - len(self.mean))
        self.mean, self.squares = np.append(self.mean, more), np.append(self.squares, more)

    @property
    def scale(self) -> NDArray[np.float64]:
        """What a deviation is multiplied with to be counted in standard deviations."""
        return 1 / np.sqrt(self.squares / max(1, self.count) + VARIANCE_FLOOR)


class Ensemble:
    """The parameters of `copies` nets d -> hidden (ReLU) -> 1 as one flat vector, with views into it.

    Shapes: `inner` (copies, d, hidden), `inner_bias` and `outer` (copies, hidden), `outer_bias` (copies,).
    """

    @staticmethod
    def size(copies: int, width: int, hidden: int) -> int:
        """Return how many parameters they have."""
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
        # Copied field by field, the views would no longer be views of the vector.
        return Ensemble, (*self.inner.shape, self.flat)

    def widened(self, width: int) -> Ensemble:
        """Return the same nets with more inputs, all weights from the new ones 0."""
        copies, before, hidden = self.inner.shape
        wider = Ensemble(copies, width, hidden)
        wider.inner[:, :before] = self.inner
        wider.flat[copies * width * hidden :] = self.flat[copies * before * hidden :]
        return wider

    def gradient(self, rows: Floats, labels: Floats, into: Ensemble) -> None:
        """Write the gradient of the mean log-loss of each net: rows (copies, n, d), labels (copies, n)."""
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
    """A logistic regression with a normal prior, whose posterior is followed block by block (MacKay 1992).

    Each block is one Newton step from the posterior so far (Laplace's approximation, Spiegelhalter & Lauritzen 1990),
    so it makes the most of few rows. The prior is strong, since rows of one person say nearly the same, and what was
    learned fades into it again.

    Attributes:
        weights: one a column, of standardised rows.
        bias: of the logit.
        precision: (d + 1, d + 1) inverse of the posterior's covariance; the bias stands last.
    """

    def __init__(self, width: int = 0) -> None:
        self.weights = np.zeros(width)
        self.bias = 0.0
        self.precision = _prior(width)

    def learn(self, z: NDArray[np.float64], labels: Floats) -> None:
        """Learn a block of standardised rows (n, d)."""
        rows, said = np.column_stack((z, np.ones(len(z)))), 1 / (1 + np.exp(-self.logits(z).clip(-30, 30)))
        stays = max(0.0, 1 - len(z) / LINE_MEMORY)
        self.precision = stays * self.precision + (1 - stays) * _prior(z.shape[1])
        self.precision += (rows * np.maximum(said * (1 - said), LEAST_CURVATURE)[:, None]).T @ rows
        step = np.linalg.solve(self.precision, rows.T @ (labels - said))
        self.weights = self.weights + step[:-1]
        self.bias += float(step[-1])

    def logits(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logit of each standardised row (n, d)."""
        logits: NDArray[np.float64] = z @ self.weights + self.bias
        return logits

    def widen(self, width: int) -> None:
        """Grow to `width` columns."""
        before, wider = len(self.weights), _prior(width)
        old = np.append(np.arange(before), width)
        wider[np.ix_(old, old)] = self.precision
        self.weights, self.precision = np.append(self.weights, np.zeros(width - before)), wider


def _prior(width: int) -> NDArray[np.float64]:
    return np.diag(np.append(np.full(width, LINE_PRIOR), LINE_BIAS_PRIOR))


class ExpertWeights:
    """How much the first of two models counts, by what blends of them would have lost on rows neither had learned.

    The shares are weighed by their trailing log-loss (exponential weights, Vovk 1990; Littlestone & Warmuth 1994).
    Before anything is known, each model has half the say.

    Attributes:
        losses: fading sum of the log-loss of each of `SHARES`.
    """

    def __init__(self) -> None:
        self.losses = np.zeros(len(SHARES))

    @property
    def share(self) -> float:
        """The share of the first model in the logit."""
        weights = np.exp(-(self.losses - self.losses.min()) / ROWS_ALIKE)
        return float(weights @ SHARES / weights.sum())

    def mixed(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the logits that are stated of rows (n,), given both models'."""
        share = self.share
        return share * first + (1 - share) * second

    def saw(self, first: NDArray[np.float64], second: NDArray[np.float64], labels: Floats) -> None:
        """Take both models' logits of rows (n,), made before they were learned, and the rows' labels."""
        logits = (np.outer(SHARES, first) + np.outer(1 - SHARES, second)).clip(-MOST_LOGIT, MOST_LOGIT)
        lost = (np.logaddexp(0, logits) - labels * logits).sum(axis=1)
        self.losses = max(0.0, 1 - len(labels) / BLEND_MEMORY) * self.losses + lost


class Reservoir:
    """The rows with the smallest keys, in no order: with random keys, a uniform sample of all that came.

    It depends on rows and keys alone, so it can be filled again by offering the same rows a second time.
    """

    def __init__(self, most: int, width: int = 0) -> None:
        self.most = most
        self.held = 0
        self._rows = np.zeros((0, width), np.float32)
        self._labels = np.zeros(0, np.float32)
        self._largest: list[tuple[float, int]] = []

    def offer(self, row: Floats, label: bool, key: float) -> None:
        """Keep the row if its key is among the smallest."""
        if self.held < self.most:
            if self.held == len(self._rows):
                self._grow()
            slot, self.held = self.held, self.held + 1
            heapq.heappush(self._largest, (-key, slot))
        elif key < -self._largest[0][0]:
            slot = self._largest[0][1]
            heapq.heapreplace(self._largest, (-key, slot))
        else:
            return
        self._rows[slot], self._labels[slot] = row, label

    def draw(self, dice: np.random.Generator, copies: int, count: int) -> tuple[Floats, Floats]:
        """Draw rows (copies, count, d) and labels (copies, count), with replacement."""
        picks = dice.integers(self.held, size=(copies, count))
        return self._rows[picks], self._labels[picks]

    def widen(self, width: int) -> None:
        """Grow to `width` columns; a new column is 0 in all rows held."""
        more = np.zeros((len(self._rows), width - self._rows.shape[1]), np.float32)
        self._rows = np.concatenate((self._rows, more), axis=1)

    def _grow(self) -> None:
        size = min(self.most, max(256, 2 * len(self._rows)))
        rows, labels = np.zeros((size, self._rows.shape[1]), np.float32), np.zeros(size, np.float32)
        rows[: self.held], labels[: self.held] = self._rows, self._labels
        self._rows, self._labels = rows, labels
