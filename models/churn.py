"""Churn: the learners, and the scorer that every worker has of one.

A learner lives with the trainer and learns from one labelled row at a time; what it knows goes out as a plain-data
snapshot, from which a `Scorer` is built anywhere. Scorer and learner give the same probabilities. There are two: the
replay net, and a River logistic regression that stands beside it as the reference.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, Protocol, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from river import base, compose, linear_model, optim, preprocessing, utils

from models import features
from models.replay_net import CLIP as NET_CLIP
from models.replay_net import MOST_LOGIT, Layers, Moments, ReplayNet, certainty, probabilities

SCHEMA = 2
CLIP = 6.0
RATE = 0.05
FEATURES = hashlib.sha256("\n".join(features.NAMES).encode()).hexdigest()[:12]
"""Names the row's columns: rows and snapshots of other columns are refused."""
WIDTH = len(features.NAMES)

Kind = Literal["net", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Rows = NDArray[np.float32]
Numbers = NDArray[np.float64]


class BadSnapshot(Exception):
    """A snapshot that must not be used; says why."""


class Made(Struct, frozen=True, kw_only=True):
    """What a snapshot says of its own making; it can be read of any version."""

    schema: int = SCHEMA
    features: str = FEATURES
    model: str = ""


class Snapshot(Struct, frozen=True, kw_only=True):
    """Everything a learner knows, as plain data.

    `offset` is that of the last example in it, so that learning goes on right behind; `mean` is every column's, over
    the `rows` rows in it.
    """

    schema: int = SCHEMA
    features: str = FEATURES
    labels: Annotated[int, Meta(ge=0)]
    offset: int
    rows: Annotated[int, Meta(ge=0)]
    mean: list[float]

    @property
    def columns(self) -> tuple[list[float], ...]:
        """What has one value a feature."""
        return (self.mean,)

    def wrong(self) -> str:
        """Say which part has a shape that its learner cannot have, or nothing."""
        sizes = {len(column) for column in self.columns}
        return "" if sizes == {WIDTH} else f"columns of {sorted(sizes)} values, not of {WIDTH}"


class LogisticSnapshot(Snapshot, frozen=True, kw_only=True, tag_field="model", tag="logistic"):
    """Every feature's variance and weight, and AdaGrad's sums of squared gradients."""

    variance: list[float]
    weights: list[float]
    bias: float
    gradients: list[float]
    steps: int

    @property
    def columns(self) -> tuple[list[float], ...]:
        """What has one value a feature."""
        return self.mean, self.variance, self.weights, self.gradients


class NetSnapshot(Snapshot, frozen=True, kw_only=True, tag_field="model", tag="net"):
    """The line's weights, the nets' parameters and Adam's two moments, and the rows not yet learned.

    `squares` are sums of squared deviations; bytes are float32, little end first. The reservoir does not fit: it is
    filled again from the examples up to `offset` (`Learner.recall`).
    """

    squares: list[float]
    seed: int
    copies: Annotated[int, Meta(ge=1, le=64)]
    hidden: Annotated[int, Meta(ge=1, le=1_024)]
    share: Annotated[float, Meta(ge=0, le=1)]
    line: list[float]
    line_slopes: list[float]
    line_bias: float
    steps: int
    parameters: bytes
    first: bytes
    second: bytes
    pending: list[list[float]]
    pending_labels: list[bool]

    def wrong(self) -> str:
        """Say which part has a shape that its learner cannot have, or nothing."""
        size = 4 * Layers.size(self.copies, WIDTH, self.hidden)
        if any(len(part) != size for part in (self.parameters, self.first, self.second)):
            return f"parameters of {len(self.parameters)} bytes, not of {size}"
        if not np.isfinite(_floats(self.parameters + self.first + self.second)).all():
            return "parameters that are no numbers"
        if len(self.pending) != len(self.pending_labels) or any(len(row) != WIDTH for row in self.pending):
            return f"pending rows not of {WIDTH} values with a label each"
        return super().wrong()

    @property
    def columns(self) -> tuple[list[float], ...]:
        """What has one value a feature."""
        return self.mean, self.squares, self.line, self.line_slopes


AnySnapshot = LogisticSnapshot | NetSnapshot


class Sealed(Struct, frozen=True):
    """A snapshot's bytes and their SHA-256."""

    checksum: str
    snapshot: msgspec.Raw


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
    most: float = MOST_LOGIT

    def logits(self, rows: Rows) -> Numbers:
        """Return the churn logit of each row of an (n, features) matrix."""
        z = ((rows - self.mean) * self.scale).clip(-self.clip, self.clip)
        units = np.maximum(z @ self.inner + self.inner_bias, 0)
        logits: Numbers = units @ self.outer + self.bias
        return logits

    def probabilities(self, rows: Rows) -> list[float]:
        """Return the churn probability of each row, rounded: its last bits depend on how many rows there are."""
        return [round(probability, 6) for probability in probabilities(self.logits(rows), self.most).tolist()]

    def probability(self, row: Rows) -> float:
        """Return the churn probability of one row."""
        return self.probabilities(row[None])[0]


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


def pipeline() -> compose.Pipeline:
    """Return a fresh River pipeline: scaler, clip, logistic regression with AdaGrad (Duchi et al. 2011)."""
    regression = linear_model.LogisticRegression(optim.AdaGrad(RATE), intercept_lr=0.01)
    return compose.Pipeline(preprocessing.StandardScaler(), Clip(), regression)


def named(row: Rows) -> dict[base.typing.FeatureName, Any]:
    """Return a row as River has them."""
    return dict(zip(features.NAMES, row.tolist(), strict=True))


class _Learns(Protocol):
    """What the two learners have in common."""

    def learn(self, row: Rows, churned: bool, key: float | None) -> None: ...

    def recall(self, row: Rows, churned: bool, key: float) -> None: ...

    def snapshot(self, labels: int, offset: int) -> AnySnapshot: ...


class Logistic:
    """A River pipeline of scaler, clip and logistic regression."""

    def __init__(self) -> None:
        self.pipeline = pipeline()
        self._scaler, _, self._regression = self.pipeline.steps.values()

    def learn(self, row: Rows, churned: bool, key: float | None) -> None:
        """Learn from one row and its label."""
        self.pipeline.learn_one(named(row), churned)

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
    def restore(cls, snapshot: LogisticSnapshot) -> Logistic:
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


class Net:
    """The replay net."""

    def __init__(self, net: ReplayNet | None = None) -> None:
        self.net = net or ReplayNet()
        if net is None:
            self.net.widen(WIDTH)

    def learn(self, row: Rows, churned: bool, key: float | None) -> None:
        """Learn from one row and its label."""
        self.net.learn(row, churned, key)

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
            share=net.share,
            line=net.line.weights.tolist(),
            line_slopes=net.line.slopes.tolist(),
            line_bias=net.line.bias,
            steps=net.steps,
            parameters=_bytes(net.layers.flat),
            first=_bytes(net.first),
            second=_bytes(net.second),
            pending=[row.tolist() for row, _ in net.pending],
            pending_labels=[label for _, label in net.pending],
        )

    @classmethod
    def restore(cls, snapshot: NetSnapshot) -> Net:
        """Rebuild it; once the old rows are recalled, it goes on as if it had never stopped."""
        net = ReplayNet(copies=snapshot.copies, hidden=snapshot.hidden, seed=snapshot.seed)
        net.rows_seen, net.steps = snapshot.labels, snapshot.steps
        net.moments = _moments(snapshot)
        net.line.weights, net.line.slopes = np.array(snapshot.line), np.array(snapshot.line_slopes)
        net.line.bias = snapshot.line_bias
        net.layers = _layers(snapshot)
        net.first, net.second = _floats(snapshot.first), _floats(snapshot.second)
        net.kept.widen(WIDTH)
        rows = [features.array(row) for row in snapshot.pending]
        net.pending = list(zip(rows, snapshot.pending_labels, strict=True))
        return cls(net)


