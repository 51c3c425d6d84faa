"""What a churn learner has learned, as plain data: snapshots that can be sent, checked and read anywhere."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from models import features
from models.layers import SHARES, Blend, Layers, Line, Moments
from models.pace import Pace, Sign

SCHEMA = 4
FEATURES = hashlib.sha256("\n".join(features.NAMES).encode()).hexdigest()[:12]
"""Names the row's columns: rows and snapshots of other columns are refused."""
WIDTH = len(features.NAMES)

Kind = Literal["net", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)


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
    the `rows` rows in it; `pace` is that at which people come back; `signs` are those of the rows not yet learned.
    """

    schema: int = SCHEMA
    features: str = FEATURES
    labels: Annotated[int, Meta(ge=0)]
    offset: int
    rows: Annotated[int, Meta(ge=0)]
    mean: list[float]
    pace: Pace = Pace()
    signs: list[Sign | None] = []

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
    """The line and its precision, the nets' parameters and Adam's two moments, how the two are blended, and the rows
    not yet learned.

    `squares` are sums of squared deviations; bytes are float32, of the precision float64, little end first. The
    reservoir does not fit: it is filled again from the examples up to `offset` (`Learner.recall`).
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
        size = 4 * Layers.size(self.copies, WIDTH, self.hidden)
        if any(len(part) != size for part in (self.parameters, self.first, self.second)):
            return f"parameters of {len(self.parameters)} bytes, not of {size}"
        if not np.isfinite(floats(self.parameters + self.first + self.second)).all():
            return "parameters that are no numbers"
        if len(self.line_precision) != 8 * (WIDTH + 1) ** 2 or len(self.losses) != len(SHARES):
            return f"a line's precision of {len(self.line_precision)} bytes, {len(self.losses)} blends"
        if not _positive(line(self).precision):
            return "a line's precision that is none"
        if len(self.pending) != len(self.pending_labels) or any(len(row) != WIDTH for row in self.pending):
            return f"pending rows not of {WIDTH} values with a label each"
        return super().wrong()

    @property
    def columns(self) -> tuple[list[float], ...]:
        """What has one value a feature."""
        return self.mean, self.squares, self.line


AnySnapshot = LogisticSnapshot | NetSnapshot


class Sealed(Struct, frozen=True):
    """A snapshot's bytes and their SHA-256."""

    checksum: str
    snapshot: msgspec.Raw


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


def moments(snapshot: NetSnapshot) -> Moments:
    """Rebuild the running mean and variance of every column."""
    rebuilt = Moments(WIDTH)
    rebuilt.count = snapshot.rows
    rebuilt.mean, rebuilt.squares = np.array(snapshot.mean), np.array(snapshot.squares)
    return rebuilt


def layers(snapshot: NetSnapshot) -> Layers:
    """Rebuild the nets."""
    return Layers(snapshot.copies, WIDTH, snapshot.hidden, floats(snapshot.parameters))


def line(snapshot: NetSnapshot) -> Line:
    """Rebuild the logistic regression."""
    rebuilt = Line(WIDTH)
    rebuilt.weights, rebuilt.bias = np.array(snapshot.line), snapshot.line_bias
    rebuilt.precision = np.frombuffer(snapshot.line_precision, "<f8").reshape(WIDTH + 1, WIDTH + 1).astype(np.float64)
    return rebuilt


def blend(snapshot: NetSnapshot) -> Blend:
    """Rebuild what says how much the logistic regression counts."""
    rebuilt = Blend()
    rebuilt.losses = np.array(snapshot.losses)
    return rebuilt


def _positive(precision: NDArray[np.float64]) -> bool:
    """Whether a matrix can be a precision: of numbers, and positive definite."""
    try:
        return bool(np.isfinite(np.linalg.cholesky(precision)).all())
    except np.linalg.LinAlgError:
        return False


def packed(values: NDArray[np.float32]) -> bytes:
    """Write numbers as bytes."""
    return values.astype("<f4").tobytes()


def floats(written: bytes) -> NDArray[np.float32]:
    """Read what `packed` wrote."""
    return np.frombuffer(written, "<f4").astype(np.float32)
