"""Snapshots: the whole state of a churn learner as plain data, which any process can read and check."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from models.churn.components import SHARES, BayesianLogit, Ensemble, ExpertWeights, RunningMoments
from models.churn.early_signal import DriftCorrection, SignalOutcome
from models.person import features

SCHEMA = 4
FEATURES = hashlib.sha256("\n".join(features.NAMES).encode()).hexdigest()[:12]
"""Fingerprint of the feature names. Rows and snapshots with other features are refused."""
WIDTH = len(features.NAMES)

Kind = Literal["net", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class InvalidSnapshot(Exception):
    """A snapshot that must not be used. The message gives the reason."""


class SnapshotHeader(Struct, frozen=True, kw_only=True):
    """Schema, features and model of a snapshot. They can be read from a snapshot of any version."""

    schema: int = SCHEMA
    features: str = FEATURES
    model: str = ""


class ChurnSnapshot(Struct, frozen=True, kw_only=True):
    """Everything that a learner has learned, as plain data.

    Attributes:
        schema: version of this format.
        features: fingerprint of the feature names.
        labels: number of labelled rows learned.
        offset: offset of the last example learned. Learning continues right after it.
        rows: number of rows in `mean`.
        mean: mean of each feature.
        drift: state of the drift correction.
        signals: early signals of the rows that are not learned yet.
    """

    schema: int = SCHEMA
    features: str = FEATURES
    labels: Annotated[int, Meta(ge=0)]
    offset: int
    rows: Annotated[int, Meta(ge=0)]
    mean: list[float]
    drift: DriftCorrection = field(default=DriftCorrection(), name="pace")
    signals: list[SignalOutcome | None] = field(default_factory=list, name="signs")

    @property
    def unlearned_labels(self) -> list[bool]:
        """The labels of rows that are held but not learned yet."""
        return []

    @property
    def feature_columns(self) -> tuple[list[float], ...]:
        """The lists that must have one value for each feature."""
        return (self.mean,)

    def shape_error(self) -> str:
        """Return which part has a wrong shape, or an empty text."""
        sizes = {len(column) for column in self.feature_columns}
        if len(self.signals) != len(self.unlearned_labels):
            return f"{len(self.signals)} early signals of {len(self.unlearned_labels)} rows"
        return "" if sizes == {WIDTH} else f"columns of {sorted(sizes)} values, not of {WIDTH}"


class LogisticSnapshot(ChurnSnapshot, frozen=True, kw_only=True, tag_field="model", tag="logistic"):
    """State of the logistic regression: each feature's variance and weight, and AdaGrad's sums of squared gradients."""

    variance: list[float]
    weights: list[float]
    bias: float
    gradients: list[float]
    steps: int

    @property
    def feature_columns(self) -> tuple[list[float], ...]:
        """The lists that must have one value for each feature."""
        return self.mean, self.variance, self.weights, self.gradients


class NetSnapshot(ChurnSnapshot, frozen=True, kw_only=True, tag_field="model", tag="net"):
    """State of the replay net.

    It holds the logistic regression with its precision, the nets' parameters with Adam's two moments, the losses of the
    expert weights, and the rows not learned yet. `squares` are sums of squared deviations. Bytes are little-endian
    float32, the precision float64. The reservoir is too large: it is filled again from the examples up to `offset`
    (see `ChurnLearner.restore_row`).
    """

    squares: list[float]
    seed: int
    copies: Annotated[int, Meta(ge=1, le=64)]
    hidden: Annotated[int, Meta(ge=1, le=1_024)]
    logit_weights: list[float] = field(name="line")
    logit_bias: float = field(name="line_bias")
    logit_precision: bytes = field(name="line_precision")
    losses: list[float]
    steps: int
    parameters: bytes
    first_moment: bytes = field(name="first")
    second_moment: bytes = field(name="second")
    pending: list[list[float]]
    pending_labels: list[bool]

    @property
    def unlearned_labels(self) -> list[bool]:
        """The labels of rows that are held but not learned yet."""
        return self.pending_labels

    def shape_error(self) -> str:
        """Return which part has a wrong shape, or an empty text."""
        size = 4 * Ensemble.size(self.copies, WIDTH, self.hidden)
        flat = (self.parameters, self.first_moment, self.second_moment)
        if any(len(part) != size for part in flat):
            return f"parameters of {len(self.parameters)} bytes, not of {size}"
        if not np.isfinite(unpack_floats(b"".join(flat))).all():
            return "parameters that are not finite"
        if len(self.logit_precision) != 8 * (WIDTH + 1) ** 2 or len(self.losses) != len(SHARES):
            return f"a logit precision of {len(self.logit_precision)} bytes, {len(self.losses)} losses"
        if not _is_positive_definite(restore_logit(self).precision):
            return "a logit precision that is not positive definite"
        if len(self.pending) != len(self.pending_labels) or any(len(row) != WIDTH for row in self.pending):
            return f"pending rows not of {WIDTH} values with a label each"
        return super().shape_error()

    @property
    def feature_columns(self) -> tuple[list[float], ...]:
        """The lists that must have one value for each feature."""
        return self.mean, self.squares, self.logit_weights


AnySnapshot = LogisticSnapshot | NetSnapshot


class SignedSnapshot(Struct, frozen=True):
    """A snapshot's bytes and their SHA-256."""

    checksum: str
    snapshot: msgspec.Raw


