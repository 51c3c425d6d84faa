"""The pace at which people come back: nothing is bent in a world that stays, and what changes is seen before labels."""

from __future__ import annotations

from math import exp, isfinite, log

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.churn.early_signal import (
    BELIEVED,
    ENOUGH,
    HOME,
    DriftCorrection,
    HazardCurve,
    Recalibration,
    SignalOutcome,
    hazard,
)
from models.person.rules import EARLY_SIGNAL

DAY = 86_400.0
SPAN = 3.5 * DAY
SHARES = st.floats(0, 1)


def lived(
    pace: DriftCorrection, days: float, factor: float = 1.0, a_day: int = 400, seed: int = 1, known: bool = True
) -> DriftCorrection:
    """So many days of people who come back at `factor` times the pace that their probabilities say.

    With `known`, labels come at once, of a model that says so itself: then nothing is left to be bent.
    """
    dice = np.random.default_rng(seed)
    begun = pace.time or DAY
    for number in range(int(days * a_day)):
        probability = float(dice.uniform(0.02, 0.9))
        stays_away = exp(EARLY_SIGNAL * factor * log(probability))
        sign = SignalOutcome(bool(dice.random() > stays_away), begun + number * DAY / a_day, SPAN)
        pace = pace.taught(probability, sign)
        if known:
            lost = not sign.back and bool(dice.random() < exp((1 - EARLY_SIGNAL) * factor * log(probability)))
            pace = pace.matured(exp(factor * log(probability)), sign, lost)
    return pace


def test_what_is_not_bent_is_left_as_it_is() -> None:
    """To the last bit: a new model states what it thinks."""
    assert [DriftCorrection().bend.bent(p) for p in (0.0, 0.123456, 1.0)] == [0.0, 0.123456, 1.0]


@given(SHARES, SHARES, st.floats(-3, 3), st.floats(-0.4, 0.4))
def test_a_bent_score_is_a_probability_in_the_same_order(one: float, other: float, level: float, slope: float) -> None:
    """Whatever the bend; a slower pace means more churn."""
    low, high = sorted((one, other))
    bend = Recalibration(level, slope)
    assert 0 <= bend.bent(low) <= bend.bent(high) <= 1
    assert Recalibration(-0.1).bent(low) >= min(low, 1 - 1e-6)


def test_a_world_that_stays_bends_nothing_to_speak_of() -> None:
    """Whenever one looks."""
    pace = DriftCorrection()
    for month in range(9):
        pace = lived(pace, 10, seed=month)
        assert [pace.bend.bent(p) for p in (0.1, 0.5, 0.8)] == pytest.approx([0.1, 0.5, 0.8], abs=0.03)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_change_is_seen_before_the_first_label_and_forgotten_once_it_is_usual(factor: float) -> None:
    """A quarter of the horizon on, a part of it is believed; once the scores themselves say it, nothing is bent."""
    usual = lived(DriftCorrection(), 90)
    changed = lived(usual, 3.5, factor, seed=2, known=False)
    truth = exp(factor * log(0.3))
    assert abs(changed.bend.bent(0.3) - truth) < 0.75 * abs(0.3 - truth)
    assert (changed.bend.bent(0.3) > 0.3) == (factor < 1)
    learned = lived(changed, 14, seed=3)
    assert learned.bend.bent(0.3) == pytest.approx(0.3, abs=0.03)


def test_what_chance_explains_bends_nothing() -> None:
    """Apart by less than two coefficients are by chance, the curves are one; apart by more, by that much less."""

    def bend(apart: float) -> Recalibration:
        fast, slow = (
            HazardCurve(log(EARLY_SIGNAL) - apart, sure=100.0, steep=50.0),
            HazardCurve(log(EARLY_SIGNAL), sure=1e12, steep=1e12),
        )
        return DriftCorrection(fast=fast, slow=slow).bend

    assert bend(0.14) == Recalibration()
    assert (bend(0.5).level, bend(0.5).slope) == (pytest.approx(-0.5 * BELIEVED * (1 - 2 / 25)), 0)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_the_less_is_known_of_what_signs_mean_the_less_is_bent(one: float, other: float) -> None:
    """Both curves are read with some error: as little known as the fast one, the slow one halves the evidence."""
    fast = HazardCurve(log(EARLY_SIGNAL) - 0.5, sure=100.0)
    less, more = (
        abs(DriftCorrection(fast=fast, slow=HazardCurve(log(EARLY_SIGNAL), sure=sure)).bend.level)
        for sure in sorted((one, other))
    )
    assert less <= more
    alike = DriftCorrection(fast=fast, slow=HazardCurve(log(EARLY_SIGNAL), sure=100.0)).bend
    assert alike.level == pytest.approx(-0.5 * BELIEVED * (1 - 2 / 12.5))


def test_before_any_label_has_come_nothing_is_bent() -> None:
    """Nobody knows yet what the signs of this platform mean, however sure the fast curve is."""
    strange = lived(DriftCorrection(), 30, 3.0, known=False)
    assert (strange.bend, strange.change) == (Recalibration(), 1.0)


def test_what_the_model_has_learned_by_now_is_no_change_of_the_world() -> None:
    """A model that was wrong for long and then learned better: its old scores do not bend its new ones."""
    pace, dice = DriftCorrection(), np.random.default_rng(5)
    for number in range(40_000):  # it says 0.97 of everybody, but learns in the end that it is 0.2
        sign = SignalOutcome(bool(dice.random() > 0.2**EARLY_SIGNAL), DAY + number * 200.0, SPAN)
        pace = pace.taught(0.97 if number < 20_000 else 0.2, sign)
        pace = pace.matured(0.2, sign, not sign.back and bool(dice.random() < 0.2 ** (1 - EARLY_SIGNAL)))
    assert pace.bend.bent(0.2) == pytest.approx(0.2, abs=0.02)


