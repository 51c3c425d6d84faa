"""The snapshot of a ranker as plain data: the trainer publishes it, and every worker scores with it.

This module loads no River. `ranker_state` makes snapshots of estimators, and restores estimators from them.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Struct

from models.churn.snapshot import InvalidSnapshot, SignedSnapshot
from models.recommend.candidates import Repeats
from models.recommend.features import column_names
from models.recommend.ranker_scorer import NETS, LinearScorer, NetScorer, Standardizer, net_shapes

SCHEMA = 1
Numbers = list[float]


class RankerSnapshot(Struct, frozen=True, kw_only=True):
    """A ranker, as plain data.

    Attributes:
        kind: `linear` or `net`.
        repeats: setting of the surface whose rows it ranks.
        columns: hash of the rows' column names. Other columns are refused.
        lists: number of lists it has learned from; `steps`: steps of the optimizer.
        offset: offset of the last example in it. Learning goes on after it.
        count: rows behind `mean` and `squares`, the running statistics of the columns.
        weights, first, second: each layer, row by row, with the optimizer's moments. A linear ranker has no `first`.
    """

    schema: int = SCHEMA
    kind: str
    repeats: Repeats
    columns: str
    lists: Annotated[int, msgspec.Meta(ge=0)]
    steps: Annotated[int, msgspec.Meta(ge=0)]
    offset: int = -1
    count: float
    mean: Numbers
    squares: Numbers
    weights: list[Numbers]
    first: list[Numbers]
    second: list[Numbers]


def columns_hash(repeats: Repeats) -> str:
    """Return a hash of the column names of a surface's rows."""
    return hashlib.sha256("\n".join(column_names(repeats)).encode()).hexdigest()[:12]


def encode_ranker(snapshot: RankerSnapshot) -> bytes:
    """Encode a snapshot as JSON, with a checksum of its contents."""
    body = msgspec.json.encode(snapshot)
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


def decode_ranker(data: bytes) -> RankerSnapshot:
    """Decode what `encode_ranker` returned.

    Raises:
        InvalidSnapshot: it is unreadable or corrupted, has another schema, kind or columns, or its sizes do not fit.
    """
    try:
        envelope = msgspec.json.decode(data, type=SignedSnapshot)
        snapshot = msgspec.json.decode(envelope.snapshot, type=RankerSnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshot(f"unreadable: {error}") from None
    if envelope.checksum != hashlib.sha256(envelope.snapshot).hexdigest():
        raise InvalidSnapshot("its checksum does not match its contents")
    if snapshot.schema != SCHEMA or snapshot.kind not in ("linear", "net"):
        raise InvalidSnapshot(
            f"it has schema {snapshot.schema}, kind {snapshot.kind}, which this version does not read"
        )
    if snapshot.columns != columns_hash(snapshot.repeats):
        expected = columns_hash(snapshot.repeats)
        raise InvalidSnapshot(f"its columns are {snapshot.columns}, those of this version {expected}")
    check_sizes(snapshot)
    return snapshot


def check_sizes(snapshot: RankerSnapshot) -> None:
    """Check that the numbers of a snapshot fit its columns.

    Raises:
        InvalidSnapshot: they do not.
    """
    size = len(column_names(snapshot.repeats))
    if not len(snapshot.mean) == len(snapshot.squares) == size:
        raise InvalidSnapshot(f"it has {len(snapshot.mean)} columns instead of {size}")
    shapes = net_shapes(size) if snapshot.kind == "net" else [(size,)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    moments = (snapshot.first, snapshot.second) if snapshot.kind == "net" else (snapshot.second,)
    if any([len(numbers) for numbers in layers] != sizes for layers in (snapshot.weights, *moments)):
        raise InvalidSnapshot("its layers have other sizes than those of this version")


def build_ranker_scorer(snapshot: RankerSnapshot) -> LinearScorer | NetScorer:
    """Return a scorer that gives the same scores as the ranker of the snapshot.

    Raises:
        InvalidSnapshot: the numbers of the snapshot do not fit its columns.
    """
    check_sizes(snapshot)
    standard = standardizer_of(snapshot)
    if snapshot.kind == "linear":
        return LinearScorer(standard, np.array(snapshot.weights[0]))
    shapes = net_shapes(len(snapshot.mean))
    weights = [
        np.array(numbers, np.float32).reshape(shape) for numbers, shape in zip(snapshot.weights, shapes, strict=True)
    ]
    return NetScorer(standard, weights, NETS)


def standardizer_of(snapshot: RankerSnapshot) -> Standardizer:
    """Return the standardizer with a snapshot's statistics."""
    return Standardizer.from_moments(snapshot.count, np.array(snapshot.mean), np.array(snapshot.squares))
