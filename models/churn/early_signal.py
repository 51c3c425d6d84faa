"""The pace at which people come back: how the newest scores are bent before their labels can teach anything.

A label takes a horizon to mature; by then a changed world is a horizon old. But most who come back at all come back
soon: whether somebody was back within the first quarter of the horizon is known three quarters earlier. A fast curve
follows that sign as it comes in, given what the model thought. Two slow ones say what it means: over rows whose labels
have come, how many were back by the sign and how many at all, given what the model would think of them now. Where the
fast one leaves what the slow ones say, the world has changed. That bends the next scores, and fades as labels arrive.

The slow curves look at old rows with the model of today, and not with what was thought of them then: what it has
learned meanwhile would else be taken for a change of the world, and a model that was wrong for a while would leave
behind, for as long as they remember, that its probabilities mean something else than they say.

Who is not back by the sign has left or is only late, and a label asks for those who have left. When people leave
sooner, those who are silent already come back more seldom, too; when all just slow down, more of the silent come back
than silence used to mean. So a change counts as it is seen in those who have been silent for a while.

All are proportional hazards in discrete time (Cox 1972; Kalbfleisch & Prentice 1973): of people scored with churn
probability p, exp(-exp(level + slope * ln(-ln p))) are not back in time. They learn online by Newton's method with
forgetting (recursive weighted likelihood).
"""

from __future__ import annotations

from math import exp, expm1, log

from msgspec import Struct
from msgspec.structs import replace

from models.person.rules import EARLY_SIGNAL

FAST, SLOW = 0.5, 32.0
"""Half-lives of the curves' memories, in spans of the sign: an eighth of a horizon, and eight horizons."""
ENOUGH = 30.0
"""How much evidence a curve needs to leave the place it is drawn to: rows that are as sure as can be."""
BELIEVED = 0.75
"""The part of a change that is believed: the silent show with some delay who has left and who has slowed down."""
CHANCE = 2.0
"""How far two coefficients are apart by chance, in units of what is known of them."""
MOST = 1.0
_LEAST = 1e-4
_STEEPEST = 0.1


class Recalibration(Struct, frozen=True):
    """How scores are bent: the hazard of coming back is exp(level + slope * ln(-ln p)) times what the model thinks.

    Examples:
        >>> round(Recalibration(level=log(0.5)).bent(0.2), 6), Recalibration().bent(0.2)
        (0.447214, 0.2)
    """

    level: float = 0.0
    slope: float = 0.0

    def bent(self, probability: float) -> float:
        """Return what is to be stated instead of a churn probability."""
        if not self.level and not self.slope:
            return probability
        place = hazard(probability)
        factor = exp(max(-MOST, min(MOST, self.level + self.slope * place)))
        return exp(factor * log(min(1 - 1e-6, max(1e-6, probability))))


class HazardCurve(Struct, frozen=True):
    """How many of those with a score are not back in time: two coefficients and what is known of them.

    Attributes:
        level: of the curve.
        slope: of the curve, over ln(-ln p).
        sure: information on the level.
        both: information on the level and slope together.
        steep: information on the slope.
    """

    level: float
    slope: float = 1.0
    sure: float = 0.0
    both: float = 0.0
    steep: float = 0.0

    def moved(self, level: float, slope: float, least: float) -> HazardCurve:
        """Return it after a step along a gradient, `least` being known of each coefficient in any case."""
        sure, steep = self.sure + least, self.steep + least
        area = sure * steep - self.both**2
        return replace(
            self,
            level=self.level + (steep * level - self.both * slope) / area,
            slope=self.slope + (sure * slope - self.both * level) / area,
        )

    def faded(self, share: float, home: HazardCurve, least: float) -> HazardCurve:
        """Return it with a share of what is known forgotten, and drawn to another as much."""
        kept = 1 - share
        faded = replace(self, sure=self.sure * kept, both=self.both * kept, steep=self.steep * kept)
        pull = share * least
        return faded.moved(pull * (home.level - self.level), pull * (home.slope - self.slope), least)

    def taught(self, place: float, back: bool, least: float) -> HazardCurve:
        """Return it after one sign of somebody scored at ln(-ln p) = `place`."""
        rate = exp(max(-9.0, min(2.5, self.level + self.slope * place)))
        gone = exp(-rate)
        slope = rate * gone / -expm1(-rate) if back else -rate
        known = rate**2 * gone / -expm1(-rate)
        seen = replace(
            self, sure=self.sure + known, both=self.both + known * place, steep=self.steep + known * place**2
        )
        return seen.moved(slope, slope * place, least)

    @property
    def silent(self) -> float:
        """How far down the curve those stand on whom it depends whether somebody is lost, on average.

        At a hazard of 1 over the horizon, exp(level) of it come before the sign. If every span has r times the hazard
        of the one before, 1 + r + r^2 + ... = exp(-level); and whoever is not back after c spans stands where the
        curve is c ln r lower. Each span after the first weighs as much as its hazard. 0 where the early are no more
        than the late.
        """
        low, high, spans = _STEEPEST, 1.0, range(1, round(1 / EARLY_SIGNAL))
        for _ in range(20):
            ratio = (low + high) / 2
            enough = 1 + sum(ratio**span for span in spans) > exp(min(9.0, -self.level))
            low, high = (low, ratio) if enough else (ratio, high)
        after = sum(span * ratio**span for span in spans) / sum(ratio**span for span in spans)
        return after * log(ratio) / max(0.5, self.slope)


