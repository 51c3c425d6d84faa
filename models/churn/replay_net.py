"""A small net that learns online and replays: one hidden layer, several independent copies, a reservoir of old rows.

Learning from each row once forgets, and waiting for a batch is late. This does neither: every block of new rows is
learned together with rows drawn from a uniform sample of all rows so far (experience replay, Lin 1992; reservoir
sampling, Vitter 1985), with Adam (Kingma & Ba 2015). The copies see the same new rows and different old ones; their
mean logit is the score (a deep ensemble in little, Lakshminarayanan et al. 2017). While rows are few, a logistic
regression that learns beside them knows better: which of the two counts how much, their losses so far decide.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from models.churn.layers import (
    CLIP,
    BayesianLogit,
    Ensemble,
    ExpertWeights,
    Floats,
    Reservoir,
    RunningMoments,
    certainty,
    probabilities,
)

BETAS = (0.9, 0.99)
DECAY = 1e-5
ENOUGH = 1_000
"""Rows in the reservoir without which a net that has seen more (it was restored) learns from new rows alone."""


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
        Learning rate, the same for ever: people change, and the mean of the copies quiets what it makes restless.
    seed
        Of initial weights and draws.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> score = evaluate.progressive_val_score(datasets.Phishing(), ReplayNet(), metrics.ROCAUC())
    >>> bool(score.get() > 0.94)
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
        seed: int = 1,
    ) -> None:
        self.copies = copies
        self.hidden = hidden
        self.block = block
        self.reservoir = reservoir
        self.replays = replays
        self.rate = rate
        self.seed = seed
        self.columns: dict[Hashable, int] = {}
        self.rows_seen = 0
        self.steps = 0
        self.moments = RunningMoments()
        self.line = BayesianLogit()
        self.blend = ExpertWeights()
        self.layers = Ensemble(copies, 0, hidden)
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
            Ensemble(*shape, flat=moment).widened(width).flat for moment in (self.first, self.second)
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

    def learn(self, row: Floats, label: bool, key: float | None = None) -> NDArray[np.float64] | None:
        """Learn a row (d,).

        Args:
            row: finite values, one a column.
            label: what became of it.
            key: a number in [0, 1) that belongs to the row and to nothing else; the rows with the smallest ones are
                replayed. Without it one is drawn.

        Returns:
            (block,) probabilities of the rows of a full block just before it was learned, NaN if it is the first;
            nothing while a block fills.
        """
        if key is None:
            key = _fraction(self.seed, self.rows_seen)
        self.rows_seen += 1
        self.kept.offer(row, label, key)
        self.pending.append((row, label))
        if len(self.pending) < self.block:
            return None
        thought = self._learn_pending()
        self.pending = []
        return thought

    def logits(self, rows: Floats) -> NDArray[np.float64]:
        """Return the logit of each row (n, d)."""
        if not self.moments.count:
            return np.zeros(len(rows))
        z = self._standardised(rows)
        return self.blend.mixed(self.line.logits(z), self.layers.logits(z))

    def _standardised(self, rows: Floats) -> NDArray[np.float64]:
        z: NDArray[np.float64] = (rows - self.moments.mean) * self.moments.scale
        return z.clip(-CLIP, CLIP)

    def _learn_pending(self) -> NDArray[np.float64]:
        rows = np.array([row for row, _ in self.pending], np.float32)
        labels = np.array([label for _, label in self.pending], np.float32)
        if self.moments.count:
            unlearned = self._standardised(rows)
            both = self.line.logits(unlearned), self.layers.logits(unlearned)
            thought = probabilities(self.blend.mixed(*both), certainty(self.rows_seen))
            self.blend.saw(*both, labels)
        else:
            thought = np.full(self.block, np.nan)
            positives = float(labels.sum())
            self.layers.outer_bias += np.float32(log((positives + 1) / (self.block - positives + 1)))
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
        return thought

    def _step(self, z: Floats, labels: Floats) -> None:
        """Take one step of Adam, every copy on its own rows."""
        slope = Ensemble(*self.layers.inner.shape)
        self.layers.gradient(z, labels, slope)
        self.steps += 1
        self.first += (1 - BETAS[0]) * (slope.flat - self.first)
        self.second += (1 - BETAS[1]) * (slope.flat**2 - self.second)
        speed = self.rate / (1 - BETAS[0] ** self.steps)
        spread = np.sqrt(self.second / (1 - BETAS[1] ** self.steps)) + 1e-8
        self.layers.flat *= np.float32(1 - self.rate * DECAY)
        self.layers.flat -= np.float32(speed) * self.first / spread


def _fraction(seed: int, number: int) -> float:
    """Return a number in [0, 1) that looks drawn (the mixing of SplitMix64, Steele et al. 2014)."""
    word = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (word ^ (word >> 31)) / 2.0**64
