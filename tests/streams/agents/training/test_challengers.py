"""A shadow model is measured as if it had scored live: it learns no row before its label was known."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from river import base, dummy

from models.churn.snapshot import FEATURES
from models.person import features
from models.schema.outputs import Example
from streams.agents.training import challengers
from streams.agents.training.challengers import ShadowModel

HORIZON = 10.0


def example(number: int, churned: bool, treated: bool = False, silence: float = 0.0) -> Example:
    x = np.zeros(len(features.NAMES))
    x[features.SILENCE] = silence
    return Example(
        id=f"e{number}", user="hashed", time=float(number), until=number + HORIZON, features=FEATURES, x=tuple(x),
        churned=churned, probability=0.5, model="prior", treated=treated,
    )  # fmt: skip


class Prior(base.Classifier):
    """Predicts the churn rate of the learned rows, and records how many rows it knew at each prediction."""

    def __init__(self) -> None:
        self.learned: list[bool] = []
        self.known_rows: list[int] = []

    def learn_one(self, x: dict[object, float], y: object) -> None:
        self.learned.append(bool(y))

    def predict_proba_one(self, x: dict[object, float]) -> dict[object, float]:
        self.known_rows.append(len(self.learned))
        return {True: sum(self.learned) / max(1, len(self.learned))}


def test_a_row_is_scored_with_the_labels_known_at_its_time() -> None:
    """With one row per second, row n is scored by a model of the rows up to n - horizon."""
    model = Prior()
    shadow = ShadowModel(model)
    for number in range(30):
        shadow.score(example(number, churned=number % 3 == 0), share=0.5)
    assert model.known_rows == [max(0, number + 1 - int(HORIZON)) for number in range(30)]
    assert model.learned == [number % 3 == 0 for number in range(20)]


def test_the_treated_are_scored_but_not_learned() -> None:
    """The quality of a score does not depend on which rows may be learned."""
    model = Prior()
    shadow = ShadowModel(model)
    for number in range(40):
        shadow.score(example(number, churned=number % 2 == 0, treated=number % 2 == 0), share=0.5)
    assert len(model.known_rows) == 40
    assert set(model.learned) == {False}


def test_too_many_waiting_rows_are_sampled_by_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; a row is left out of both scoring and learning, no matter when it arrives."""
    model = Prior()
    shadow = ShadowModel(model)
    shares = [number * 0.618034 % 1 for number in range(challengers.MAX_WAITING + 1_000)]
    for number, share in enumerate(shares):
        shadow.score(replace(example(number, churned=number % 2 == 0), time=0.0, until=1.0), share)
    figures = shadow.rolling.figures()
    assert figures is not None
    assert figures.rows == 10_000
    half = sum(share < 0.5 for share in shares[challengers.MAX_WAITING + 1 :])
    assert len(model.known_rows) == challengers.MAX_WAITING + 1 + half
    shadow.score(example(10, churned=True), share=0.1)
    assert len(model.learned) == sum(share < 0.5 for share in shares)


def test_the_recency_baseline_uses_silence_alone() -> None:
    """It learns that silent users leave, whatever the other features are."""
    shadow = challengers.recency_baseline()
    for number in range(400):
        shadow.score(example(number, churned=number % 4 > 1, silence=number % 4), share=0.5)
    figures = shadow.rolling.figures()
    assert figures is not None
    assert figures.auc > 0.8


def test_a_challenger_is_a_river_classifier() -> None:
    """It is named by its import path and keeps its default parameters."""
    shadow = challengers.load_challenger("river.dummy.NoChangeClassifier")
    for number in range(40):
        shadow.score(example(number, churned=number >= 20), share=0.5)
    figures = shadow.rolling.figures()
    assert isinstance(dummy.NoChangeClassifier(), base.Classifier)
    assert figures is not None
    assert figures.auc == pytest.approx((20 * 10 + 0.5 * 20 * 10) / (20 * 20))
