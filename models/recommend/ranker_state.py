"""Snapshots of the rankers that learn, and their restoration. Only the trainer needs this module.

Lists kept for replay are not part of a snapshot. The ring of a restored net fills again with new lists. A trainer that
wants a full ring reads the latest examples back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.recommend.candidates import Repeats
from models.recommend.features import column_names
from models.recommend.linear_ranker import LinearRanker
from models.recommend.net_ranker import NetRanker
from models.recommend.ranker_snapshot import Numbers, RankerSnapshot, check_sizes, columns_hash, standardizer_of


def snapshot_ranker(ranker: LinearRanker | NetRanker, repeats: Repeats, offset: int = -1) -> RankerSnapshot:
    """Return the whole state of a ranker, except the lists kept for replay."""
    net = isinstance(ranker, NetRanker)
    return RankerSnapshot(
        kind="net" if net else "linear",
        repeats=repeats,
        columns=columns_hash(repeats),
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


def restore_ranker(snapshot: RankerSnapshot) -> LinearRanker | NetRanker:
    """Return a ranker that gives the same scores and goes on learning.

    Raises:
        InvalidSnapshot: the numbers of the snapshot do not fit its columns.
    """
    check_sizes(snapshot)
    size = len(column_names(snapshot.repeats))
    ranker = NetRanker(size) if snapshot.kind == "net" else LinearRanker(size)
    ranker.lists = snapshot.lists
    ranker.standard = standardizer_of(snapshot)
    _fill(_layers(ranker, "weights"), snapshot.weights)
    _fill(_layers(ranker, "second"), snapshot.second)
    if isinstance(ranker, NetRanker):
        _fill(ranker.first, snapshot.first)
        ranker.steps = snapshot.steps
    return ranker


def _layers(ranker: LinearRanker | NetRanker, name: str) -> list[NDArray[np.float32]]:
    if isinstance(ranker, NetRanker):
        return ranker.weights if name == "weights" else ranker.second
    return [ranker.weights if name == "weights" else ranker.squares]  # type: ignore[list-item]


def _flat(weight: NDArray[np.floating]) -> Numbers:
    numbers: Numbers = weight.ravel().tolist()
    return numbers


def _fill(layers: list[NDArray[np.float32]], numbers: list[Numbers]) -> None:
    for layer, values in zip(layers, numbers, strict=True):
        layer[...] = np.array(values).reshape(layer.shape)