class Learner:
    """Learns churn from labelled rows, one at a time.

    The caller scores before it learns, and never asks this for the score of a row it has learned.
    """

    def __init__(self, kind: Kind = "net") -> None:
        self.kind = kind
        self.labels = 0
        self.core: _Learns = Net() if kind == "net" else Logistic()

    def learn(self, row: Rows, churned: bool, key: float | None = None) -> None:
        """Learn from one row and its label.

        Args:
            row: one value a feature.
            churned: its label.
            key: the row's place among all rows, evenly spread over [0, 1); the rows with the smallest are replayed.
        """
        self.core.learn(row, churned, key)
        self.labels += 1

    def recall(self, row: Rows, churned: bool, key: float) -> None:
        """Take back a row that was learned before the snapshot this was restored from, in the order of learning."""
        self.core.recall(row, churned, key)

    def snapshot(self, offset: int = -1) -> AnySnapshot:
        """Return all that is known as plain data: what `restore` and `scorer` read.

        Args:
            offset: of the last example learned, in the log they come from.
        """
        return self.core.snapshot(self.labels, offset)

    @classmethod
    def restore(cls, snapshot: AnySnapshot) -> Learner:
        """Rebuild a learner so that it goes on as if it had never stopped, once old rows are recalled."""
        learner = cls(kind_of(snapshot))
        learner.core = _restored(snapshot)
        learner.labels = snapshot.labels
        return learner


