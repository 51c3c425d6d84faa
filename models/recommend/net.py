"""The ranker that is used: small nets beside a linear path, trained with replay, that see how signals combine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from river import base

from models.recommend.examples import OTHERS
from models.recommend.ranker import Floats, Rows, Standard


class NetRanker(base.Estimator):
    """Four nets of one hidden layer with a linear path, trained on short lists with replay.

    A list is the course taken and up to 20 others. Lists wait in a ring; each time eight have come, one Adam step
    (Kingma & Ba 2015) is made on them and 24 of the ring. Scores are the mean of the nets.

    Parameters
    ----------
    columns
        Numbers in a row.
    hidden
        Width of each net.
    nets
        How many there are.
    ring
        Lists kept for replay.
    seed
        Of first weights and of replay.
    """

    BLOCK, REPLAYED, FULL = 8, 24, 20_000
    FAST, SLOW, DECAY = 2e-3, 5e-4, 1e-4

    def __init__(self, columns: int, hidden: int = 16, nets: int = 4, ring: int = 8_000, seed: int = 1) -> None:
        self.columns = columns
        self.hidden = hidden
        self.nets = nets
        self.ring = ring
        self.seed = seed
        self.lists = 0
        self.steps = 0
        self.standard = Standard(columns)
        self._dice = np.random.default_rng(seed)
        width = hidden * nets
        self.weights = [
            self._dice.normal(0.0, np.sqrt(2.0 / columns), (columns, width)).astype(np.float32),
            np.zeros(width, np.float32),
            (0.3 * self._dice.normal(0.0, np.sqrt(2.0 / hidden), (nets, hidden))).astype(np.float32),
            np.zeros((columns, nets), np.float32),
        ]
        self.first = [np.zeros_like(weight) for weight in self.weights]
        self.second = [np.zeros_like(weight) for weight in self.weights]
        self._held = np.zeros((0, OTHERS + 1, columns), np.float16)
        self._sizes = np.zeros(0, np.int64)
        self._kept = 0

    def scores(self, rows: Rows) -> Floats:
        """Return a score a row."""
        inner, bias, out, path = self.weights
        z = self.standard(rows).astype(np.float32)
        hidden = np.maximum(z @ inner + bias, 0.0)
        logits = hidden @ (out.ravel() / self.nets) + z @ path.mean(1)
        scores: Floats = logits.astype(np.float64)
        return scores

    def learn(self, rows: Rows, taken: int) -> None:
        """Learn that of the rows the one at `taken` was chosen."""
        others = np.delete(np.arange(len(rows)), taken)
        if len(others) > OTHERS:
            others = self._dice.choice(others, OTHERS, replace=False)
        self.hear(np.concatenate((rows[taken : taken + 1], rows[others])))

    def hear(self, rows: Rows) -> None:
        """Learn from a short list, at most 21 rows, of which the first was chosen."""
        self.standard.update(rows)
        self.recall(rows)
        self.lists += 1
        if self._kept % self.BLOCK == 0:
            self._step()

    def recall(self, rows: Rows) -> None:
        """Keep a short list for replay that was learned before."""
        place = self._kept % self.ring
        if place >= len(self._held):
            self._grow()
        self._held[place, : len(rows)] = rows
        self._held[place, len(rows) :] = 0.0
        self._sizes[place] = len(rows)
        self._kept += 1

    def _grow(self) -> None:
        room = min(self.ring, max(64, 2 * len(self._held)))
        held, sizes = self._held, self._sizes
        self._held = np.zeros((room, OTHERS + 1, self.columns), np.float16)
        self._sizes = np.zeros(room, np.int64)
        self._held[: len(held)], self._sizes[: len(sizes)] = held, sizes

    def _step(self) -> None:
        """Make one step on the newest lists and some of those kept."""
        new = (self._kept - 1 - np.arange(self.BLOCK)) % self.ring
        drawn = np.concatenate((new, self._dice.integers(0, min(self._kept, self.ring), self.REPLAYED)))
        sizes = self._sizes[drawn]
        z = self.standard(self._held[drawn].astype(np.float32)).astype(np.float32)
        gradients = self._gradients(z, np.arange(OTHERS + 1) < sizes[:, None])
        self.steps += 1
        rate = max(self.SLOW, self.FAST / np.sqrt(1.0 + self.lists / self.FULL))
        for weight, gradient, first, second in zip(self.weights, gradients, self.first, self.second, strict=True):
            first += 0.1 * (gradient - first)
            second += 0.01 * (gradient * gradient - second)
            step = (first / (1.0 - 0.9**self.steps)) / (np.sqrt(second / (1.0 - 0.99**self.steps)) + 1e-8)
            weight -= rate * (step + self.DECAY * weight)

    def _gradients(self, z: Rows, real: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
        """Return the gradient of each net's mean log-loss over (lists, rows, columns)."""
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
