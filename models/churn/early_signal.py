"""Drift correction: recalibrate new scores from early signals, before their labels mature.

A label takes a whole horizon to mature. After a change, the newest labels are therefore a horizon old. Most people who
come back at all come back early, however: whether a person was back within the first quarter of the horizon (the early
signal) is known three quarters of a horizon earlier.

Three hazard curves learn from this. A fast curve follows the early signals as they arrive, given the model's score. Two
slow curves define what is usual, over rows with labels: how many people were back by the early signal, and how many
were back by the end of the horizon. Both use the model's present score of a row. A difference between the fast curve
and the slow ones is drift. It recalibrates the next scores, and it fades as labels of the new behaviour arrive.

The slow curves score old rows with the present model and not with the model of that time, for two reasons. Otherwise
what the model learned in the meantime would look like drift. And a model that was wrong for a while would distort the
meaning of its probabilities for as long as the curves remember.

A person who is not back by the early signal has either churned or is only late, and the label asks for churn. When
people churn sooner, those who are already silent come back less often, too. When all people just slow down, more of the
silent ones come back than usual. A change therefore counts as it appears among people who have been silent for a while.

All curves are proportional hazards in discrete time (Cox 1972; Kalbfleisch & Prentice 1973): of people scored with
churn probability p, the fraction exp(-exp(level + slope * ln(-ln p))) is not back in time. They learn online by
Newton's method with forgetting (recursive weighted likelihood).
"""

from __future__ import annotations

from math import exp, expm1, log

from msgspec import Struct, field
from msgspec.structs import replace

from models.person.rules import EARLY_SIGNAL

FAST_HALF_LIFE, SLOW_HALF_LIFE = 0.5, 32.0
"""Half-lives of the curves, in spans of the early signal: an eighth of a horizon, and eight horizons."""
PRIOR_INFORMATION = 30.0
"""Information of the prior curve. The unit is a row with the largest possible information."""
TRUSTED_SHARE = 0.75
"""Part of a difference that is applied. It takes time until silent people show whether people churn or slow down."""
CHANCE_DISTANCE = 2.0
"""Squared distance of two coefficients that chance explains, in units of their information."""
MAX_LOG_RATIO = 1.0
"""Largest logarithm of the hazard ratio that a recalibration applies."""
_MIN_PROBABILITY = 1e-4
_MIN_RATIO = 0.1


class Recalibration(Struct, frozen=True):
    """A recalibration of scores: it multiplies the hazard of coming back by exp(level + slope * ln(-ln p)).

    Examples:
        >>> round(Recalibration(level=log(0.5)).apply(0.2), 6), Recalibration().apply(0.2)
        (0.447214, 0.2)
    """

    level: float = 0.0
    slope: float = 0.0

    def apply(self, probability: float) -> float:
        """Return the recalibrated churn probability."""
        if not self.level and not self.slope:
            return probability
        at = log_hazard(probability)
        ratio = exp(max(-MAX_LOG_RATIO, min(MAX_LOG_RATIO, self.level + self.slope * at)))
        return exp(ratio * log(min(1 - 1e-6, max(1e-6, probability))))


class HazardCurve(Struct, frozen=True):
    """The fraction of people not back in time, by score: two coefficients and their information matrix.

    Attributes:
        level: of the curve.
        slope: of the curve, over ln(-ln p).
        level_information: Fisher information on the level.
        cross_information: Fisher information on level and slope together.
        slope_information: Fisher information on the slope.
    """

    level: float
    slope: float = 1.0
    level_information: float = field(default=0.0, name="sure")
    cross_information: float = field(default=0.0, name="both")
    slope_information: float = field(default=0.0, name="steep")

    def newton_step(self, level_gradient: float, slope_gradient: float, prior: float) -> HazardCurve:
        """Return the curve after one Newton step; `prior` is added to the information on each coefficient."""
        level_information, slope_information = self.level_information + prior, self.slope_information + prior
        cross = self.cross_information
        determinant = level_information * slope_information - cross**2
        return replace(
            self,
            level=self.level + (slope_information * level_gradient - cross * slope_gradient) / determinant,
            slope=self.slope + (level_information * slope_gradient - cross * level_gradient) / determinant,
        )

    def forget(self, share: float, target: HazardCurve, prior: float) -> HazardCurve:
        """Return the curve after forgetting a share of its information and moving towards `target` accordingly."""
        kept = 1 - share
        faded = replace(
            self,
            level_information=self.level_information * kept,
            cross_information=self.cross_information * kept,
            slope_information=self.slope_information * kept,
        )
        pull = share * prior
        return faded.newton_step(pull * (target.level - self.level), pull * (target.slope - self.slope), prior)

    def update(self, at: float, back: bool, prior: float) -> HazardCurve:
        """Return the curve after one observation: whether a person scored at ln(-ln p) = `at` was back in time."""
        hazard = exp(max(-9.0, min(2.5, self.level + self.slope * at)))
        not_back = exp(-hazard)
        gradient = hazard * not_back / -expm1(-hazard) if back else -hazard
        information = hazard**2 * not_back / -expm1(-hazard)
        informed = replace(
            self,
            level_information=self.level_information + information,
            cross_information=self.cross_information + information * at,
            slope_information=self.slope_information + information * at**2,
        )
        return informed.newton_step(gradient, gradient * at, prior)

    @property
    def silent_offset(self) -> float:
        """Mean offset on the curve, in ln(-ln p) and at most 0, of people who are silent beyond the first span.

        They decide whether people are late or churned. At a hazard of 1 over the horizon, exp(level) of it comes before
        the early signal. If each span has r times the hazard of the span before, then 1 + r + r^2 + ... = exp(-level).
        A person who is not back after c spans stands where the curve is c ln r lower. Each span after the first has
        its hazard as weight. The offset is 0 if the first span has no more than its share.
        """
        low, high, spans = _MIN_RATIO, 1.0, range(1, round(1 / EARLY_SIGNAL))
        for _ in range(20):
            ratio = (low + high) / 2
            too_large = 1 + sum(ratio**span for span in spans) > exp(min(9.0, -self.level))
            low, high = (low, ratio) if too_large else (ratio, high)
        mean_span = sum(span * ratio**span for span in spans) / sum(ratio**span for span in spans)
        return mean_span * log(ratio) / max(0.5, self.slope)