def kind_of(snapshot: AnySnapshot) -> Kind:
    """Return which learner a snapshot is of."""
    return "net" if isinstance(snapshot, NetSnapshot) else "logistic"


def sealed(snapshot: AnySnapshot) -> bytes:
    """Write a snapshot as JSON with a checksum over its contents."""
    body = msgspec.json.encode(snapshot)
    return msgspec.json.encode(Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


def opened(sealed_snapshot: bytes) -> AnySnapshot:
    """Read what `sealed` wrote.

    Raises:
        BadSnapshot: unreadable, changed on its way, of another schema, of other features or of a model unknown here.
    """
    try:
        envelope = msgspec.json.decode(sealed_snapshot, type=Sealed)
        made = msgspec.json.decode(envelope.snapshot, type=Made)
        if envelope.checksum != hashlib.sha256(envelope.snapshot).hexdigest():
            raise BadSnapshot("its checksum does not match its contents")
        if made.model not in KINDS or made != Made(model=made.model):
            raise BadSnapshot(f"it is {made}, but this version reads {Made(model=' or '.join(KINDS))}")
        snapshot: AnySnapshot = msgspec.json.decode(envelope.snapshot, type=AnySnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadSnapshot(f"unreadable: {error}") from None
    if wrong := snapshot.wrong():
        raise BadSnapshot(wrong)
    return snapshot


def scorer(snapshot: AnySnapshot) -> Scorer:
    """Build the scorer of a snapshot."""
    built = _net_scorer(snapshot) if isinstance(snapshot, NetSnapshot) else _logistic_scorer(snapshot)
    seen = hashlib.sha256()
    for part in (built.mean, built.scale, built.inner, built.inner_bias, built.outer, built.bias, built.most):
        seen.update(np.asarray(part, np.float64).tobytes())
    return replace(built, version=f"{built.version}-{seen.hexdigest()[:8]}")


def linear(version: str, labels: int, mean: Numbers, scale: Numbers, weights: Numbers, bias: float) -> Scorer:
    """Build the scorer of a logistic regression: its one logit s is relu(s) - relu(-s)."""
    inner, outer = np.column_stack((weights, -weights)), np.array((1.0, -1.0))
    return Scorer(version, labels, mean, scale, CLIP, inner, np.zeros(2), outer, bias)


def _net_scorer(snapshot: NetSnapshot) -> Scorer:
    """Put the hidden units of all nets beside each other, and the line beside them."""
    layers, share = _layers(snapshot), snapshot.share
    inner = layers.inner.transpose(1, 0, 2).reshape(WIDTH, -1).astype(np.float64)
    line, nets = np.array(snapshot.line), (1 - share if snapshot.rows else 0.0)
    outer = layers.outer.ravel().astype(np.float64) * (nets / snapshot.copies)
    return Scorer(
        version="net",
        labels=snapshot.labels,
        mean=np.array(snapshot.mean),
        scale=_moments(snapshot).scale,
        clip=NET_CLIP,
        inner=np.column_stack((inner, line, -line)),
        inner_bias=np.append(layers.inner_bias.ravel().astype(np.float64), (0.0, 0.0)),
        outer=np.append(outer, (share, -share)),
        bias=share * snapshot.line_bias + nets * float(layers.outer_bias.mean(dtype=np.float64)),
        most=certainty(snapshot.labels),
    )


def _logistic_scorer(snapshot: LogisticSnapshot) -> Scorer:
    variance = np.array(snapshot.variance)
    scale = np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)
    weights = np.array(snapshot.weights)
    return linear("logistic", snapshot.labels, np.array(snapshot.mean), scale, weights, snapshot.bias)


def _restored(snapshot: AnySnapshot) -> _Learns:
    return Net.restore(snapshot) if isinstance(snapshot, NetSnapshot) else Logistic.restore(snapshot)


def _moments(snapshot: NetSnapshot) -> Moments:
    moments = Moments(WIDTH)
    moments.count = snapshot.rows
    moments.mean, moments.squares = np.array(snapshot.mean), np.array(snapshot.squares)
    return moments


def _layers(snapshot: NetSnapshot) -> Layers:
    return Layers(snapshot.copies, WIDTH, snapshot.hidden, _floats(snapshot.parameters))


def _bytes(values: NDArray[np.float32]) -> bytes:
    return values.astype("<f4").tobytes()


def _floats(written: bytes) -> NDArray[np.float32]:
    return np.frombuffer(written, "<f4").astype(np.float32)
