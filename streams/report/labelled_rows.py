"""Labelled rows as they were scored, for somebody else to score the same."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.person import features
from models.person.ledger import hash_share
from models.schema.outputs import Example

Floats = NDArray[np.float64]
Rival = Callable[[NDArray[np.float32], NDArray[np.bool_], Floats, Floats], Floats]
"""Takes (n, features) rows, n labels (whether churned), when each row was scored and when its label was known (both in
seconds since 1970 UTC); gives n probabilities, each from what was known when its row was scored, NaN where nothing was.
"""

NOWHERE = -1
"""The place of a row that was scored before there was a model: it is there to be learned from."""


class LabelledRows:
    """At most so many rows; of more, those of a part of the people, all rows of each of them.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._part = 1.0
        self._x = bytearray()
        self._times, self._until = array("d"), array("d")
        self._churned, self._places, self._shares = array("B"), array("q"), array("d")

    @property
    def part(self) -> float:
        """Of which part of the people rows are kept."""
        return self._part

    def __len__(self) -> int:
        return len(self._times)

    def add(self, example: Example, place: int) -> None:
        """Take a row.

        Args:
            example: the row; of one whose person had been treated, the label teaches nothing.
            place: its number among the scores, or `NOWHERE`.
        """
        share = hash_share(example.user, "rows") if self._most else 1.0
        if share >= self._part or not self._most:
            return
        self._x += features.pack(features.array(example.x))
        self._times.append(example.time)
        self._until.append(float("inf") if example.treated else example.until)
        self._churned.append(example.churned)
        self._places.append(place)
        self._shares.append(share)
        while len(self) > self._most:
            self._thin()

    def scored(self, rival: Rival, scores: int) -> Floats:
        """Have a rival score the rows.

        Returns:
            As many values as there are scores, each at its row's place; NaN where the rival has none.
        """
        found = np.full(scores, np.nan)
        places = np.array(self._places, np.int64)
        if len(places):
            said = rival(self._matrix(), np.array(self._churned, bool), np.array(self._times), np.array(self._until))
            found[places[places >= 0]] = said[places >= 0]
        return found

    def _matrix(self) -> NDArray[np.float32]:
        return np.frombuffer(bytes(self._x), np.float16).reshape(len(self), -1).astype(np.float32)

    def _thin(self) -> None:
        """Let go of the rows of half of the people."""
        self._part /= 2
        stays = np.array(self._shares) < self._part
        packed = np.frombuffer(bytes(self._x), np.uint8).reshape(len(self), -1)
        self._x = bytearray(packed[stays].tobytes())
        for name in ("_times", "_until", "_churned", "_places", "_shares"):
            column: array[float] = getattr(self, name)
            setattr(self, name, array(column.typecode, np.array(column)[stays].tobytes()))
