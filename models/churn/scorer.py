"""The scorer that every worker has of a churn model, whatever the learner was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import inf

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from models.churn.early_signal import Recalibration
from models.churn.layers import CLIP as NET_CLIP
from models.churn.layers import certainty, probabilities
from models.churn.snapshot import (
    WIDTH,
    AnySnapshot,
    LogisticSnapshot,
    NetSnapshot,
    restore_layers,
    restore_moments,
    restore_weights,
)

CLIP = 6.0
"""Standard deviations beyond which a logistic regression does not look."""

Rows = NDArray[np.float32]
Numbers = NDArray[np.float64]


class Scorer(Struct, frozen=True):
    """A published model: scores rows, learns nothing. One hidden layer, whatever the learner was.

    Attributes:
        version: names the snapshot; stands on everything that was decided with it.
        labels: how many labelled rows it has learned from.
        mean: of each feature, over all rows learned.
        scale: what a deviation from it is multiplied with, (features,).
        clip: the most standard deviations.
        inner: (features, units).
        inner_bias: (units,).
        outer: (units,).
        bias: of the logit.
        most: the largest logit that is believed.
        bend: how probabilities are bent to the pace at which people come back lately.
    """

    version: str
    labels: int
    mean: Numbers
    scale: Numbers
    clip: float
    inner: Numbers
    inner_bias: Numbers
    outer: Numbers
    bias: float
    most: float = inf
    bend: Recalibration = Recalibration()

    def logits(self, rows: Rows) -> Numbers:
        """Return the churn logit of each row of an (n, features) matrix."""
        z = ((rows - self.mean) * self.scale).clip(-self.clip, self.clip)
        units = np.maximum(z @ self.inner + self.inner_bias, 0)
        logits: Numbers = units @ self.outer + self.bias
        return logits

    def plain(self, rows: Rows) -> list[float]:
        """Return the model's own probability of each row, rounded: its last bits depend on how many rows there are."""
        return [round(probability, 6) for probability in probabilities(self.logits(rows), self.most).tolist()]

    def bent(self, plain: Sequence[float]) -> list[float]:
        """Return what is stated for probabilities of the model's own."""
        if self.bend == Recalibration():
            return list(plain)
        return [round(self.bend.bent(probability), 6) for probability in plain]

    def probabilities(self, rows: Rows) -> list[float]:
        """Return the churn probability that is stated of each row."""
        return self.bent(self.plain(rows))

    def probability(self, row: Rows) -> float:
        """Return the churn probability that is stated of one row."""
        return self.probabilities(row[None])[0]


def build_scorer(snapshot: AnySnapshot) -> Scorer:
    """Build the scorer of a snapshot."""
    built = _net_scorer(snapshot) if isinstance(snapshot, NetSnapshot) else _logistic_scorer(snapshot)
    bend = snapshot.pace.bend
    numbers = (built.bias, built.most, bend.level, bend.slope)
    seen = hashlib.sha256()
    for part in (built.mean, built.scale, built.inner, built.inner_bias, built.outer, numbers):
        seen.update(np.asarray(part, np.float64).tobytes())
    return replace(built, version=f"{built.version}-{seen.hexdigest()[:8]}", bend=bend)


def linear_scorer(version: str, labels: int, mean: Numbers, scale: Numbers, weights: Numbers, bias: float) -> Scorer:
    """Build the scorer of a logistic regression: its one logit s is relu(s) - relu(-s)."""
    inner, outer = np.column_stack((weights, -weights)), np.array((1.0, -1.0))
    return Scorer(version, labels, mean, scale, CLIP, inner, np.zeros(2), outer, bias)


def _net_scorer(snapshot: NetSnapshot) -> Scorer:
    """Put the hidden units of all nets beside each other, and the line beside them."""
    nets_, share = restore_layers(snapshot), restore_weights(snapshot).share
    inner = nets_.inner.transpose(1, 0, 2).reshape(WIDTH, -1).astype(np.float64)
    line, nets = np.array(snapshot.line), (1 - share if snapshot.rows else 0.0)
    outer = nets_.outer.ravel().astype(np.float64) * (nets / snapshot.copies)
    return Scorer(
        version="net",
        labels=snapshot.labels,
        mean=np.array(snapshot.mean),
        scale=restore_moments(snapshot).scale,
        clip=NET_CLIP,
        inner=np.column_stack((inner, line, -line)),
        inner_bias=np.append(nets_.inner_bias.ravel().astype(np.float64), (0.0, 0.0)),
        outer=np.append(outer, (share, -share)),
        bias=share * snapshot.line_bias + nets * float(nets_.outer_bias.mean(dtype=np.float64)),
        most=certainty(snapshot.labels),
    )


def _logistic_scorer(snapshot: LogisticSnapshot) -> Scorer:
    variance = np.array(snapshot.variance)
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    weights = np.array(snapshot.weights)
    return linear_scorer("logistic", snapshot.labels, np.array(snapshot.mean), scale, weights, snapshot.bias)
