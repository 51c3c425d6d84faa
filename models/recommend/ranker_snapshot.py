"""All that a ranker knows as plain data: published by whoever learns, read by everybody who ranks.

The lists kept for replay are not in it. A restored net goes on learning from what comes, its ring filling anew; whoever
wants it full reads the latest examples back.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.churn.snapshot import InvalidSnapshot, SignedSnapshot
from models.recommend.candidates import Repeats
from models.recommend.features import names_for
from models.recommend.net import NetRanker
from models.recommend.ranker import LinearRanker, Standard

SCHEMA = 1
Numbers = list[float]


class RankerSnapshot(Struct, frozen=True, kw_only=True):
    """A ranker, as plain data.

    Attributes:
        kind: `linear` or `net`.
        repeats: of the surface whose rows it ranks.
        columns: names the rows' columns; other columns are refused.
        lists: how many lists it has learned from; `steps`: of the optimizer.
        offset: of the last example in it, so that learning goes on right behind.
        count: rows behind `mean` and `squares`, the running statistics of the columns.
        weights, first, second: of each layer, row by row; the optimizer's moments (a linear ranker has no `first`).
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


def columns_of(repeats: Repeats) -> str:
    """Return the name of a surface's columns."""
    return hashlib.sha256("\n".join(names_for(repeats)).encode()).hexdigest()[:12]


def ranker_snapshot(ranker: LinearRanker | NetRanker, repeats: Repeats, offset: int = -1) -> RankerSnapshot:
    """Return all that a ranker knows, apart from lists kept for replay."""
    net = isinstance(ranker, NetRanker)
    return RankerSnapshot(
        kind="net" if net else "linear",
        repeats=repeats,
        columns=columns_of(repeats),
        lists=ranker.lists,
        steps=ranker.steps if isinstance(ranker, NetRanker) else ranker.lists,
        offset=offset,
        count=ranker.standard.count,
        mean=ranker.standard.mean.tolist(),
        squares=ranker.standard.squares.tolist(),
        weights=[_flat(weight) for weight in _layers(ranker, "weights")],
        first=[_flat(weight) for weight in ranker.first] if isinstance(ranker, NetRanker) else [],
        second=[_flat(weight) for weight in _layers(ranker, "second")],
    )


def restore_ranker(said: RankerSnapshot) -> LinearRanker | NetRanker:
    """Rebuild a ranker that scores the same and goes on learning.

    Raises:
        InvalidSnapshot: its numbers do not fit its columns.
    """
    size = len(names_for(said.repeats))
    ranker = NetRanker(size) if said.kind == "net" else LinearRanker(size)
    ranker.lists = said.lists
    ranker.standard = _standard(said, size)
    _fill(_layers(ranker, "weights"), said.weights)
    _fill(_layers(ranker, "second"), said.second)
    if isinstance(ranker, NetRanker):
        _fill(ranker.first, said.first)
        ranker.steps = said.steps
    return ranker


def encode_ranker(said: RankerSnapshot) -> bytes:
    """Write a snapshot as JSON with a checksum over its contents."""
    body = msgspec.json.encode(said)
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


def decode_ranker(sealed_snapshot: bytes) -> RankerSnapshot:
    """Read what `sealed` wrote.

    Raises:
        InvalidSnapshot: unreadable or corrupted, of another schema, kind or columns, or not finite.
    """
    try:
        envelope = msgspec.json.decode(sealed_snapshot, type=SignedSnapshot)
        said = msgspec.json.decode(envelope.snapshot, type=RankerSnapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidSnapshot(f"unreadable: {error}") from None
    if envelope.checksum != hashlib.sha256(envelope.snapshot).hexdigest():
        raise InvalidSnapshot("its checksum does not match its contents")
    if said.schema != SCHEMA or said.kind not in ("linear", "net"):
        raise InvalidSnapshot(f"it is of schema {said.schema}, kind {said.kind}, which this version does not read")
    if said.columns != columns_of(said.repeats):
        raise InvalidSnapshot(f"its columns are {said.columns}, those of this version {columns_of(said.repeats)}")
    restore_ranker(said)
    return said


def _layers(ranker: LinearRanker | NetRanker, name: str) -> list[NDArray[np.float32]]:
    if isinstance(ranker, NetRanker):
        return ranker.weights if name == "weights" else ranker.second
    return [ranker.weights if name == "weights" else ranker.squares]  # type: ignore[list-item]


def _standard(said: RankerSnapshot, size: int) -> Standard:
    if not len(said.mean) == len(said.squares) == size:
        raise InvalidSnapshot(f"it has {len(said.mean)} columns instead of {size}")
    return Standard.of(said.count, np.array(said.mean), np.array(said.squares))


def _flat(weight: NDArray[np.floating]) -> Numbers:
    numbers: Numbers = weight.ravel().tolist()
    return numbers


def _fill(layers: list[NDArray[np.float32]], said: list[Numbers]) -> None:
    if [layer.size for layer in layers] != [len(numbers) for numbers in said]:
        raise InvalidSnapshot("its layers have other sizes than those of this version")
    for layer, numbers in zip(layers, said, strict=True):
        layer[...] = np.array(numbers).reshape(layer.shape)