class SignalOutcome(Struct, frozen=True):
    """An early sign, whatever it is a sign of.

    Attributes:
        back: whether the person was back in time.
        time: at which that was known, in seconds since 1970 UTC.
        span: seconds from the score until then.
    """

    back: bool
    time: float
    span: float


HOME = HazardCurve(log(EARLY_SIGNAL))
"""Where the curves of the sign begin: people come back evenly over the horizon."""
RIGHT = HazardCurve(0.0)
"""The curve of a model that is right: as many are not back within the horizon as it says."""


class DriftCorrection(Struct, frozen=True):
    """What is known of the pace: replaced with every sign and label, and plain data that goes out as it is.

    Attributes:
        time: of the newest sign, in seconds since 1970 UTC; 0 before the first.
        labelled: of the newest sign whose label has come, likewise.
        fast: who is back by the sign, lately.
        slow: who was back by the sign, of those whose labels have come.
        label: who was back at all, of the same.
    """

    time: float = 0.0
    labelled: float = 0.0
    fast: HazardCurve = HOME
    slow: HazardCurve = HOME
    label: HazardCurve = RIGHT

    def taught(self, probability: float, sign: SignalOutcome) -> DriftCorrection:
        """Learn a sign, given the probability of churn as the model had it before it was bent."""
        fast = self.fast
        if self.time and sign.time > self.time:
            fast = fast.faded(_forgotten(sign.time - self.time, FAST * sign.span), self.slow, ENOUGH)
        fast = fast.taught(hazard(probability), sign.back, ENOUGH)
        return replace(self, time=max(self.time, sign.time), fast=fast)

    def matured(self, probability: float, sign: SignalOutcome, churned: bool) -> DriftCorrection:
        """Learn what a sign meant: the label of its row has come.

        Args:
            probability: of churn, as the model has it of that row now, not having learned this label yet.
            sign: of that row.
            churned: whether they were not back by the horizon's end either.
        """
        slow, label, place = self.slow, self.label, hazard(probability)
        if self.labelled and sign.time > self.labelled:
            share = _forgotten(sign.time - self.labelled, SLOW * sign.span)
            slow, label = slow.faded(share, HOME, ENOUGH), label.faded(share, RIGHT, ENOUGH)
        slow, label = slow.taught(place, sign.back, ENOUGH), label.taught(place, not churned, ENOUGH)
        return replace(self, labelled=max(self.labelled, sign.time), slow=slow, label=label)

    @property
    def change(self) -> float:
        """How many times as fast as usual people come back lately, at a churn probability of 1/e; 1 if nobody knows."""
        level, _ = self._changed
        return exp(level) if self.slow.sure else 1.0

    @property
    def bend(self) -> Recalibration:
        """How scores are to be bent: not at all by what chance explains (James & Stein 1961)."""
        fast, (level, slope) = self.fast, self._changed
        if not self.slow.sure or not fast.sure:
            return Recalibration()
        apart = fast.sure * level**2 + 2 * fast.both * level * slope + fast.steep * slope**2
        apart *= self.slow.sure / (self.slow.sure + fast.sure)  # both curves have been read with some error
        part = BELIEVED * max(0.0, 1 - CHANCE / apart) if apart > 0 else 0.0
        return Recalibration(part * (level + slope * self.slow.silent), part * slope)

    @property
    def _changed(self) -> tuple[float, float]:
        """How the fast curve differs from what the slow ones say."""
        fast, slow, label = self.fast, self.slow, self.label
        return fast.level - slow.level + label.level - RIGHT.level, fast.slope - slow.slope + label.slope - RIGHT.slope


def _forgotten(since: float, half_life: float) -> float:
    """Return the share of what was known that is forgotten after so long, both in seconds."""
    return -expm1(-log(2) * since / half_life)


def hazard(probability: float) -> float:
    """Return ln(-ln p): the logarithm of the whole horizon's hazard of coming back, within bounds."""
    return log(-log(max(_LEAST, min(1 - _LEAST, probability))))
