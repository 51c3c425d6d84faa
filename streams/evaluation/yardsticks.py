"""What a churn model is measured against on the same rows: gradient boosting, fitted anew every week."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.activity import DAY
from streams.errors import OperatorError
from streams.threads import one_thread

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

MOST_FITTED = 400_000
"""Rows of one fit; of more, as many are drawn."""


def weeks_of(times: Floats) -> NDArray[np.int64]:
    """Return the number of the week, beginning on Monday, in which each moment lies."""
    return (np.floor(times / DAY).astype(np.int64) + 3) // 7


def boosted(
    rows: NDArray[np.float32], churned: Bools, times: Floats, until: Floats, least: int, seed: int = 1
) -> Floats:
    """Score every row with gradient boosting that was fitted, at the beginning of its week, to the labels known then.

    scikit-learn's HistGradientBoostingClassifier as it comes.

    Args:
        rows: (n, features).
        churned: (n,) labels.
        times: (n,) when a row is scored.
        until: (n,) when its label is known.
        least: labels without which nothing is fitted.
        seed: of the fits.

    Returns:
        (n,) probabilities; NaN where there was no model yet.

    Raises:
        OperatorError: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise OperatorError("the comparison with gradient boosting needs scikit-learn: pip install scikit-learn")
    ensemble: Any = importlib.import_module("sklearn.ensemble")
    dice = np.random.default_rng(seed)
    scores, weeks = np.full(len(rows), np.nan), weeks_of(times)
    with one_thread():
        for week in np.unique(weeks):
            known = np.flatnonzero(until <= (week * 7 - 3) * DAY)
            if len(known) < least or churned[known].all() or not churned[known].any():
                continue
            if len(known) > MOST_FITTED:
                known = dice.choice(known, MOST_FITTED, replace=False)
            model = ensemble.HistGradientBoostingClassifier(random_state=seed).fit(rows[known], churned[known])
            scores[weeks == week] = model.predict_proba(rows[weeks == week])[:, 1]
    return scores