def snapshot_kind(snapshot: AnySnapshot) -> Kind:
    """Return the kind of learner that wrote a snapshot."""
    return "net" if isinstance(snapshot, NetSnapshot) else "logistic"


def encode_snapshot(snapshot: AnySnapshot) -> bytes:
    """Encode a snapshot as JSON with a checksum over its contents."""
    body = msgspec.json.encode(snapshot)
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


def decode_snapshot(encoded: bytes) -> AnySnapshot:
    """Decode and check what `encode_snapshot` wrote.

    Raises:
        InvalidSnapshot: unreadable or corrupted, or of another schema, feature set or model.
    """
    try:
        signed = msgspec.json.decode(encoded, type=SignedSnapshot)
        header = msgspec.json.decode(signed.snapshot, type=SnapshotHeader)
        if signed.checksum != hashlib.sha256(signed.snapshot).hexdigest():
            raise InvalidSnapshot("its checksum does not match its contents")
        if header.model not in KINDS or header != SnapshotHeader(model=header.model):
            raise InvalidSnapshot(f"it is {header}, but this version reads {SnapshotHeader(model=' or '.join(KINDS))}")
        snapshot: AnySnapshot = msgspec.json.decode(signed.snapshot, type=AnySnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshot(f"unreadable: {error}") from None
    if error_text := snapshot.shape_error():
        raise InvalidSnapshot(error_text)
    return snapshot


def restore_moments(snapshot: NetSnapshot) -> RunningMoments:
    """Restore the running mean and variance of every column."""
    restored = RunningMoments(WIDTH)
    restored.count = snapshot.rows
    restored.mean, restored.squares = np.array(snapshot.mean), np.array(snapshot.squares)
    return restored


def restore_ensemble(snapshot: NetSnapshot) -> Ensemble:
    """Restore the nets."""
    return Ensemble(snapshot.copies, WIDTH, snapshot.hidden, unpack_floats(snapshot.parameters))


def restore_logit(snapshot: NetSnapshot) -> BayesianLogit:
    """Restore the logistic regression."""
    restored = BayesianLogit(WIDTH)
    restored.weights, restored.bias = np.array(snapshot.logit_weights), snapshot.logit_bias
    restored.precision = np.frombuffer(snapshot.logit_precision, "<f8").reshape(WIDTH + 1, WIDTH + 1).astype(np.float64)
    return restored


def restore_weights(snapshot: NetSnapshot) -> ExpertWeights:
    """Restore the weights of logistic regression and nets."""
    restored = ExpertWeights()
    restored.losses = np.array(snapshot.losses)
    return restored


def _is_positive_definite(precision: NDArray[np.float64]) -> bool:
    """Return whether a matrix is finite and positive definite, as a precision must be."""
    try:
        return bool(np.isfinite(np.linalg.cholesky(precision)).all())
    except np.linalg.LinAlgError:
        return False


def pack_floats(values: NDArray[np.float32]) -> bytes:
    """Encode numbers as little-endian float32."""
    return values.astype("<f4").tobytes()


def unpack_floats(packed: bytes) -> NDArray[np.float32]:
    """Decode what `pack_floats` encoded."""
    return np.frombuffer(packed, "<f4").astype(np.float32)
