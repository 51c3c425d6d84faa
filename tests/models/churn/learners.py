"""Rows and learners that tests of churn models share."""

import numpy as np
import pytest

from models.churn.learner import ChurnLearner
from models.churn.snapshot import KINDS, Kind, decode_snapshot, encode_snapshot
from models.person import features

SIZE = len(features.NAMES)
both = pytest.mark.parametrize("kind", KINDS)


def rows(count: int, seed: int = 1) -> list[np.ndarray]:
    """Rows on very different scales, rounded to float16, with one constant column and some outliers."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(count, SIZE)) * 10.0 ** (np.arange(SIZE) % 7 - 3)
    drawn[:, 0] = 2.0
    drawn[rng.random((count, SIZE)) < 0.02] *= 20
    return list(drawn.clip(-6e4, 6e4).astype(np.float16).astype(np.float32))


def churned(row: np.ndarray) -> bool:
    return bool(row[3] > 0)


def learned(drawn: list[np.ndarray], learner: ChurnLearner | Kind = "net", first: int = 0) -> ChurnLearner:
    """Learn rows with their keys; `first` is the number of the first row."""
    learner = ChurnLearner(learner) if isinstance(learner, str) else learner
    for number, row in enumerate(drawn, start=first):
        learner.learn(row, churned(row), key_of(number))
    return learner


def key_of(number: int) -> float:
    return number * 0.618034 % 1


def restored_from(learner: ChurnLearner, drawn: list[np.ndarray]) -> ChurnLearner:
    """Restore a learner from a snapshot and the rows learned, as another process does."""
    restored = ChurnLearner.restore(decode_snapshot(encode_snapshot(learner.snapshot())))
    for number, row in enumerate(drawn):
        restored.restore_row(row, churned(row), key_of(number))
    return restored
