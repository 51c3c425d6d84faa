"""A small net that learns online and replays: one hidden layer, several independent copies, a reservoir of old rows.

Learning from each row once forgets, and waiting for a batch is late. This does neither: every block of new rows is
learned together with rows drawn from a uniform sample of all rows so far (experience replay, Lin 1992; reservoir
sampling, Vitter 1985), with Adam (Kingma & Ba 2015). The copies see the same new rows and different old ones; their
mean logit is the score (a deep ensemble in little, Lakshminarayanan et al. 2017).
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from math import exp, log, log1p, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

CLIP = 5.0
VARIANCE_FLOOR = 1e-6
LEAST_RATE = 3e-4
RATE_ROWS = 20_000
"""Rows after which the learning rate has fallen to 1/sqrt(2) of where it began."""
BETAS = (0.9, 0.99)
DECAY = 1e-5
ENOUGH = 1_000
"""Rows in the reservoir without which a net that has seen more (it was restored) learns from new rows alone."""
LINE_RATE = 0.05
LINE_BIAS_RATE = 0.01
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


class Moments:
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


class Layers:
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

    def widened(self, width: int) -> Layers:
        """Return the same nets with more inputs, all weights from the new ones 0."""
        copies, before, hidden = self.inner.shape
        wider = Layers(copies, width, hidden)
        wider.inner[:, :before] = self.inner
        wider.flat[copies * width * hidden :] = self.flat[copies * before * hidden :]
        return wider

    def gradient(self, rows: Floats, labels: Floats, into: Layers) -> None:
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


class Line:
    """A logistic regression under AdaGrad (Duchi et al. 2011): it knows something after a hundred rows.

    Attributes:
        weights: one a column.
        slopes: sums of squared gradients, one a column.
    """

    def __init__(self, width: int = 0) -> None:
        self.weights = np.zeros(width)
        self.slopes = np.zeros(width)
        self.bias = 0.0

    def learn(self, z: NDArray[np.float64], labels: Floats) -> None:
        """Learn standardised rows (n, d), one after the other."""
        for row, label in zip(z, labels.tolist(), strict=True):
            logit = max(-30.0, min(30.0, float(row @ self.weights) + self.bias))
            error = 1 / (1 + exp(-logit)) - label
            slope = error * row
            self.slopes += slope**2
            self.weights -= LINE_RATE * slope / np.sqrt(self.slopes + 1e-8)
            self.bias -= LINE_BIAS_RATE * error

    def widen(self, width: int) -> None:
        """Grow to `width` columns."""
        more = np.zeros(width - len(self.weights))
        self.weights, self.slopes = np.append(self.weights, more), np.append(self.slopes, more)


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


class ReplayNet(base.Classifier):
    """Binary classifier: `copies` small nets that learn every block of rows together with replayed ones.

    It learns when a block is full, so a row is in the scores at most `block` rows later. Everything random follows
    from `seed` and the number of rows seen.

    Parameters
    ----------
    copies
        Nets whose logits are averaged.
    hidden
        Hidden units of each.
    block
        Rows learned together; the first step adds as many old ones.
    reservoir
        Most rows kept for replay.
    replays
        Further steps a block, each on two blocks of old rows.
    rate
        Learning rate at the beginning; it falls with the square root of the rows seen.
    line_rows
        Rows after which the nets count as much as a logistic regression that learns beside them.
    seed
        Of initial weights and draws.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> evaluate.progressive_val_score(datasets.Phishing(), ReplayNet(), metrics.ROCAUC()).get() > 0.94
    True
    """

    def __init__(
        self,
        copies: int = 8,
        hidden: int = 16,
        block: int = 32,
        reservoir: int = 30_000,
        replays: int = 2,
        rate: float = 3e-3,
        line_rows: int = 20_000,
        seed: int = 1,
    ) -> None:
        self.copies = copies
        self.hidden = hidden
        self.block = block
        self.reservoir = reservoir
        self.replays = replays
        self.rate = rate
        self.line_rows = line_rows
        self.seed = seed
        self.columns: dict[Hashable, int] = {}
        self.rows_seen = 0
        self.steps = 0
        self.moments = Moments()
        self.line = Line()
        self.layers = Layers(copies, 0, hidden)
        self.first = np.zeros_like(self.layers.flat)
        self.second = np.zeros_like(self.layers.flat)
        self.kept = Reservoir(reservoir)
        self.pending: list[tuple[Floats, bool]] = []

    # -- River's door: rows by name

    def learn_one(self, x: dict[Hashable, Any], y: base.typing.ClfTarget) -> None:
        """Learn a row by feature names; a feature not seen before was 0 until now, an absent one is 0."""
        fresh = sorted((name for name in x if name not in self.columns), key=str)
        if fresh:
            self.columns |= {name: len(self.columns) + index for index, name in enumerate(fresh)}
            self.widen(len(self.columns))
        self.learn(self._row(x), bool(y))

    def predict_proba_one(self, x: dict[Hashable, Any], **kwargs: Any) -> dict[base.typing.ClfTarget, float]:
        """Return the probabilities of False and True; a half each before the first block."""
        probability = float(probabilities(self.logits(self._row(x)[None]), certainty(self.rows_seen))[0])
        return {False: 1 - probability, True: probability}

    def _row(self, x: dict[Hashable, float]) -> Floats:
        row = np.zeros(len(self.columns), np.float32)
        for name, value in x.items():
            if name in self.columns:
                row[self.columns[name]] = value
        return row

    # -- rows as arrays

    def widen(self, width: int) -> None:
        """Take rows of `width` columns from now on; not fewer than so far."""
        before, copies, hidden = len(self.moments.mean), self.copies, self.hidden
        shape = (copies, before, hidden)
        self.first, self.second = (
            Layers(*shape, flat=moment).widened(width).flat for moment in (self.first, self.second)
        )
        self.layers = self.layers.widened(width)
        dice = np.random.default_rng([self.seed, before])
        self.layers.inner[:, before:] = dice.normal(0, sqrt(2 / width), (copies, width - before, hidden))
        if not before:
            self.layers.outer[:] = dice.normal(0, 0.3 * sqrt(2 / hidden), (copies, hidden))
        self.moments.widen(width)
        self.line.widen(width)
        self.kept.widen(width)
        self.pending = [(np.append(row, np.zeros(width - before, np.float32)), label) for row, label in self.pending]

    def learn(self, row: Floats, label: bool, key: float | None = None) -> None:
        """Learn a row (d,).

        Args:
            row: finite values, one a column.
            label: what became of it.
            key: a number in [0, 1) that belongs to the row and to nothing else; the rows with the smallest ones are
                replayed. Without it one is drawn.
        """
        if key is None:
            key = _fraction(self.seed, self.rows_seen)
        self.rows_seen += 1
        self.kept.offer(row, label, key)
        self.pending.append((row, label))
        if len(self.pending) == self.block:
            self._learn_pending()
            self.pending = []

    def logits(self, rows: Floats) -> NDArray[np.float64]:
        """Return the logit of each row (n, d)."""
        if not self.moments.count:
            return np.zeros(len(rows))
        z = self._standardised(rows)
        line = z @ self.line.weights + self.line.bias
        logits: NDArray[np.float64] = self.share * line + (1 - self.share) * self.layers.logits(z)
        return logits

    @property
    def share(self) -> float:
        """How much the logistic regression counts: all in the beginning, less and less as rows come."""
        return self.line_rows / (self.line_rows + self.rows_seen)

    def _standardised(self, rows: Floats) -> NDArray[np.float64]:
        z: NDArray[np.float64] = (rows - self.moments.mean) * self.moments.scale
        return z.clip(-CLIP, CLIP)

    def _learn_pending(self) -> None:
        rows = np.array([row for row, _ in self.pending], np.float32)
        labels = np.array([label for _, label in self.pending], np.float32)
        if not self.moments.count:
            positives = float(labels.sum())
            self.line.bias = log((positives + 1) / (self.block - positives + 1))
            self.layers.outer_bias += np.float32(self.line.bias)
        self.moments.merge(rows)
        self.line.learn(self._standardised(rows), labels)
        dice = np.random.default_rng([self.seed, self.rows_seen])
        size = 2 * self.block
        replays = self.replays if self.kept.held >= min(self.rows_seen, ENOUGH) else 0
        old, old_labels = self.kept.draw(dice, self.copies, self.block + replays * size)
        mean, scale = self.moments.mean.astype(np.float32), self.moments.scale.astype(np.float32)
        z = np.concatenate((np.broadcast_to(rows, (self.copies, *rows.shape)), old), axis=1)
        z = ((z - mean) * scale).clip(-CLIP, CLIP)
        y = np.concatenate((np.broadcast_to(labels, (self.copies, self.block)), old_labels), axis=1)
        for start in range(0, (replays + 1) * size, size):
            self._step(z[:, start : start + size], y[:, start : start + size])

    def _step(self, z: Floats, labels: Floats) -> None:
        """Take one step of Adam, every copy on its own rows."""
        slope = Layers(*self.layers.inner.shape)
        self.layers.gradient(z, labels, slope)
        self.steps += 1
        rate = max(LEAST_RATE, self.rate / sqrt(1 + self.rows_seen / RATE_ROWS))
        self.first += (1 - BETAS[0]) * (slope.flat - self.first)
        self.second += (1 - BETAS[1]) * (slope.flat**2 - self.second)
        speed = rate / (1 - BETAS[0] ** self.steps)
        spread = np.sqrt(self.second / (1 - BETAS[1] ** self.steps)) + 1e-8
        self.layers.flat *= np.float32(1 - rate * DECAY)
        self.layers.flat -= np.float32(speed) * self.first / spread


def _fraction(seed: int, number: int) -> float:
    """Return a number in [0, 1) that looks drawn (the mixing of SplitMix64, Steele et al. 2014)."""
    word = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (word ^ (word >> 31)) / 2.0**64
