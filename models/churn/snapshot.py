"""What a churn learner has learned, as plain data: snapshots that can be sent, checked and read anywhere."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from models.churn.early_signal import DriftCorrection, SignalOutcome
from models.churn.layers import SHARES, BayesianLogit, Ensemble, ExpertWeights, RunningMoments
from models.person import features

SCHEMA = 4
FEATURES = hashlib.sha256("\n".join(features.NAMES).encode()).hexdigest()[:12]
"""Names the row's columns: rows and snapshots of other columns are refused."""
WIDTH = len(features.NAMES)

Kind = Literal["net", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class InvalidSnapshot(Exception):
    """A snapshot that must not be used; says why."""


class SnapshotHeader(Struct, frozen=True, kw_only=True):
    """What a snapshot says of its own making; it can be read of any version."""

    schema: int = SCHEMA
    features: str = FEATURES
    model: str = ""


class ChurnSnapshot(Struct, frozen=True, kw_only=True):
    """Everything a learner knows, as plain data.

    `offset` is that of the last example in it, so that learning goes on right behind; `mean` is every column's, over
    the `rows` rows in it; `pace` is that at which people come back; `signs` are those of the rows not yet learned.
    """

    schema: int = SCHEMA
    features: str = FEATURES
    labels: Annotated[int, Meta(ge=0)]
    offset: int
    rows: Annotated[int, Meta(ge=0)]
    mean: list[float]
    pace: DriftCorrection = DriftCorrection()
    signs: list[SignalOutcome | None] = []

    @property
    def unlearned(self) -> list[bool]:
        """The labels of rows that it has but has not learned."""
        return []

    @property
    def columns(self) -> tuple[list[float], ...]:
        """What has one value a feature."""
        return (self.mean,)

    def wrong(self) -> str:
        """Say which part has a shape that its learner cannot have, or nothing."""
        sizes = {len(column) for column in self.columns}
        if len(self.signs) != len(self.unlearned):
            return f"{len(self.signs)} signs of {len(self.unlearned)} rows"
        return "" if sizes == {WIDTH} else f"columns of {sorted(sizes)} values, not of {WIDTH}"


class LogisticSnapshot(ChurnSnapshot, frozen=True, kw_only=True, tag_field="model", tag="logistic"):
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


class NetSnapshot(ChurnSnapshot, frozen=True, kw_only=True, tag_field="model", tag="net"):
    """The line and its precision, the nets' parameters and Adam's two moments, how the two are blended, and the rows
    not yet learned.

    `squares` are sums of squared deviations; bytes are float32, of the precision float64, little end first. The
    reservoir does not fit: it is filled again from the examples up to `offset` (`ChurnLearner.recall`).
    """

    squares: list[float]
    seed: int
    copies: Annotated[int, Meta(ge=1, le=64)]
    hidden: Annotated[int, Meta(ge=1, le=1_024)]
    line: list[float]
    line_bias: float
    line_precision: bytes
    losses: list[float]
    steps: int
    parameters: bytes
    first: bytes
    second: bytes
    pending: list[list[float]]
    pending_labels: list[bool]

    @property
    def unlearned(self) -> list[bool]:
        """The labels of rows that it has but has not learned."""
        return self.pending_labels

    def wrong(self) -> str:
        """Say which part has a shape that its learner cannot have, or nothing."""
        size = 4 * Ensemble.size(self.copies, WIDTH, self.hidden)
        if any(len(part) != size for part in (self.parameters, self.first, self.second)):
            return f"parameters of {len(self.parameters)} bytes, not of {size}"
        if not np.isfinite(unpack_floats(self.parameters + self.first + self.second)).all():
            return "parameters that are no numbers"
        if len(self.line_precision) != 8 * (WIDTH + 1) ** 2 or len(self.losses) != len(SHARES):
            return f"a line's precision of {len(self.line_precision)} bytes, {len(self.losses)} blends"
        if not _positive(restore_logit(self).precision):
            return "a line's precision that is none"
        if len(self.pending) != len(self.pending_labels) or any(len(row) != WIDTH for row in self.pending):
            return f"pending rows not of {WIDTH} values with a label each"
        return super().wrong()

    @property
    def columns(self) -> tuple[list[float], ...]:
        """What has one value a feature."""
        return self.mean, self.squares, self.line


AnySnapshot = LogisticSnapshot | NetSnapshot


class SignedSnapshot(Struct, frozen=True):
    """A snapshot's bytes and their SHA-256."""

    checksum: str
    snapshot: msgspec.Raw


def snapshot_kind(snapshot: AnySnapshot) -> Kind:
    """Return which learner a snapshot is of."""
    return "net" if isinstance(snapshot, NetSnapshot) else "logistic"


def encode_snapshot(snapshot: AnySnapshot) -> bytes:
    """Write a snapshot as JSON with a checksum over its contents."""
    body = msgspec.json.encode(snapshot)
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


def decode_snapshot(sealed_snapshot: bytes) -> AnySnapshot:
    """Read what `sealed` wrote.

    Raises:
        InvalidSnapshot: unreadable or corrupted, or of another schema, feature set or model.
    """
    try:
        envelope = msgspec.json.decode(sealed_snapshot, type=SignedSnapshot)
        made = msgspec.json.decode(envelope.snapshot, type=SnapshotHeader)
        if envelope.checksum != hashlib.sha256(envelope.snapshot).hexdigest():
            raise InvalidSnapshot("its checksum does not match its contents")
        if made.model not in KINDS or made != SnapshotHeader(model=made.model):
            raise InvalidSnapshot(f"it is {made}, but this version reads {SnapshotHeader(model=' or '.join(KINDS))}")
        snapshot: AnySnapshot = msgspec.json.decode(envelope.snapshot, type=AnySnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshot(f"unreadable: {error}") from None
    if wrong := snapshot.wrong():
        raise InvalidSnapshot(wrong)
    return snapshot


def restore_moments(snapshot: NetSnapshot) -> RunningMoments:
    """Rebuild the running mean and variance of every column."""
    rebuilt = RunningMoments(WIDTH)
    rebuilt.count = snapshot.rows
    rebuilt.mean, rebuilt.squares = np.array(snapshot.mean), np.array(snapshot.squares)
    return rebuilt


def restore_layers(snapshot: NetSnapshot) -> Ensemble:
    """Rebuild the nets."""
    return Ensemble(snapshot.copies, WIDTH, snapshot.hidden, unpack_floats(snapshot.parameters))


def restore_logit(snapshot: NetSnapshot) -> BayesianLogit:
    """Rebuild the logistic regression."""
    rebuilt = BayesianLogit(WIDTH)
    rebuilt.weights, rebuilt.bias = np.array(snapshot.line), snapshot.line_bias
    rebuilt.precision = np.frombuffer(snapshot.line_precision, "<f8").reshape(WIDTH + 1, WIDTH + 1).astype(np.float64)
    return rebuilt


def restore_weights(snapshot: NetSnapshot) -> ExpertWeights:
    """Rebuild what says how much the logistic regression counts."""
    rebuilt = ExpertWeights()
    rebuilt.losses = np.array(snapshot.losses)
    return rebuilt


def _positive(precision: NDArray[np.float64]) -> bool:
    """Whether a matrix can be a precision: of numbers, and positive definite."""
    try:
        return bool(np.isfinite(np.linalg.cholesky(precision)).all())
    except np.linalg.LinAlgError:
        return False


def pack_floats(values: NDArray[np.float32]) -> bytes:
    """Write numbers as bytes."""
    return values.astype("<f4").tobytes()


def unpack_floats(written: bytes) -> NDArray[np.float32]:
    """Read what `packed` wrote."""
    return np.frombuffer(written, "<f4").astype(np.float32)
