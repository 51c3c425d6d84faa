"""The ranker in production: small nets with a linear path, trained with replay, that learn how signals combine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from river import base

from models.recommend.examples import MAX_NEGATIVES
from models.recommend.ranker_scorer import HIDDEN, NETS, NetScorer, Rows, Standardizer, net_shapes


class NetRanker(NetScorer, base.Estimator):
    """Four nets with one hidden layer and a linear path, trained on short lists with replay.

    A list is the chosen course and up to 20 others. Lists wait in a ring. After each eight new lists, the ranker makes
    one Adam step (Kingma & Ba 2015) on them and on 24 lists of the ring. Scores are the mean of the nets.

    Parameters
    ----------
    columns
        Features per row.
    hidden
        Width of each net.
    nets
        Number of nets.
    ring
        Number of lists kept for replay.
    seed
        Seed of the initial weights and of the replay.
    """

    BLOCK, REPLAYED, FULL = 8, 24, 20_000
    FAST, SLOW, DECAY = 2e-3, 5e-4, 1e-4

    def __init__(self, columns: int, hidden: int = HIDDEN, nets: int = NETS, ring: int = 8_000, seed: int = 1) -> None:
        self._dice = np.random.default_rng(seed)
        inner, bias, out, path = net_shapes(columns, hidden, nets)
        weights = [
            self._dice.normal(0.0, np.sqrt(2.0 / columns), inner).astype(np.float32),
            np.zeros(bias, np.float32),
            (0.3 * self._dice.normal(0.0, np.sqrt(2.0 / hidden), out)).astype(np.float32),
            np.zeros(path, np.float32),
        ]
        super().__init__(Standardizer(columns), weights, nets)
        self.columns = columns
        self.hidden = hidden
        self.ring = ring
        self.seed = seed
        self.lists = 0
        self.steps = 0
        self.first = [np.zeros_like(weight) for weight in self.weights]
        self.second = [np.zeros_like(weight) for weight in self.weights]
        self._lists = np.zeros((0, MAX_NEGATIVES + 1, columns), np.float16)
        self._sizes = np.zeros(0, np.int64)
        self._stored = 0

    def learn(self, rows: Rows, chosen: int) -> None:
        """Learn from a list in which the row at `chosen` was chosen. Of a long list, 20 others are sampled."""
        others = np.delete(np.arange(len(rows)), chosen)
        if len(others) > MAX_NEGATIVES:
            others = self._dice.choice(others, MAX_NEGATIVES, replace=False)
        self.learn_list(np.concatenate((rows[chosen : chosen + 1], rows[others])))

    def learn_list(self, rows: Rows) -> None:
        """Learn from a short list of at most 21 rows, of which the first was chosen."""
        self.standard.update(rows)
        self.remember(rows)
        self.lists += 1
        if self._stored % self.BLOCK == 0:
            self._step()

    def remember(self, rows: Rows) -> None:
        """Store a short list for replay without learning from it. It was learned before a restart."""
        place = self._stored % self.ring
        if place >= len(self._lists):
            self._grow()
        self._lists[place, : len(rows)] = rows
        self._lists[place, len(rows) :] = 0.0
        self._sizes[place] = len(rows)
        self._stored += 1

    def _grow(self) -> None:
        capacity = min(self.ring, max(64, 2 * len(self._lists)))
        lists, sizes = self._lists, self._sizes
        self._lists = np.zeros((capacity, MAX_NEGATIVES + 1, self.columns), np.float16)
        self._sizes = np.zeros(capacity, np.int64)
        self._lists[: len(lists)], self._sizes[: len(sizes)] = lists, sizes

    def _step(self) -> None:
        """Make one Adam step on the newest lists and on sampled ones."""
        new = (self._stored - 1 - np.arange(self.BLOCK)) % self.ring
        batch = np.concatenate((new, self._dice.integers(0, min(self._stored, self.ring), self.REPLAYED)))
        sizes = self._sizes[batch]
        z = self.standard(self._lists[batch].astype(np.float32)).astype(np.float32)
        gradients = self._gradients(z, np.arange(MAX_NEGATIVES + 1) < sizes[:, None])
        self.steps += 1
        rate = max(self.SLOW, self.FAST / np.sqrt(1.0 + self.lists / self.FULL))
        for weight, gradient, first, second in zip(self.weights, gradients, self.first, self.second, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.01 * (gradient * gradient - second)
            step = (first / (1.0 - 0.9**self.steps)) / (np.sqrt(second / (1.0 - 0.99**self.steps)) + 1e-8)
            weight -= rate * (step + self.DECAY * weight)

    def _gradients(self, z: Rows, real: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
        """Return the gradients of each net's mean log-loss; z is (lists, rows, columns), `real` masks the padding."""
        inner, bias, out, path = self.weights
        lists, rows, columns = z.shape
        flat = z.reshape(-1, columns)
        hidden = np.maximum(flat @ inner + bias, 0.0)
        parts = hidden.reshape(len(flat), self.nets, self.hidden)
        logits = (np.einsum("fnh,nh->fn", parts, out) + flat @ path).reshape(lists, rows, self.nets)
        logits = np.where(real[:, :, None], logits, -1e9)
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        chances[:, 0] -= 1.0
        slope = (chances / lists).reshape(len(flat), self.nets).astype(np.float32)
        to_out = np.einsum("fn,fnh->nh", slope, parts)
        back = (slope[:, :, None] * out * (parts > 0)).reshape(len(flat), -1)
        return [flat.T @ back, back.sum(0), to_out, flat.T @ slope]
