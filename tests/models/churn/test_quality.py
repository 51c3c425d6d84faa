"""Quality figures against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.churn.quality import RollingQuality, auc, calibration_error, log_loss, quality_figures

PAIRS = st.lists(st.tuples(st.integers(0, 10).map(lambda tenths: tenths / 10), st.booleans()), min_size=2, max_size=40)


def columns(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in pairs]), np.array([float(outcome) for _, outcome in pairs])


@given(PAIRS.filter(lambda pairs: len({outcome for _, outcome in pairs}) == 2))
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[float, bool]]) -> None:
    """Over all pairs of a positive and a negative: the share where the positive scores higher, ties counting half."""
    wins = [
        (positive > negative) + (positive == negative) / 2
        for positive, up in pairs
        for negative, down in pairs
        if up and not down
    ]
    assert auc(*columns(pairs)) == pytest.approx(sum(wins) / len(wins))


@given(PAIRS)
def test_log_loss_is_the_mean_of_minus_log_likelihood(pairs: list[tuple[float, bool]]) -> None:
    """Each score counts with the probability of the actual outcome, bounded away from 0."""
    likelihoods = [min(1 - 1e-6, max(1e-6, score if outcome else 1 - score)) for score, outcome in pairs]
    assert log_loss(*columns(pairs)) == pytest.approx(-sum(map(math.log, likelihoods)) / len(pairs))


def test_calibration_is_the_gap_between_score_and_outcome() -> None:
    """Calibrated scores have an error of 0, scores that are 0.2 too high one of 0.2."""
    scores = np.repeat([0.2, 0.8], 50)
    outcomes = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], 10).tolist() + np.tile([0.0, 1.0, 1.0, 1.0, 1.0], 10).tolist()
    assert calibration_error(scores, np.array(outcomes)) == pytest.approx(0.0)
    assert calibration_error(scores + 0.2, np.array(outcomes)) == pytest.approx(0.2)


def test_only_the_newest_pairs_are_held() -> None:
    """Figures are those of the newest pairs; there are none until both outcomes have occurred."""
    rolling = RollingQuality(capacity=4)
    assert rolling.figures() is None
    pairs = [(0.9, False), (0.1, True), (0.2, False), (0.7, True), (0.6, False), (0.8, True)]
    for score, outcome in pairs[:1]:
        rolling.add(score, outcome)
    assert rolling.figures() is None
    for score, outcome in pairs[1:]:
        rolling.add(score, outcome)
    assert rolling.figures() == quality_figures(*columns(pairs[-4:]))
    assert quality_figures(*columns(pairs[-4:])).auc == 1.0