def test_a_model_that_is_wrong_still_is_no_change_of_pace_either() -> None:
    """Signs and labels both say that twice as many come back as it thinks: then it is wrong by as much, and bent so."""
    pace, dice = DriftCorrection(), np.random.default_rng(6)
    for number in range(20_000):
        thought = float(dice.uniform(0.02, 0.9))
        sign = SignalOutcome(bool(dice.random() > thought ** (2 * EARLY_SIGNAL)), DAY + number * 200.0, SPAN)
        lost = not sign.back and bool(dice.random() < thought ** (2 * (1 - EARLY_SIGNAL)))
        pace = pace.taught(thought, sign).matured(thought, sign, lost)
    assert pace.bend.bent(0.5) == pytest.approx(exp(2**BELIEVED * log(0.5)), abs=0.02)


@pytest.mark.parametrize("silent", [-0.4, 0.0, 0.4])
def test_what_the_silent_do_decides(silent: float) -> None:
    """The active all come back later; how many of them are lost, those say who have been silent for a while."""
    usual = HazardCurve(-0.6, sure=1e12, steep=1e12)
    active, quiet = hazard(0.04), hazard(0.7)
    slope = (-0.4 - silent) / (active - quiet)
    fast = HazardCurve(usual.level + silent - slope * quiet, 1 + slope, sure=1e6, steep=1e6)
    bend = DriftCorrection(fast=fast, slow=usual).bend
    for probability in (0.04, 0.25, 0.7):
        among_silent = silent + slope * (hazard(probability) + usual.silent - quiet)
        assert bend.bent(probability) == pytest.approx(exp(exp(BELIEVED * among_silent) * log(probability)), rel=1e-4)
    assert (bend.bent(0.25) < 0.25) == (silent > 0)


@given(st.floats(-1.38, -0.2), st.floats(0.5, 2))
def test_where_the_silent_stand_follows_from_how_many_are_back_early(level: float, slope: float) -> None:
    """The usual hazard falls from span to span so that four make the whole; who is late in the first may come yet."""
    place = HazardCurve(level, slope).silent * slope
    ratios = np.linspace(0.1, 1, 2_000)
    weights = np.stack([ratios, ratios**2, ratios**3])
    after = (weights * np.arange(1, 4)[:, None]).sum(0) / weights.sum(0) * np.log(ratios)
    nearest = np.abs(1 + ratios + ratios**2 + ratios**3 - exp(-level)).argmin()
    assert place == pytest.approx(after[nearest], abs=0.01)
    assert HazardCurve(-1.5, slope).silent == pytest.approx(0, abs=1e-5)


def test_no_bend_is_without_bounds() -> None:
    """However far the curves are apart, the pace is believed to be at most e times another; nothing overflows."""
    assert Recalibration(level=-9.0).bent(0.3) == Recalibration(level=-1.0).bent(0.3)
    assert Recalibration(level=-1.0, slope=1e9).bent(0.3) == Recalibration(level=1.0).bent(0.3)
    for back in (True, False):
        assert isfinite(HazardCurve(900.0).taught(0.0, back, ENOUGH).level)


def test_few_rows_bend_little() -> None:
    """Ten signs that nobody came back are no changed world."""
    pace = lived(DriftCorrection(), 90)
    for number in range(10):
        pace = pace.taught(0.3, SignalOutcome(False, pace.time + number, SPAN))
    assert pace.bend.bent(0.3) < 0.4


def test_the_curves_find_what_people_do() -> None:
    """The slow one is the maximum-likelihood fit of all it was taught, but for the start it is drawn to."""
    dice = np.random.default_rng(4)
    curve, rows = HazardCurve(log(EARLY_SIGNAL)), 20_000
    for probability in dice.uniform(0.02, 0.9, rows):
        place = hazard(float(probability))
        curve = curve.taught(place, bool(dice.random() < 1 - exp(-exp(-0.5 + 0.7 * place))), ENOUGH)
    assert (curve.level, curve.slope) == pytest.approx((-0.5, 0.7), abs=0.05)


@given(st.lists(st.tuples(SHARES, st.booleans(), st.booleans(), st.floats(0, 1e9)), max_size=40))
def test_whatever_is_taught_it_stays_finite_and_is_plain_data(rows: list[tuple[float, bool, bool, float]]) -> None:
    """Certainty that was wrong, time that goes back or leaps: numbers all the same, and the same after a journey."""
    pace = DriftCorrection()
    for probability, back, churned, time in rows:
        sign = SignalOutcome(back, time, SPAN)
        pace = pace.taught(probability, sign).matured(1 - probability, sign, churned)
        assert 0 < pace.bend.bent(0.5) < 1
        assert isfinite(pace.change)
    assert msgspec.json.decode(msgspec.json.encode(pace), type=DriftCorrection) == pace


def test_a_long_pause_forgets_what_was_known() -> None:
    """After many half-lives the curves are where they began."""
    pace = lived(DriftCorrection(), 30, 2.0)
    later = SignalOutcome(True, pace.time + 1_000 * SPAN, SPAN)
    pace = pace.taught(0.3, later).matured(0.3, later, False)
    assert (pace.slow.level, pace.label.level) == (pytest.approx(HOME.level, abs=0.05), pytest.approx(0, abs=0.05))
    assert pace.slow.sure < 1
