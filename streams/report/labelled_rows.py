"""Labelled rows in memory, so that another model can score the same rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.person import features
from models.person.ledger import hash_share
from models.schema.outputs import Example

Floats = NDArray[np.float64]
RowScorer = Callable[[NDArray[np.float32], NDArray[np.bool_], Floats, Floats], Floats]
"""Takes (n, features) rows, n labels (whether churned), the time of each score and the time of each label.

Times are in seconds since 1970 UTC. Returns n probabilities, each from data known when its row was scored; NaN where
no model existed yet.
"""

NO_POSITION = -1
"""The position of a row that was scored before a model existed. It is only used for training."""


class LabelledRows:
    """Keeps a limited number of rows. Beyond the limit, it keeps all rows of a share of the users.

    Args:
        max_rows: the limit.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._user_share = 1.0
        self._x = bytearray()
        self._times, self._until = array("d"), array("d")
        self._churned, self._positions, self._hash_shares = array("B"), array("q"), array("d")

    @property
    def user_share(self) -> float:
        """The share of users whose rows are kept."""
        return self._user_share

    def __len__(self) -> int:
        return len(self._times)

    def add(self, example: Example, position: int) -> None:
        """Add a row.

        Args:
            example: the row; if its user was treated, its label is not used for training.
            position: its number among the scores, or `NO_POSITION`.
        """
        share = hash_share(example.user, "rows") if self._max_rows else 1.0
        if share >= self._user_share or not self._max_rows:
            return
        self._x += features.pack(features.array(example.x))
        self._times.append(example.time)
        self._until.append(float("inf") if example.treated else example.until)
        self._churned.append(example.churned)
        self._positions.append(position)
        self._hash_shares.append(share)
        while len(self) > self._max_rows:
            self._halve_users()

    def score_with(self, scorer: RowScorer, scores: int) -> Floats:
        """Score the rows with another model.

        Returns:
            As many values as there are scores, each at its row's position; NaN where there is none.
        """
        scores_by_position = np.full(scores, np.nan)
        positions = np.array(self._positions, np.int64)
        if len(positions):
            result = scorer(self._matrix(), np.array(self._churned, bool), np.array(self._times), np.array(self._until))
            scores_by_position[positions[positions >= 0]] = result[positions >= 0]
        return scores_by_position

    def _matrix(self) -> NDArray[np.float32]:
        return np.frombuffer(bytes(self._x), np.float16).reshape(len(self), -1).astype(np.float32)

    def _halve_users(self) -> None:
        """Drop the rows of half of the users."""
        self._user_share /= 2
        kept = np.array(self._hash_shares) < self._user_share
        packed = np.frombuffer(bytes(self._x), np.uint8).reshape(len(self), -1)
        self._x = bytearray(packed[kept].tobytes())
        for name in ("_times", "_until", "_churned", "_positions", "_hash_shares"):
            column: array[float] = getattr(self, name)
            setattr(self, name, array(column.typecode, np.array(column)[kept].tobytes()))
