"""Baselines for the churn model on the same rows: River's classifiers, and weekly fitted gradient boosting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.person import features
from models.person.activity import DAY
from streams.runtime import limit_blas_threads, require_library

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

MAX_FIT_ROWS = 100_000
"""The most rows of one fit, which takes about two seconds on one core. Of more rows, a random sample is used."""


def weeks_of(times: Floats) -> NDArray[np.int64]:
    """Return the number of the week, beginning on Monday, that contains each moment."""
    return (np.floor(times / DAY).astype(np.int64) + 3) // 7


def score_online(
    model: Any,
    rows: NDArray[np.float32],
    churned: Bools,
    times: Floats,
    until: Floats,
    feature_names: tuple[str, ...] = features.NAMES,
) -> Floats:
    """Score every row with a River classifier. It learns each row as soon as the row's label is known.

    Args:
        model: any River classifier; it keeps what it has learned before.
        rows: (n, features), in the order in which their labels arrived.
        churned: (n,) labels.
        times: (n,) when a row is scored.
        until: (n,) when its label is known.
        feature_names: the features that the classifier uses.

    Returns:
        (n,) probabilities.
    """
    columns = rows[:, [features.NAMES.index(name) for name in feature_names]]
    known, scores = 0, np.empty(len(rows))
    for index, time in enumerate(times.tolist()):
        while known < index and until[known] <= time:
            model.learn_one(dict(zip(feature_names, columns[known].tolist(), strict=True)), bool(churned[known]))
            known += 1
        probabilities = model.predict_proba_one(dict(zip(feature_names, columns[index].tolist(), strict=True)))
        scores[index] = min(1.0, max(0.0, probabilities.get(True, 0.5)))
    return scores


class Boosting:
    """scikit-learn's HistGradientBoostingClassifier with default settings, fitted at the start of every week.

    Args:
        min_labels: the number of labels required for a fit.
        max_rows: the most rows of a fit; of more rows, a random sample is used.
        seed: of samples and fits.

    Attributes:
        fits: the number of fits.
        largest_fit: the rows of the largest fit.

    Raises:
        OperatorError: scikit-learn is not installed.
    """

    def __init__(self, min_labels: int, max_rows: int = MAX_FIT_ROWS, seed: int = 1) -> None:
        self.fits = self.largest_fit = 0
        self._min_labels, self._max_rows, self._seed = min_labels, max_rows, seed
        self._ensemble: Any = require_library("sklearn.ensemble", "the comparison with gradient boosting")

    def __call__(self, rows: NDArray[np.float32], churned: Bools, times: Floats, until: Floats) -> Floats:
        """Score every row with the model of its week, which was fitted to the labels known when the week began.

        Args:
            rows: (n, features).
            churned: (n,) labels.
            times: (n,) when a row is scored.
            until: (n,) when its label is known.

        Returns:
            (n,) probabilities; NaN where no model existed yet.
        """
        rng = np.random.default_rng(self._seed)
        scores, weeks = np.full(len(rows), np.nan), weeks_of(times)
        with limit_blas_threads():
            for week in np.unique(weeks):
                known = np.flatnonzero(until <= (week * 7 - 3) * DAY)
                if len(known) < self._min_labels or churned[known].all() or not churned[known].any():
                    continue
                if len(known) > self._max_rows:
                    known = rng.choice(known, self._max_rows, replace=False)
                scores[weeks == week] = self._fit_and_score(rows[known], churned[known], rows[weeks == week])
        return scores

    def _fit_and_score(self, rows: NDArray[np.float32], churned: Bools, rows_to_score: NDArray[np.float32]) -> Floats:
        self.fits, self.largest_fit = self.fits + 1, max(self.largest_fit, len(rows))
        model = self._ensemble.HistGradientBoostingClassifier(random_state=self._seed).fit(rows, churned)
        probabilities: Floats = model.predict_proba(rows_to_score)[:, 1]
        return probabilities
