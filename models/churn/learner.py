"""Churn learners: the common interface `ChurnLearner` and the two models behind it.

A learner runs in the trainer and learns from one labelled row at a time. Its state is published as a plain-data
snapshot (`models.churn.snapshot`), from which any process builds a scorer (`models.churn.scorer`). Scorer and learner
give the same probabilities. There are two models: the replay net, and a River logistic regression as the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from river import base, compose, linear_model, optim, preprocessing, utils

from models.churn.early_signal import DriftCorrection, SignalOutcome
from models.churn.replay_net import ReplayNet
from models.churn.scorer import CLIP
from models.churn.snapshot import (
    WIDTH,
    AnySnapshot,
    Kind,
    LogisticSnapshot,
    NetSnapshot,
    pack_floats,
    restore_ensemble,
    restore_logit,
    restore_moments,
    restore_weights,
    snapshot_kind,
    unpack_floats,
)
from models.person import features

RATE = 0.05

Rows = NDArray[np.float32]


class Clip(base.Transformer):
    """Bound every feature, because the first rows after an untrained scaler can be extreme.

    Parameters
    ----------
    bound
        The largest absolute value.

    Examples
    --------
    >>> Clip(2.0).transform_one({"a": 3.0, "b": -0.5})
    {'a': 2.0, 'b': -0.5}
    """

    def __init__(self, bound: float = CLIP) -> None:
        self.bound = bound

    def transform_one(self, x: dict[base.typing.FeatureName, Any]) -> dict[base.typing.FeatureName, Any]:
        """Return the row with every value between -bound and bound."""
        return {name: max(-self.bound, min(self.bound, value)) for name, value in x.items()}


def logistic_pipeline() -> compose.Pipeline:
    """Return a fresh River pipeline: scaler, clip, logistic regression with AdaGrad (Duchi et al. 2011)."""
    regression = linear_model.LogisticRegression(optim.AdaGrad(RATE), intercept_lr=0.01)
    return compose.Pipeline(preprocessing.StandardScaler(), Clip(), regression)


def river_row(row: Rows) -> dict[base.typing.FeatureName, Any]:
    """Return a row as River expects it: values by feature name."""
    return dict(zip(features.NAMES, row.tolist(), strict=True))


class _LearnerModel(Protocol):
    """The interface of both models.

    `learn` returns, in order, the predictions for all rows that were learned since the last call, each made just before
    the row was learned. A prediction is NaN where the model did not have one yet.
    """

    def learn(self, row: Rows, churned: bool, key: float | None) -> Sequence[float]: ...

    def restore_row(self, row: Rows, churned: bool, key: float) -> None: ...

    def snapshot(self, labels: int, offset: int) -> AnySnapshot: ...


class LogisticLearner:
    """A River pipeline of scaler, clip and logistic regression."""

    def __init__(self) -> None:
        self.pipeline = logistic_pipeline()
        self._scaler, _, self._regression = self.pipeline.steps.values()

    def learn(self, row: Rows, churned: bool, key: float | None) -> Sequence[float]:
        """Learn from one row and its label."""
        named_row = river_row(row)
        predicted = self.pipeline.predict_proba_one(named_row)[True]
        self.pipeline.learn_one(named_row, churned)
        return (predicted,)

    def restore_row(self, row: Rows, churned: bool, key: float) -> None:
        """Do nothing: this model does not need old rows."""

    def snapshot(self, labels: int, offset: int) -> LogisticSnapshot:
        """Return the whole state."""
        optimizer, weights = self._regression.optimizer, self._regression.weights
        return LogisticSnapshot(
            labels=labels,
            offset=offset,
            rows=labels,
            mean=[float(self._scaler.means[name]) for name in features.NAMES],
            variance=[float(self._scaler.vars[name]) for name in features.NAMES],
            weights=[float(weights.get(name, 0.0)) for name in features.NAMES],
            bias=float(self._regression.intercept),
            gradients=[float(optimizer.g2[name]) for name in features.NAMES],
            steps=int(optimizer.n_iterations),
        )

    @classmethod
    def restore(cls, snapshot: LogisticSnapshot) -> LogisticLearner:
        """Restore a learner that continues exactly where the snapshot was taken."""
        learner = cls()
        for index, name in enumerate(features.NAMES):
            learner._scaler.counts[name] = snapshot.rows
            learner._scaler.means[name] = snapshot.mean[index]
            learner._scaler.vars[name] = snapshot.variance[index]
            learner._regression.optimizer.g2[name] = snapshot.gradients[index]
        learner._regression._weights = utils.VectorDict(dict(zip(features.NAMES, snapshot.weights, strict=True)))
        learner._regression.intercept = snapshot.bias
        learner._regression.optimizer.n_iterations = snapshot.steps
        return learner


class NetLearner:
    """The replay net."""

    def __init__(self, net: ReplayNet | None = None) -> None:
        self.net = net or ReplayNet()
        if net is None:
            self.net.widen(WIDTH)

    def learn(self, row: Rows, churned: bool, key: float | None) -> Sequence[float]:
        """Learn from one row and its label, block by block."""
        predicted = self.net.learn(row, churned, key)
        return () if predicted is None else predicted.tolist()

    def restore_row(self, row: Rows, churned: bool, key: float) -> None:
        """Put a row that was learned earlier back into the replay reservoir."""
        self.net.replay.offer(row, churned, key)

    def snapshot(self, labels: int, offset: int) -> NetSnapshot:
        """Return the whole state except the replay reservoir."""
        net = self.net
        return NetSnapshot(
            labels=labels,
            offset=offset,
            rows=net.moments.count,
            mean=net.moments.mean.tolist(),
            squares=net.moments.squares.tolist(),
            seed=net.seed,
            copies=net.copies,
            hidden=net.hidden,
            logit_weights=net.logit.weights.tolist(),
            logit_bias=net.logit.bias,
            logit_precision=net.logit.precision.astype("<f8").tobytes(),
            losses=net.experts.losses.tolist(),
            steps=net.steps,
            parameters=pack_floats(net.ensemble.flat),
            first_moment=pack_floats(net.first_moment),
            second_moment=pack_floats(net.second_moment),
            pending=[row.tolist() for row, _ in net.pending],
            pending_labels=[label for _, label in net.pending],
        )

    @classmethod
    def restore(cls, snapshot: NetSnapshot) -> NetLearner:
        """Restore a learner. After `restore_row` for all old rows it continues exactly where the snapshot was taken."""
        net = ReplayNet(copies=snapshot.copies, hidden=snapshot.hidden, seed=snapshot.seed)
        net.rows_seen, net.steps = snapshot.labels, snapshot.steps
        net.moments = restore_moments(snapshot)
        net.logit, net.experts = restore_logit(snapshot), restore_weights(snapshot)
        net.ensemble = restore_ensemble(snapshot)
        net.first_moment = unpack_floats(snapshot.first_moment)
        net.second_moment = unpack_floats(snapshot.second_moment)
        net.replay.widen(WIDTH)
        rows = [features.array(row) for row in snapshot.pending]
        net.pending = list(zip(rows, snapshot.pending_labels, strict=True))
        return cls(net)


class ChurnLearner:
    """Learns churn from labelled rows, one at a time, and a recalibration of the scores from early signals.

    The caller scores a row before the learner learns it and must not ask for a score of a learned row.

    Attributes:
        kind: which of the two models.
        labels: number of labelled rows learned.
        updates: number of labelled rows and early signals learned since it was created or restored.
        drift: state of the drift correction.
        model: the model that learns the rows.
    """

    def __init__(self, kind: Kind = "net") -> None:
        self.kind = kind
        self.labels = 0
        self.updates = 0
        self.drift = DriftCorrection()
        self.model: _LearnerModel = NetLearner() if kind == "net" else LogisticLearner()
        self._unlearned: list[tuple[bool, SignalOutcome | None]] = []

    def learn(self, row: Rows, churned: bool, key: float | None = None, signal: SignalOutcome | None = None) -> None:
        """Learn from one row and its label.

        Args:
            row: (features,) values.
            churned: its label.
            key: the row's pseudo-random key, uniform over [0, 1). The rows with the smallest keys are replayed.
            signal: the row's early signal, if it is known.
        """
        self._unlearned.append((churned, signal))
        predicted = self.model.learn(row, churned, key)
        learned, self._unlearned = self._unlearned[: len(predicted)], self._unlearned[len(predicted) :]
        for probability, (label, known) in zip(predicted, learned, strict=True):
            if known is not None and not isnan(probability):
                self.drift = self.drift.learn_label(probability, known, label)
        self.labels += 1
        self.updates += 1

    def restore_row(self, row: Rows, churned: bool, key: float) -> None:
        """Give a restored learner a row that it had learned before the snapshot, in the order of learning."""
        self.model.restore_row(row, churned, key)

    def learn_signal(self, raw_probability: float, signal: SignalOutcome) -> None:
        """Learn an early signal, long before the row's label: see `DriftCorrection.learn_signal`."""
        self.drift = self.drift.learn_signal(raw_probability, signal)
        self.updates += 1

    def snapshot(self, offset: int = -1) -> AnySnapshot:
        """Return the whole state as plain data, for `restore` and `build_scorer`.

        Args:
            offset: of the last example learned, in the log of examples.
        """
        signals = [signal for _, signal in self._unlearned]
        return replace(self.model.snapshot(self.labels, offset), drift=self.drift, signals=signals)

    @classmethod
    def restore(cls, snapshot: AnySnapshot) -> ChurnLearner:
        """Restore a learner. After `restore_row` for all old rows it continues exactly where the snapshot was taken."""
        learner = cls(snapshot_kind(snapshot))
        learner.model = _restore_model(snapshot)
        learner.labels, learner.drift = snapshot.labels, snapshot.drift
        learner._unlearned = list(zip(snapshot.unlearned_labels, snapshot.signals, strict=True))
        return learner


def _restore_model(snapshot: AnySnapshot) -> _LearnerModel:
    return NetLearner.restore(snapshot) if isinstance(snapshot, NetSnapshot) else LogisticLearner.restore(snapshot)
