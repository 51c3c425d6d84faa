"""Models in shadow mode: the recency baseline, the reference model, and a challenger that the settings name."""

from __future__ import annotations

import importlib
import logging
from collections import deque
from typing import Any, NamedTuple, cast

from river import base
from river.drift import ADWIN

from models.churn.learner import logistic_pipeline
from models.churn.quality import QualityFigures, RollingQuality, row_log_loss
from models.person import features
from models.schema.outputs import NO_MODEL, Example
from streams.metrics import Metrics
from streams.settings import Settings, SettingsError

MAX_WAITING = 50_000
"""Rows that a shadow model holds until it may learn them. Above this, it goes on with half of the users' rows."""

_log = logging.getLogger(__name__)


class WaitingRow(NamedTuple):
    """A row that was scored and is not learned yet: at its time, its label was not known."""

    until: float
    share: float
    x: dict[Any, float]
    churned: bool


class ShadowModel:
    """A River classifier that scores every row before it learns it, without knowing any label too early.

    A row arrives when its label is known, which is one horizon after the row's time. The classifier therefore learns
    each row one horizon late. So its measured scores are the scores that it would have stated at the time.

    Args:
        model: the classifier.
        only: the names of the features that it sees.
        max_waiting: how many rows may wait to be learned.
    """

    def __init__(
        self, model: base.Classifier, only: tuple[str, ...] = features.NAMES, max_waiting: int = MAX_WAITING
    ) -> None:
        self.rolling = RollingQuality()
        self._model = model
        self._max_waiting = max_waiting
        self._columns = [(name, features.NAMES.index(name)) for name in only]
        self._waiting: deque[WaitingRow] = deque()
        self._sampled_share = 1.0

    def score(self, example: Example, share: float) -> float | None:
        """Score a row, after learning the rows whose label was known at its time.

        Args:
            example: a labelled row.
            share: the row's hash, evenly spread over [0, 1).

        Returns:
            The churn probability; None if the row is left out because too many rows wait.
        """
        while self._waiting and self._waiting[0].until <= example.time:
            row = self._waiting.popleft()
            self._model.learn_one(row.x, row.churned)
        if share >= self._sampled_share:
            return None
        x: dict[Any, float] = {name: example.x[index] for name, index in self._columns}
        probability = min(1.0, max(0.0, float(self._model.predict_proba_one(x).get(True, 0.5))))
        self.rolling.add(probability, example.churned)
        if example.treated:
            return probability
        self._waiting.append(WaitingRow(example.until, share, x, example.churned))
        if len(self._waiting) > self._max_waiting:
            self._sampled_share /= 2
            self._waiting = deque(row for row in self._waiting if row.share < self._sampled_share)
        return probability


def recency_baseline(max_waiting: int = MAX_WAITING) -> ShadowModel:
    """Return the baseline that a churn model has to beat: an online logistic regression on the silence alone."""
    return ShadowModel(cast(base.Classifier, logistic_pipeline()), ("log_silence",), max_waiting)


def reference_model(max_waiting: int = MAX_WAITING) -> ShadowModel:
    """Return River's logistic regression on all features."""
    return ShadowModel(cast(base.Classifier, logistic_pipeline()), max_waiting=max_waiting)


def load_challenger(path: str) -> ShadowModel:
    """Return a shadow model of the River classifier at an import path, with its default parameters.

    Raises:
        SettingsError: River has no such class, it is no classifier, or it cannot be created without arguments.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise SettingsError(f"challenger: River has no {path}") from None
    if not (isinstance(found, type) and issubclass(found, base.Classifier)):
        raise SettingsError(f"challenger: {path} is no classifier")
    try:
        return ShadowModel(found())
    except TypeError as error:
        raise SettingsError(f"challenger: {path} cannot be created without arguments: {error}") from None


class ChallengerScores(NamedTuple):
    """The result of one row: the score of each shadow model (None where it left the row out), and whether drift began.

    Drift means that the log-loss of the scores that a model stated has risen beyond chance.
    """

    scores: dict[str, float | None]
    drifted: bool


class ChallengerPanel:
    """Measures the stated scores once their labels are known, and compares them with the shadow models' scores.

    The shadow models are the recency baseline, the reference model (unless it is the model itself), and the challenger.

    Args:
        settings: name the model and the challenger.
        metrics: count a challenger's failure.
        model_only: whether to measure the stated scores alone, without shadow models.

    Raises:
        SettingsError: the challenger that the settings name cannot be used.
    """

    def __init__(self, settings: Settings, metrics: Metrics, model_only: bool = False) -> None:
        self._metrics = metrics
        self._stated = RollingQuality()
        self._drift: Any = ADWIN()  # type: ignore[no-untyped-call]
        self._shadows: dict[str, ShadowModel] = {}
        if model_only:
            return
        self._shadows["recency"] = recency_baseline()
        if settings.model != "logistic":
            self._shadows["reference"] = reference_model()
        if settings.challenger:
            self._shadows["challenger"] = load_challenger(settings.challenger)

    @property
    def log_loss(self) -> float:
        """The mean log-loss of the scores stated since the last drift."""
        return float(self._drift.estimation)

    def score(self, example: Example, share: float) -> ChallengerScores:
        """Measure a row.

        Args:
            example: a labelled row, with the probability that was stated.
            share: the row's hash, evenly spread over [0, 1).
        """
        self._stated.add(example.probability, example.churned)
        scores = {name: self._score_shadow(name, example, share) for name in list(self._shadows)}
        return ChallengerScores(scores, example.model != NO_MODEL and self._detect_drift(example))

    def figures(self) -> dict[str, QualityFigures]:
        """Return the quality of the newest scores, by name: `model` and the shadow models."""
        rolling = {"model": self._stated} | {name: shadow.rolling for name, shadow in self._shadows.items()}
        found = {name: scores.figures() for name, scores in rolling.items()}
        return {name: figures for name, figures in found.items() if figures is not None}

    def _detect_drift(self, example: Example) -> bool:
        before = self.log_loss
        self._drift.update(row_log_loss(example.probability, example.churned))
        return bool(self._drift.drift_detected) and self.log_loss > before

    def _score_shadow(self, name: str, example: Example, share: float) -> float | None:
        try:
            return self._shadows[name].score(example, share)
        except Exception:  # a challenger may be any River class: its defect must not stop the trainer
            if name != "challenger":
                raise
            self._metrics.add("encore_failures_total", "challenger")
            _log.exception("the challenger failed and is left out until the next start")
            del self._shadows[name]
            return None
