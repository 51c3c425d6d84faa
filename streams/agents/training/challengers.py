"""Models that learn in the trainer's shadow: the reference, recency alone, and a challenger that the settings name."""

from __future__ import annotations

import importlib
import logging
from collections import deque
from typing import Any, NamedTuple, cast

from river import base
from river.drift import ADWIN

from models.churn.learner import logistic_pipeline
from models.churn.quality import Figures, Rolling, surprise
from models.person import features
from models.schema.outputs import NO_MODEL, Example
from streams.metrics import Metrics
from streams.settings import Settings, SettingsError

MOST_WAITING = 50_000
"""Rows a shadow holds until it may learn them; when there are more, it goes on with half of the people's rows."""

_log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """A row that is learned once the rows scored before its label was known have been scored."""

    until: float
    place: float
    x: dict[Any, float]
    churned: bool


class Shadow:
    """A River classifier that scores every row before it learns it, and knows no more than was known at the row's time.

    Rows come when their label is known, a horizon after they were scored. So each is learned a horizon late: what it
    is measured on is what it would have said.
    """

    def __init__(
        self, model: base.Classifier, only: tuple[str, ...] = features.NAMES, most_waiting: int = MOST_WAITING
    ) -> None:
        self.rolling = Rolling()
        self._model = model
        self._most_waiting = most_waiting
        self._only = [(name, features.NAMES.index(name)) for name in only]
        self._waiting: deque[Waiting] = deque()
        self._share = 1.0

    def take(self, example: Example, place: float) -> float | None:
        """Score a row, having learned those whose label was known at its time.

        Args:
            example: a labelled row.
            place: of the row among all rows, evenly spread over [0, 1).

        Returns:
            Its churn probability; none if it is left out because too many rows wait.
        """
        while self._waiting and self._waiting[0].until <= example.time:
            known = self._waiting.popleft()
            self._model.learn_one(known.x, known.churned)
        if place >= self._share:
            return None
        x: dict[Any, float] = {name: example.x[index] for name, index in self._only}
        probability = min(1.0, max(0.0, float(self._model.predict_proba_one(x).get(True, 0.5))))
        self.rolling.add(probability, example.churned)
        if example.treated:
            return probability
        self._waiting.append(Waiting(example.until, place, x, example.churned))
        if len(self._waiting) > self._most_waiting:
            self._share /= 2
            self._waiting = deque(row for row in self._waiting if row.place < self._share)
        return probability


def recency(most_waiting: int = MOST_WAITING) -> Shadow:
    """Return the baseline that a churn model has to beat: silence alone, through a logistic curve that learns too."""
    return Shadow(cast(base.Classifier, logistic_pipeline()), ("log_silence",), most_waiting)


def reference(most_waiting: int = MOST_WAITING) -> Shadow:
    """Return the logistic regression on all features, as River has it."""
    return Shadow(cast(base.Classifier, logistic_pipeline()), most_waiting=most_waiting)


def challenger(path: str) -> Shadow:
    """Return a shadow of the River classifier that the setting names, with its own defaults.

    Raises:
        SettingsError: there is no such class in River, or it is no classifier that can be made without arguments.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise SettingsError(f"challenger: River has no {path}") from None
    if not (isinstance(found, type) and issubclass(found, base.Classifier)):
        raise SettingsError(f"challenger: {path} is no classifier")
    try:
        return Shadow(found())
    except TypeError as error:
        raise SettingsError(f"challenger: {path} cannot be made without arguments: {error}") from None


class ChallengerScores(NamedTuple):
    """What a row has shown: what the shadows say of it (nothing where they left it out), and whether the world changed.

    It has changed when the log-loss of the scores that a model stated has risen, beyond chance.
    """

    scores: dict[str, float | None]
    changed: bool


class ChallengerPanel:
    """Measures the scores that were stated, once their labels came, beside those of the shadows.

    Args:
        settings: say what learns in the shadow: recency alone, the reference unless it is the model, the challenger.
        metrics: where it is counted that a challenger has failed.
        alone: whether nothing learns in the shadow.

    Raises:
        SettingsError: the challenger that the settings name cannot be one.
    """

    def __init__(self, settings: Settings, metrics: Metrics, alone: bool = False) -> None:
        self._metrics = metrics
        self._stated = Rolling()
        self._drift: Any = ADWIN()  # type: ignore[no-untyped-call]
        self._shadows: dict[str, Shadow] = {}
        if alone:
            return
        self._shadows["recency"] = recency()
        if settings.model != "logistic":
            self._shadows["reference"] = reference()
        if settings.challenger:
            self._shadows["challenger"] = challenger(settings.challenger)

    @property
    def log_loss(self) -> float:
        """The mean log-loss of the scores that were stated since the world last changed."""
        return float(self._drift.estimation)

    def take(self, example: Example, place: float) -> ChallengerScores:
        """Measure a row.

        Args:
            example: a labelled row, with the probability that was stated.
            place: of the row among all rows, evenly spread over [0, 1).
        """
        self._stated.add(example.probability, example.churned)
        scores = {name: self._asked(name, example, place) for name in list(self._shadows)}
        return ChallengerScores(scores, example.model != NO_MODEL and self._worse(example))

    def figures(self) -> dict[str, Figures]:
        """Return the quality of the newest scores, by whose they are: `model`, and the shadows."""
        rolling = {"model": self._stated} | {name: shadow.rolling for name, shadow in self._shadows.items()}
        found = {name: scores.figures() for name, scores in rolling.items()}
        return {name: figures for name, figures in found.items() if figures is not None}

    def _worse(self, example: Example) -> bool:
        before = self.log_loss
        self._drift.update(surprise(example.probability, example.churned))
        return bool(self._drift.drift_detected) and self.log_loss > before

    def _asked(self, name: str, example: Example, place: float) -> float | None:
        try:
            return self._shadows[name].take(example, place)
        except Exception:  # a challenger is any class of River's: its defect is not ours
            if name != "challenger":
                raise
            self._metrics.add("encore_failures_total", "challenger")
            _log.exception("the challenger failed and is left out until the next start")
            del self._shadows[name]
            return None
