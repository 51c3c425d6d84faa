"""Churn: the learners, one door to them, and the snapshots and scorers that come out of it.

A learner lives with the trainer and learns from one labelled row at a time; what it knows goes out as a plain-data
snapshot (`models.churn.snapshot`), from which a scorer (`models.churn.scorer`) is built anywhere. Scorer and learner
give the same probabilities. There are two: the replay net, and a River logistic regression that stands beside it as the
reference.
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
    restore_layers,
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
    """Bound every feature, so that the first rows under a cold scaler cannot explode.

    Parameters
    ----------
    bound
        The largest absolute value let through.

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
    """Return a row as River has them."""
    return dict(zip(features.NAMES, row.tolist(), strict=True))


class _Learns(Protocol):
    """What the two learners have in common.

    `learn` returns, in order, what it thought of those rows that it has made up its mind of since the last time, just
    before it learned them; NaN where it thought nothing yet.
    """

    def learn(self, row: Rows, churned: bool, key: float | None) -> Sequence[float]: ...

    def recall(self, row: Rows, churned: bool, key: float) -> None: ...

    def snapshot(self, labels: int, offset: int) -> AnySnapshot: ...


class LogisticLearner:
    """A River pipeline of scaler, clip and logistic regression."""

    def __init__(self) -> None:
        self.pipeline = logistic_pipeline()
        self._scaler, _, self._regression = self.pipeline.steps.values()

    def learn(self, row: Rows, churned: bool, key: float | None) -> Sequence[float]:
        """Learn from one row and its label."""
        named_row = river_row(row)
        thought = self.pipeline.predict_proba_one(named_row)[True]
        self.pipeline.learn_one(named_row, churned)
        return (thought,)

    def recall(self, row: Rows, churned: bool, key: float) -> None:
        """Nothing: old rows are not needed again."""

    def snapshot(self, labels: int, offset: int) -> LogisticSnapshot:
        """Return all that is known."""
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
        """Rebuild it so that it goes on as if it had never stopped."""
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
        thought = self.net.learn(row, churned, key)
        return () if thought is None else thought.tolist()

    def recall(self, row: Rows, churned: bool, key: float) -> None:
        """Take a row that was learned before back for replay."""
        self.net.kept.offer(row, churned, key)

    def snapshot(self, labels: int, offset: int) -> NetSnapshot:
        """Return all that is known, but for the rows kept for replay."""
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
            line=net.line.weights.tolist(),
            line_bias=net.line.bias,
            line_precision=net.line.precision.astype("<f8").tobytes(),
            losses=net.blend.losses.tolist(),
            steps=net.steps,
            parameters=pack_floats(net.layers.flat),
            first=pack_floats(net.first),
            second=pack_floats(net.second),
            pending=[row.tolist() for row, _ in net.pending],
            pending_labels=[label for _, label in net.pending],
        )

    @classmethod
    def restore(cls, snapshot: NetSnapshot) -> NetLearner:
        """Rebuild it; once the old rows are recalled, it goes on as if it had never stopped."""
        net = ReplayNet(copies=snapshot.copies, hidden=snapshot.hidden, seed=snapshot.seed)
        net.rows_seen, net.steps = snapshot.labels, snapshot.steps
        net.moments = restore_moments(snapshot)
        net.line, net.blend = restore_logit(snapshot), restore_weights(snapshot)
        net.layers = restore_layers(snapshot)
        net.first, net.second = unpack_floats(snapshot.first), unpack_floats(snapshot.second)
        net.kept.widen(WIDTH)
        rows = [features.array(row) for row in snapshot.pending]
        net.pending = list(zip(rows, snapshot.pending_labels, strict=True))
        return cls(net)


class ChurnLearner:
    """Learns churn from labelled rows, one at a time, and from early signs how the scores are to be bent meanwhile.

    The caller scores before it learns, and never asks this for the score of a row it has learned.

    Attributes:
        kind: which of the two models.
        labels: labelled rows learned.
        lessons: labelled rows and early signs learned since this was made or restored.
        pace: at which people come back.
    """

    def __init__(self, kind: Kind = "net") -> None:
        self.kind = kind
        self.labels = 0
        self.lessons = 0
        self.pace = DriftCorrection()
        self.core: _Learns = NetLearner() if kind == "net" else LogisticLearner()
        self._unlearned: list[tuple[bool, SignalOutcome | None]] = []

    def learn(self, row: Rows, churned: bool, key: float | None = None, sign: SignalOutcome | None = None) -> None:
        """Learn from one row and its label.

        Args:
            row: one value a feature.
            churned: its label.
            key: the row's place among all rows, evenly spread over [0, 1); the rows with the smallest are replayed.
            sign: what its early sign had been, if that is known.
        """
        self._unlearned.append((churned, sign))
        thought = self.core.learn(row, churned, key)
        learned, self._unlearned = self._unlearned[: len(thought)], self._unlearned[len(thought) :]
        for probability, (label, seen) in zip(thought, learned, strict=True):
            if seen is not None and not isnan(probability):
                self.pace = self.pace.matured(probability, seen, label)
        self.labels += 1
        self.lessons += 1

    def recall(self, row: Rows, churned: bool, key: float) -> None:
        """Take back a row that was learned before the snapshot this was restored from, in the order of learning."""
        self.core.recall(row, churned, key)

    def notice(self, probability: float, sign: SignalOutcome) -> None:
        """Learn an early sign, long before the row's label: see `DriftCorrection.taught`."""
        self.pace = self.pace.taught(probability, sign)
        self.lessons += 1

    def snapshot(self, offset: int = -1) -> AnySnapshot:
        """Return all that is known as plain data: what `restore` and `scorer` read.

        Args:
            offset: of the last example learned, in the log they come from.
        """
        signs = [sign for _, sign in self._unlearned]
        return replace(self.core.snapshot(self.labels, offset), pace=self.pace, signs=signs)

    @classmethod
    def restore(cls, snapshot: AnySnapshot) -> ChurnLearner:
        """Rebuild a learner so that it goes on as if it had never stopped, once old rows are recalled."""
        learner = cls(snapshot_kind(snapshot))
        learner.core = _restored(snapshot)
        learner.labels, learner.pace = snapshot.labels, snapshot.pace
        learner._unlearned = list(zip(snapshot.unlearned, snapshot.signs, strict=True))
        return learner


def _restored(snapshot: AnySnapshot) -> _Learns:
    return NetLearner.restore(snapshot) if isinstance(snapshot, NetSnapshot) else LogisticLearner.restore(snapshot)
