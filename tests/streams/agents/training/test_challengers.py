"""A shadow is measured on what it would have said: it learns no row before the moment at which its label was known."""

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
    """Says the share of churn among what it has learned, and remembers how much that was whenever it was asked."""

    def __init__(self) -> None:
        self.learned: list[bool] = []
        self.asked: list[int] = []

    def learn_one(self, x: dict[object, float], y: object) -> None:
        self.learned.append(bool(y))

    def predict_proba_one(self, x: dict[object, float]) -> dict[object, float]:
        self.asked.append(len(self.learned))
        return {True: sum(self.learned) / max(1, len(self.learned))}


def test_a_row_is_scored_with_what_was_known_at_its_time() -> None:
    """With one row a moment, row n is scored by a model of the rows up to n - horizon."""
    model = Prior()
    shadow = ShadowModel(model)
    for number in range(30):
        shadow.score(example(number, churned=number % 3 == 0), share=0.5)
    assert model.asked == [max(0, number + 1 - int(HORIZON)) for number in range(30)]
    assert model.learned == [number % 3 == 0 for number in range(20)]


def test_the_treated_are_scored_but_not_learned() -> None:
    """How good a score was does not depend on who may be learned from."""
    model = Prior()
    shadow = ShadowModel(model)
    for number in range(40):
        shadow.score(example(number, churned=number % 2 == 0, treated=number % 2 == 0), share=0.5)
    assert len(model.asked) == 40
    assert set(model.learned) == {False}


def test_too_many_waiting_rows_are_thinned_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; what is left out is left out of scoring and learning alike, whenever it came."""
    model = Prior()
    shadow = ShadowModel(model)
    places = [number * 0.618034 % 1 for number in range(challengers.MAX_WAITING + 1_000)]
    for number, place in enumerate(places):
        shadow.score(replace(example(number, churned=number % 2 == 0), time=0.0, until=1.0), place)
    figures = shadow.rolling.figures()
    assert figures is not None
    assert figures.rows == 10_000
    half = sum(place < 0.5 for place in places[challengers.MAX_WAITING + 1 :])
    assert len(model.asked) == challengers.MAX_WAITING + 1 + half
    shadow.score(example(10, churned=True), share=0.1)
    assert len(model.learned) == sum(place < 0.5 for place in places)


def test_recency_looks_at_silence_alone() -> None:
    """It learns that the silent leave, whatever else is in the row."""
    shadow = challengers.recency_baseline()
    for number in range(400):
        shadow.score(example(number, churned=number % 4 > 1, silence=number % 4), share=0.5)
    figures = shadow.rolling.figures()
    assert figures is not None
    assert figures.auc > 0.8


def test_a_challenger_is_a_river_classifier() -> None:
    """By its path, as it comes."""
    shadow = challengers.load_challenger("river.dummy.NoChangeClassifier")
    for number in range(40):
        shadow.score(example(number, churned=number >= 20), share=0.5)
    figures = shadow.rolling.figures()
    assert isinstance(dummy.NoChangeClassifier(), base.Classifier)
    assert figures is not None
    assert figures.auc == pytest.approx((20 * 10 + 0.5 * 20 * 10) / (20 * 20))
