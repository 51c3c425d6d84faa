"""What a churn model is measured against on the same rows: River's classifiers, and boosting fitted anew every week."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.person import features
from models.person.activity import DAY
from streams.runtime import limit_blas_threads, require_library

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

MOST_FITTED = 100_000
"""Rows of one fit: on one core, some two seconds. Of more, as many are drawn."""


def weeks_of(times: Floats) -> NDArray[np.int64]:
    """Return the number of the week, beginning on Monday, in which each moment lies."""
    return (np.floor(times / DAY).astype(np.int64) + 3) // 7


def online(
    model: Any,
    rows: NDArray[np.float32],
    churned: Bools,
    times: Floats,
    until: Floats,
    only: tuple[str, ...] = features.NAMES,
) -> Floats:
    """Score every row with a River classifier that has learned, one by one, those whose label was known at its time.

    Args:
        model: any of River's; it goes on from what it knows.
        rows: (n, features), in the order in which their labels came.
        churned: (n,) labels.
        times: (n,) when a row is scored.
        until: (n,) when its label is known.
        only: the features it sees.

    Returns:
        (n,) probabilities.
    """
    seen = rows[:, [features.NAMES.index(name) for name in only]]
    known, scores = 0, np.empty(len(rows))
    for index, time in enumerate(times.tolist()):
        while known < index and until[known] <= time:
            model.learn_one(dict(zip(only, seen[known].tolist(), strict=True)), bool(churned[known]))
            known += 1
        said = model.predict_proba_one(dict(zip(only, seen[index].tolist(), strict=True)))
        scores[index] = min(1.0, max(0.0, said.get(True, 0.5)))
    return scores


class Boosting:
    """scikit-learn's HistGradientBoostingClassifier as it comes, fitted at the beginning of every week.

    Args:
        least: labels without which nothing is fitted.
        most: rows that a fit is given; of more, as many are drawn.
        seed: of draws and fits.

    Attributes:
        fits: how often it was fitted.
        largest: rows of the largest fit.

    Raises:
        OperatorError: scikit-learn is not installed.
    """

    def __init__(self, least: int, most: int = MOST_FITTED, seed: int = 1) -> None:
        self.fits = self.largest = 0
        self._least, self._most, self._seed = least, most, seed
        self._ensemble: Any = require_library("sklearn.ensemble", "the comparison with gradient boosting")

    def __call__(self, rows: NDArray[np.float32], churned: Bools, times: Floats, until: Floats) -> Floats:
        """Score every row with what was fitted, at the beginning of its week, to the labels known then.

        Args:
            rows: (n, features).
            churned: (n,) labels.
            times: (n,) when a row is scored.
            until: (n,) when its label is known.

        Returns:
            (n,) probabilities; NaN where there was no model yet.
        """
        dice = np.random.default_rng(self._seed)
        scores, weeks = np.full(len(rows), np.nan), weeks_of(times)
        with limit_blas_threads():
            for week in np.unique(weeks):
                known = np.flatnonzero(until <= (week * 7 - 3) * DAY)
                if len(known) < self._least or churned[known].all() or not churned[known].any():
                    continue
                if len(known) > self._most:
                    known = dice.choice(known, self._most, replace=False)
                scores[weeks == week] = self._fitted(rows[known], churned[known], rows[weeks == week])
        return scores

    def _fitted(self, rows: NDArray[np.float32], churned: Bools, asked: NDArray[np.float32]) -> Floats:
        self.fits, self.largest = self.fits + 1, max(self.largest, len(rows))
        model = self._ensemble.HistGradientBoostingClassifier(random_state=self._seed).fit(rows, churned)
        said: Floats = model.predict_proba(asked)[:, 1]
        return said
