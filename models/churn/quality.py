"""Quality of scores: ROC-AUC, log-loss, calibration and lift over the newest scores with known outcomes."""

from __future__ import annotations

from collections import deque
from math import log

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class QualityFigures(Struct, frozen=True):
    """Quality of a set of scores.

    Attributes:
        auc: area under the ROC curve.
        log_loss: mean negative log-likelihood, in nats.
        calibration_error: expected calibration error over ten bins of equal size.
        rows: number of scores.
        lift: lift of the tenth with the highest scores.
    """

    auc: float
    log_loss: float
    calibration_error: float
    rows: int
    lift: float


class RollingQuality:
    """Quality over the newest `capacity` scores with their outcomes."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._pairs: deque[tuple[float, bool]] = deque(maxlen=capacity)

    def add(self, probability: float, outcome: bool) -> None:
        """Add a score whose outcome is now known."""
        self._pairs.append((probability, outcome))

    def figures(self) -> QualityFigures | None:
        """Return the quality of the scores held, or None until both outcomes have occurred."""
        if not self._pairs:
            return None
        scores, outcomes = (np.array(column, np.float64) for column in zip(*self._pairs, strict=True))
        if outcomes.min() == outcomes.max():
            return None
        return quality_figures(scores, outcomes)


def quality_figures(scores: NDArray[np.float64], outcomes: NDArray[np.float64]) -> QualityFigures:
    """Measure (n,) probabilities against (n,) outcomes of 0 and 1. Both outcomes must occur."""
    return QualityFigures(
        auc=auc(scores, outcomes),
        log_loss=log_loss(scores, outcomes),
        calibration_error=calibration_error(scores, outcomes),
        rows=len(scores),
        lift=lift(scores, outcomes),
    )


def auc(scores: NDArray[np.float64], outcomes: NDArray[np.float64]) -> float:
    """Return the probability that a random positive scores above a random negative; ties count half.

    Examples:
        >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
        0.75
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    positives = outcomes.sum()
    negatives = len(outcomes) - positives
    return float((ranks[outcomes > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(scores: NDArray[np.float64], outcomes: NDArray[np.float64]) -> float:
    """Return the mean negative log-likelihood, in nats."""
    clipped = scores.clip(1e-6, 1 - 1e-6)
    return float(-np.mean(outcomes * np.log(clipped) + (1 - outcomes) * np.log(1 - clipped)))


def row_log_loss(probability: float, outcome: bool) -> float:
    """Return the log-loss of one score, in nats."""
    likelihood = probability if outcome else 1 - probability
    return -log(min(1.0, max(1e-6, likelihood)))


def lift(scores: NDArray[np.float64], outcomes: NDArray[np.float64], share: float = 0.1) -> float:
    """Return the rate of positives among the highest scores over the rate among all.

    If the boundary falls into a group of equal scores, each row of the group counts in part.

    Args:
        scores: n scores.
        outcomes: n outcomes of 0 and 1, at least one of them 1.
        share: of the rows that are the highest.

    Examples:
        >>> lift(np.array([0.9, 0.8, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 1.0]), share=0.25)
        2.0
        >>> lift(np.array([0.5, 0.5, 0.5, 0.5]), np.array([1.0, 0.0, 0.0, 1.0]), share=0.25)
        1.0
    """
    highest = share * len(scores)
    _, inverse, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    positives = np.bincount(inverse, outcomes)
    included = np.minimum(counts, np.maximum(0.0, highest - (counts.cumsum() - counts)))
    return float((positives * included / counts).sum() / highest / outcomes.mean())


def calibration_error(scores: NDArray[np.float64], outcomes: NDArray[np.float64], bins: int = 10) -> float:
    """Return the expected calibration error: the mean gap between score and outcome over bins of equal size."""
    order = np.argsort(scores, kind="stable")
    gaps = [
        abs(scores[part].mean() - outcomes[part].mean()) * len(part)
        for part in np.array_split(order, bins)
        if len(part)
    ]
    return float(sum(gaps) / len(scores))
