"""Churn: a learner that River drives, and the scorer that every worker has of it.

The learner lives with the trainer and learns from one labelled row at a time; what it knows goes out as a plain-data
snapshot, from which a `Scorer` is built anywhere. Scorer and learner give the same probabilities.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import base, compose, linear_model, optim, preprocessing, utils

from models import features

SCHEMA = 1
KIND = "logistic"
CLIP = 6.0
RATE = 0.05
FEATURES = hashlib.sha256("\n".join(features.NAMES).encode()).hexdigest()[:12]
"""Names the row's columns: rows and snapshots of other columns are refused."""


class BadSnapshot(Exception):
    """A snapshot that must not be used; says why."""


class Made(Struct, frozen=True, kw_only=True):
    """What a snapshot says of its own making; it can be read of any version."""

    schema: int = SCHEMA
    model: str = KIND
    features: str = FEATURES


class Snapshot(Made, frozen=True, kw_only=True):
    """Everything a learner knows, as plain data: statistics and weights by feature, and the optimizer's state.

    `offset` is that of the last example in it, so that learning goes on right behind.
    """

    labels: Annotated[int, msgspec.Meta(ge=0)]
    offset: int
    mean: list[float]
    variance: list[float]
    weights: list[float]
    bias: float
    squares: list[float]
    steps: int


class Sealed(Struct, frozen=True):
    """A snapshot's bytes and their SHA-256."""

    checksum: str
    snapshot: msgspec.Raw


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


class Scorer(Struct, frozen=True):
    """A published model: scores rows, learns nothing.

    Attributes:
        version: names the snapshot; stands on everything that was decided with it.
        labels: how many labelled rows it has learned from.
    """

    version: str
    labels: int
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def logits(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the churn logit of each row of an (n, features) matrix."""
        z: NDArray[np.float64] = ((rows - self.mean) * self.scale).clip(-CLIP, CLIP)
        logits: NDArray[np.float64] = z @ self.weights + self.bias
        return logits

    def probabilities(self, rows: NDArray[np.float32]) -> list[float]:
        """Return the churn probability of each row, rounded: its last bits depend on how many rows there are."""
        return [round(probability, 6) for probability in (1.0 / (1.0 + np.exp(-self.logits(rows)))).tolist()]

    def probability(self, row: NDArray[np.float32]) -> float:
        """Return the churn probability of one row."""
        return self.probabilities(row[None])[0]


def pipeline() -> compose.Pipeline:
    """Return a fresh River pipeline: scaler, clip, logistic regression with AdaGrad (Duchi et al. 2011)."""
    regression = linear_model.LogisticRegression(optim.AdaGrad(RATE), intercept_lr=0.01)
    return compose.Pipeline(preprocessing.StandardScaler(), Clip(), regression)


class Learner:
    """Learns churn from labelled rows, one at a time: a River pipeline of scaler, clip and logistic regression.

    The caller scores before it learns, and never asks this for the score of a row it has learned.
    """

    def __init__(self) -> None:
        self.labels = 0
        self.pipeline = pipeline()
        self._scaler, _, self._regression = self.pipeline.steps.values()

    def learn(self, row: NDArray[np.float32], churned: bool) -> None:
        """Learn from one row and its label."""
        self.pipeline.learn_one(dict(zip(features.NAMES, row.tolist(), strict=True)), churned)
        self.labels += 1

    def snapshot(self, offset: int = -1) -> Snapshot:
        """Return all that is known as plain data: what `restore` and `scorer` read.

        Args:
            offset: of the last example learned, in the log they come from.
        """
        optimizer, weights = self._regression.optimizer, self._regression.weights
        return Snapshot(
            labels=self.labels,
            offset=offset,
            mean=[float(self._scaler.means[name]) for name in features.NAMES],
            variance=[float(self._scaler.vars[name]) for name in features.NAMES],
            weights=[float(weights.get(name, 0.0)) for name in features.NAMES],
            bias=float(self._regression.intercept),
            squares=[float(optimizer.g2[name]) for name in features.NAMES],
            steps=int(optimizer.n_iterations),
        )

    @classmethod
    def restore(cls, snapshot: Snapshot) -> Learner:
        """Rebuild a learner so that it goes on as if it had never stopped."""
        learner = cls()
        for index, name in enumerate(features.NAMES):
            learner._scaler.counts[name] = snapshot.labels
            learner._scaler.means[name] = snapshot.mean[index]
            learner._scaler.vars[name] = snapshot.variance[index]
            learner._regression.optimizer.g2[name] = snapshot.squares[index]
        learner._regression._weights = utils.VectorDict(dict(zip(features.NAMES, snapshot.weights, strict=True)))
        learner._regression.intercept = snapshot.bias
        learner._regression.optimizer.n_iterations = snapshot.steps
        learner.labels = snapshot.labels
        return learner


def sealed(snapshot: Snapshot) -> bytes:
    """Write a snapshot as JSON with a checksum over its contents."""
    body = msgspec.json.encode(snapshot)
    return msgspec.json.encode(Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


def opened(sealed_snapshot: bytes) -> Snapshot:
    """Read what `sealed` wrote.

    Raises:
        BadSnapshot: unreadable, changed on its way, of another schema or of other features.
    """
    try:
        envelope = msgspec.json.decode(sealed_snapshot, type=Sealed)
        made = msgspec.json.decode(envelope.snapshot, type=Made)
        if envelope.checksum != hashlib.sha256(envelope.snapshot).hexdigest():
            raise BadSnapshot("its checksum does not match its contents")
        if made != Made():
            raise BadSnapshot(f"it is {made}, but this version reads {Made()}")
        snapshot = msgspec.json.decode(envelope.snapshot, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadSnapshot(f"unreadable: {error}") from None
    columns = {len(column) for column in (snapshot.mean, snapshot.variance, snapshot.weights, snapshot.squares)}
    if columns != {len(features.NAMES)}:
        raise BadSnapshot(f"columns of {sorted(columns)} values, not of one for each of {len(features.NAMES)} features")
    return snapshot


def scorer(snapshot: Snapshot) -> Scorer:
    """Build the scorer of a snapshot."""
    variance = np.array(snapshot.variance, np.float64)
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    body = msgspec.json.encode((snapshot.mean, snapshot.variance, snapshot.weights, snapshot.bias))
    return Scorer(
        version=f"{snapshot.model}-{hashlib.sha256(body).hexdigest()[:8]}",
        labels=snapshot.labels,
        mean=np.array(snapshot.mean, np.float64),
        scale=scale,
        weights=np.array(snapshot.weights, np.float64),
        bias=snapshot.bias,
    )
