"""The scorer: a published churn model that every worker holds, the same for both kinds of learner."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import inf

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from models.churn.components import CLIP as NET_CLIP
from models.churn.components import logit_bound, probabilities
from models.churn.early_signal import Recalibration
from models.churn.snapshot import (
    WIDTH,
    AnySnapshot,
    LogisticSnapshot,
    NetSnapshot,
    restore_ensemble,
    restore_moments,
    restore_weights,
)

CLIP = 6.0
"""Bound on standardised features of a logistic regression, in standard deviations."""

Rows = NDArray[np.float32]
Numbers = NDArray[np.float64]


class Scorer(Struct, frozen=True):
    """A published model that scores rows and does not learn: one hidden layer for both kinds of learner.

    Attributes:
        version: name of the snapshot. Every output that depends on the model carries it.
        labels: number of labelled rows that the model has learned from.
        mean: (features,) mean over all rows learned.
        scale: (features,) factor that converts a deviation from the mean to standard deviations.
        clip: bound on standardised features, in standard deviations.
        inner: (features, units).
        inner_bias: (units,).
        outer: (units,).
        bias: of the logit.
        max_logit: upper bound on the published logit.
        recalibration: of the published probabilities, from recent drift.
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
    max_logit: float = inf
    recalibration: Recalibration = Recalibration()

    def logits(self, rows: Rows) -> Numbers:
        """Return the churn logit of each row of an (n, features) matrix."""
        z = ((rows - self.mean) * self.scale).clip(-self.clip, self.clip)
        units = np.maximum(z @ self.inner + self.inner_bias, 0)
        logits: Numbers = units @ self.outer + self.bias
        return logits

    def raw_probabilities(self, rows: Rows) -> list[float]:
        """Return each row's probability before recalibration.

        It is rounded to 6 decimals because its last bits depend on the number of rows.
        """
        return [round(probability, 6) for probability in probabilities(self.logits(rows), self.max_logit).tolist()]

    def recalibrate(self, raw: Sequence[float]) -> list[float]:
        """Return the published probabilities for raw ones."""
        if self.recalibration == Recalibration():
            return list(raw)
        return [round(self.recalibration.apply(probability), 6) for probability in raw]

    def probabilities(self, rows: Rows) -> list[float]:
        """Return the published churn probability of each row of an (n, features) matrix."""
        return self.recalibrate(self.raw_probabilities(rows))

    def probability(self, row: Rows) -> float:
        """Return the published churn probability of one row (features,)."""
        return self.probabilities(row[None])[0]


def build_scorer(snapshot: AnySnapshot) -> Scorer:
    """Build the scorer of a snapshot. Its version is a hash of everything that it computes with."""
    scorer = _net_scorer(snapshot) if isinstance(snapshot, NetSnapshot) else _logistic_scorer(snapshot)
    recalibration = snapshot.drift.recalibration
    numbers = (scorer.bias, scorer.max_logit, recalibration.level, recalibration.slope)
    digest = hashlib.sha256()
    for part in (scorer.mean, scorer.scale, scorer.inner, scorer.inner_bias, scorer.outer, numbers):
        digest.update(np.asarray(part, np.float64).tobytes())
    version = f"{scorer.version}-{digest.hexdigest()[:8]}"
    return replace(scorer, version=version, recalibration=recalibration)


def linear_scorer(version: str, labels: int, mean: Numbers, scale: Numbers, weights: Numbers, bias: float) -> Scorer:
    """Build the scorer of a logistic regression. Its logit s is written as relu(s) - relu(-s)."""
    inner, outer = np.column_stack((weights, -weights)), np.array((1.0, -1.0))
    return Scorer(version, labels, mean, scale, CLIP, inner, np.zeros(2), outer, bias)


def _net_scorer(snapshot: NetSnapshot) -> Scorer:
    """Join the hidden units of all nets and the logistic regression into one hidden layer."""
    ensemble, logit_share = restore_ensemble(snapshot), restore_weights(snapshot).share
    net_share = 1 - logit_share if snapshot.rows else 0.0
    inner = ensemble.inner.transpose(1, 0, 2).reshape(WIDTH, -1).astype(np.float64)
    weights = np.array(snapshot.logit_weights)
    outer = ensemble.outer.ravel().astype(np.float64) * (net_share / snapshot.copies)
    net_bias = float(ensemble.outer_bias.mean(dtype=np.float64))
    return Scorer(
        version="net",
        labels=snapshot.labels,
        mean=np.array(snapshot.mean),
        scale=restore_moments(snapshot).scale,
        clip=NET_CLIP,
        inner=np.column_stack((inner, weights, -weights)),
        inner_bias=np.append(ensemble.inner_bias.ravel().astype(np.float64), (0.0, 0.0)),
        outer=np.append(outer, (logit_share, -logit_share)),
        bias=logit_share * snapshot.logit_bias + net_share * net_bias,
        max_logit=logit_bound(snapshot.labels),
    )


def _logistic_scorer(snapshot: LogisticSnapshot) -> Scorer:
    variance = np.array(snapshot.variance)
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    weights = np.array(snapshot.weights)
    return linear_scorer("logistic", snapshot.labels, np.array(snapshot.mean), scale, weights, snapshot.bias)
