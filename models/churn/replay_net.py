"""A small neural net that learns online with replay: one hidden layer, several independent copies, a reservoir of rows.

A net that learns from each row once forgets, and a batch model learns late. This net does neither. It learns every
block of new rows together with rows from a uniform sample of all rows so far (experience replay, Lin 1992; reservoir
sampling, Vitter 1985), with Adam (Kingma & Ba 2015). All copies learn the same new rows but different old ones. Their
mean logit is the score (a small deep ensemble, Lakshminarayanan et al. 2017). While rows are few, a Bayesian logistic
regression predicts better. It learns the same blocks, and expert weights combine both by their losses so far.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import base

from models.churn.components import (
    CLIP,
    BayesianLogit,
    Ensemble,
    ExpertWeights,
    Floats,
    Reservoir,
    RunningMoments,
    logit_bound,
    probabilities,
)

BETAS = (0.9, 0.99)
DECAY = 1e-5
MIN_REPLAY_ROWS = 1_000
"""With fewer rows in the reservoir, a restored net that has seen more takes no replay steps."""


class ReplayNet(base.Classifier):
    """Binary classifier: `copies` small nets that learn every block of rows together with replayed ones.

    It learns when a block is full, so a row influences scores at most `block` rows later. All randomness follows from
    `seed` and the number of rows seen.

    Parameters
    ----------
    copies
        Number of nets whose logits are averaged.
    hidden
        Hidden units of each net.
    block
        Rows learned together. The first step adds as many old rows.
    reservoir
        Largest number of rows kept for replay.
    replays
        Further steps for each block, each on two blocks of old rows.
    rate
        Learning rate. It never decays because behaviour changes. The mean over copies reduces the resulting noise.
    seed
        Seed of initial weights and samples.

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
        self.logit = BayesianLogit()
        self.experts = ExpertWeights()
        self.ensemble = Ensemble(copies, 0, hidden)
        self.first_moment = np.zeros_like(self.ensemble.flat)
        self.second_moment = np.zeros_like(self.ensemble.flat)
        self.replay = Reservoir(reservoir)
        self.pending: list[tuple[Floats, bool]] = []

    # -- River's interface: rows by feature name

    def learn_one(self, x: dict[Hashable, Any], y: base.typing.ClfTarget) -> None:
        """Learn a row given by feature names. A new feature was 0 in all rows before; a missing one is 0."""
        fresh = sorted((name for name in x if name not in self.columns), key=str)
        if fresh:
            self.columns |= {name: len(self.columns) + index for index, name in enumerate(fresh)}
            self.widen(len(self.columns))
        self.learn(self._row(x), bool(y))

    def predict_proba_one(self, x: dict[Hashable, Any], **kwargs: Any) -> dict[base.typing.ClfTarget, float]:
        """Return the probabilities of False and True; one half each before the first block."""
        probability = float(probabilities(self.logits(self._row(x)[None]), logit_bound(self.rows_seen))[0])
        return {False: 1 - probability, True: probability}

    def _row(self, x: dict[Hashable, float]) -> Floats:
        row = np.zeros(len(self.columns), np.float32)
        for name, value in x.items():
            if name in self.columns:
                row[self.columns[name]] = value
        return row

    # -- rows as arrays

    def widen(self, width: int) -> None:
        """Grow to rows of `width` columns, not fewer than before."""
        before, copies, hidden = len(self.moments.mean), self.copies, self.hidden
        shape = (copies, before, hidden)
        self.first_moment, self.second_moment = (
            Ensemble(*shape, flat=moment).with_width(width).flat for moment in (self.first_moment, self.second_moment)
        )
        self.ensemble = self.ensemble.with_width(width)
        rng = np.random.default_rng([self.seed, before])
        self.ensemble.inner[:, before:] = rng.normal(0, sqrt(2 / width), (copies, width - before, hidden))
        if not before:
            self.ensemble.outer[:] = rng.normal(0, 0.3 * sqrt(2 / hidden), (copies, hidden))
        self.moments.widen(width)
        self.logit.widen(width)
        self.replay.widen(width)
        self.pending = [(np.append(row, np.zeros(width - before, np.float32)), label) for row, label in self.pending]

    def learn(self, row: Floats, label: bool, key: float | None = None) -> NDArray[np.float64] | None:
        """Learn a row (d,).

        Args:
            row: finite values, one for each column.
            label: whether the row is positive.
            key: a number in [0, 1) that belongs to this row only. The rows with the smallest keys are replayed.
                Without a key, one is drawn.

        Returns:
            None while a block fills. When it is full: (block,) probabilities of its rows just before they were
            learned, NaN for the first block.
        """
        if key is None:
            key = _hash_fraction(self.seed, self.rows_seen)
        self.rows_seen += 1
        self.replay.offer(row, label, key)
        self.pending.append((row, label))
        if len(self.pending) < self.block:
            return None
        predicted = self._learn_pending()
        self.pending = []
        return predicted

    def logits(self, rows: Floats) -> NDArray[np.float64]:
        """Return the logit of each row (n, d)."""
        if not self.moments.count:
            return np.zeros(len(rows))
        z = self._standardise(rows)
        return self.experts.combine(self.logit.logits(z), self.ensemble.logits(z))

    def _standardise(self, rows: Floats) -> NDArray[np.float64]:
        z: NDArray[np.float64] = (rows - self.moments.mean) * self.moments.scale
        return z.clip(-CLIP, CLIP)

    def _learn_pending(self) -> NDArray[np.float64]:
        rows = np.array([row for row, _ in self.pending], np.float32)
        labels = np.array([label for _, label in self.pending], np.float32)
        predicted = self._predict_and_weigh(rows, labels)
        self.moments.merge(rows)
        self.logit.learn(self._standardise(rows), labels)
        rng = np.random.default_rng([self.seed, self.rows_seen])
        size = 2 * self.block
        replays = self.replays if self.replay.count >= min(self.rows_seen, MIN_REPLAY_ROWS) else 0
        old, old_labels = self.replay.sample(rng, self.copies, self.block + replays * size)
        mean, scale = self.moments.mean.astype(np.float32), self.moments.scale.astype(np.float32)
        z = np.concatenate((np.broadcast_to(rows, (self.copies, *rows.shape)), old), axis=1)
        z = ((z - mean) * scale).clip(-CLIP, CLIP)
        y = np.concatenate((np.broadcast_to(labels, (self.copies, self.block)), old_labels), axis=1)
        for start in range(0, (replays + 1) * size, size):
            self._adam_step(z[:, start : start + size], y[:, start : start + size])
        return predicted

    def _predict_and_weigh(self, rows: Floats, labels: Floats) -> NDArray[np.float64]:
        """Predict a block before it is learned and update the expert weights; the first block sets the bias instead."""
        if not self.moments.count:
            positives = float(labels.sum())
            self.ensemble.outer_bias += np.float32(log((positives + 1) / (self.block - positives + 1)))
            return np.full(self.block, np.nan)
        z = self._standardise(rows)
        both = self.logit.logits(z), self.ensemble.logits(z)
        predicted = probabilities(self.experts.combine(*both), logit_bound(self.rows_seen))
        self.experts.update(*both, labels)
        return predicted

    def _adam_step(self, z: Floats, labels: Floats) -> None:
        """Take one step of Adam, each copy on its own rows."""
        gradient = Ensemble(*self.ensemble.inner.shape)
        self.ensemble.gradient(z, labels, gradient)
        self.steps += 1
        self.first_moment += (1 - BETAS[0]) * (gradient.flat - self.first_moment)
        self.second_moment += (1 - BETAS[1]) * (gradient.flat**2 - self.second_moment)
        rate = self.rate / (1 - BETAS[0] ** self.steps)
        deviation = np.sqrt(self.second_moment / (1 - BETAS[1] ** self.steps)) + 1e-8
        self.ensemble.flat *= np.float32(1 - self.rate * DECAY)
        self.ensemble.flat -= np.float32(rate) * self.first_moment / deviation


def _hash_fraction(seed: int, number: int) -> float:
    """Return a pseudo-random number in [0, 1) (the mixing function of SplitMix64, Steele et al. 2014)."""
    word = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (word ^ (word >> 31)) / 2.0**64