class SignalOutcome(Struct, frozen=True):
    """An observed early signal.

    Attributes:
        back: whether the person was back in time.
        time: when that was known, in seconds since 1970 UTC.
        span: seconds from the score until then.
    """

    back: bool
    time: float
    span: float


EVEN_CURVE = HazardCurve(log(EARLY_SIGNAL))
"""Prior of the curves of the early signal: people come back evenly over the horizon."""
CALIBRATED_CURVE = HazardCurve(0.0)
"""The curve of a calibrated model: the fraction that is not back within the horizon equals the score."""


class DriftCorrection(Struct, frozen=True):
    """The state of the drift correction: immutable plain data, replaced with every early signal and label.

    Attributes:
        time: of the newest early signal, in seconds since 1970 UTC; 0 before the first.
        labelled: the same for the newest early signal whose label has matured.
        fast: who was back by the early signal, of the newest rows.
        slow: who was back by the early signal, of the rows with a label.
        label: who was back by the end of the horizon, of the rows with a label.
    """

    time: float = 0.0
    labelled: float = 0.0
    fast: HazardCurve = EVEN_CURVE
    slow: HazardCurve = EVEN_CURVE
    label: HazardCurve = CALIBRATED_CURVE

    def learn_signal(self, raw_probability: float, signal: SignalOutcome) -> DriftCorrection:
        """Learn from an early signal, given the model's own churn probability before recalibration."""
        fast = self.fast
        if self.time and signal.time > self.time:
            share = _forgotten_share(signal.time - self.time, FAST_HALF_LIFE * signal.span)
            fast = fast.forget(share, self.slow, PRIOR_INFORMATION)
        fast = fast.update(log_hazard(raw_probability), signal.back, PRIOR_INFORMATION)
        return replace(self, time=max(self.time, signal.time), fast=fast)

    def learn_label(self, raw_probability: float, signal: SignalOutcome, churned: bool) -> DriftCorrection:
        """Learn from a matured label together with the early signal of its row.

        Args:
            raw_probability: the present model's churn probability of that row, just before it learns this label.
            signal: the row's early signal.
            churned: the row's label: whether the person was not back by the end of the horizon.
        """
        slow, label, at = self.slow, self.label, log_hazard(raw_probability)
        if self.labelled and signal.time > self.labelled:
            share = _forgotten_share(signal.time - self.labelled, SLOW_HALF_LIFE * signal.span)
            slow = slow.forget(share, EVEN_CURVE, PRIOR_INFORMATION)
            label = label.forget(share, CALIBRATED_CURVE, PRIOR_INFORMATION)
        slow = slow.update(at, signal.back, PRIOR_INFORMATION)
        label = label.update(at, not churned, PRIOR_INFORMATION)
        return replace(self, labelled=max(self.labelled, signal.time), slow=slow, label=label)

    @property
    def hazard_ratio(self) -> float:
        """The newest hazard of coming back over the usual one, at a churn probability of 1/e; 1 before any label."""
        level, _ = self._difference
        return exp(level) if self.slow.level_information else 1.0

    @property
    def recalibration(self) -> Recalibration:
        """The recalibration of scores. What chance explains is not applied (shrinkage of James & Stein 1961)."""
        fast, slow, (level, slope) = self.fast, self.slow, self._difference
        if not slow.level_information or not fast.level_information:
            return Recalibration()
        distance = fast.level_information * level**2
        distance = distance + 2 * fast.cross_information * level * slope + fast.slope_information * slope**2
        # Both curves are estimates: the error of the slow one counts as well.
        distance *= slow.level_information / (slow.level_information + fast.level_information)
        applied = TRUSTED_SHARE * max(0.0, 1 - CHANCE_DISTANCE / distance) if distance > 0 else 0.0
        return Recalibration(applied * (level + slope * slow.silent_offset), applied * slope)

    @property
    def _difference(self) -> tuple[float, float]:
        """Level and slope of the fast curve minus those that the slow curves predict for it."""
        fast, slow, label, calibrated = self.fast, self.slow, self.label, CALIBRATED_CURVE
        return (
            fast.level - slow.level + label.level - calibrated.level,
            fast.slope - slow.slope + label.slope - calibrated.slope,
        )


def _forgotten_share(elapsed: float, half_life: float) -> float:
    """Return the share of information that is forgotten after a time; both arguments are in seconds."""
    return -expm1(-log(2) * elapsed / half_life)


def log_hazard(probability: float) -> float:
    """Return ln(-ln p): the logarithm of the hazard of coming back over the whole horizon, within bounds."""
    return log(-log(max(_MIN_PROBABILITY, min(1 - _MIN_PROBABILITY, probability))))
