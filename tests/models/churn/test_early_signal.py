"""Drift correction: no recalibration while behaviour is stable, and drift is detected before labels mature."""

from __future__ import annotations

from math import exp, isfinite, log

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.churn.early_signal import (
    EVEN_CURVE,
    PRIOR_INFORMATION,
    TRUSTED_SHARE,
    DriftCorrection,
    HazardCurve,
    Recalibration,
    SignalOutcome,
    log_hazard,
)
from models.person.rules import EARLY_SIGNAL

DAY = 86_400.0
SPAN = 3.5 * DAY
SHARES = st.floats(0, 1)


def observe(
    drift: DriftCorrection, days: float, factor: float = 1.0, a_day: int = 400, seed: int = 1, labelled: bool = True
) -> DriftCorrection:
    """Learn days of people who come back at `factor` times the hazard that their probabilities state.

    With `labelled`, labels come at once, from a model that already states the true probability. Then nothing is left
    to recalibrate.
    """
    rng = np.random.default_rng(seed)
    start = drift.time or DAY
    for number in range(int(days * a_day)):
        probability = float(rng.uniform(0.02, 0.9))
        stays_away = exp(EARLY_SIGNAL * factor * log(probability))
        signal = SignalOutcome(bool(rng.random() > stays_away), start + number * DAY / a_day, SPAN)
        drift = drift.learn_signal(probability, signal)
        if labelled:
            churned = not signal.back and bool(rng.random() < exp((1 - EARLY_SIGNAL) * factor * log(probability)))
            drift = drift.learn_label(exp(factor * log(probability)), signal, churned)
    return drift


def test_a_new_model_is_not_recalibrated() -> None:
    """Without data, every probability stays the same to the last bit."""
    assert [DriftCorrection().recalibration.apply(p) for p in (0.0, 0.123456, 1.0)] == [0.0, 0.123456, 1.0]


@given(SHARES, SHARES, st.floats(-3, 3), st.floats(-0.4, 0.4))
def test_a_recalibrated_score_is_a_probability_in_the_same_order(
    one: float, other: float, level: float, slope: float
) -> None:
    """This holds for every recalibration; a lower hazard of coming back means more churn."""
    low, high = sorted((one, other))
    recalibration = Recalibration(level, slope)
    assert 0 <= recalibration.apply(low) <= recalibration.apply(high) <= 1
    assert Recalibration(-0.1).apply(low) >= min(low, 1 - 1e-6)


def test_stable_behaviour_causes_almost_no_recalibration() -> None:
    """This holds at every moment."""
    drift = DriftCorrection()
    for month in range(9):
        drift = observe(drift, 10, seed=month)
        assert [drift.recalibration.apply(p) for p in (0.1, 0.5, 0.8)] == pytest.approx([0.1, 0.5, 0.8], abs=0.03)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_drift_is_corrected_before_the_first_label_and_not_after_it_became_usual(factor: float) -> None:
    """A quarter of the horizon later, part of it is corrected; once the model states it, nothing is recalibrated."""
    usual = observe(DriftCorrection(), 90)
    changed = observe(usual, 3.5, factor, seed=2, labelled=False)
    truth = exp(factor * log(0.3))
    assert abs(changed.recalibration.apply(0.3) - truth) < 0.75 * abs(0.3 - truth)
    assert (changed.recalibration.apply(0.3) > 0.3) == (factor < 1)
    learned = observe(changed, 14, seed=3)
    assert learned.recalibration.apply(0.3) == pytest.approx(0.3, abs=0.03)


def test_a_difference_that_chance_explains_is_not_applied() -> None:
    """Below the squared distance of two coefficients by chance nothing is applied; beyond it, that much less."""

    def recalibration(difference: float) -> Recalibration:
        fast, slow = (
            HazardCurve(log(EARLY_SIGNAL) - difference, level_information=100.0, slope_information=50.0),
            HazardCurve(log(EARLY_SIGNAL), level_information=1e12, slope_information=1e12),
        )
        return DriftCorrection(fast=fast, slow=slow).recalibration

    assert recalibration(0.14) == Recalibration()
    assert (recalibration(0.5).level, recalibration(0.5).slope) == (
        pytest.approx(-0.5 * TRUSTED_SHARE * (1 - 2 / 25)),
        0,
    )


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_less_information_on_the_slow_curve_means_less_recalibration(one: float, other: float) -> None:
    """Both curves are estimates: with as little information as the fast one, the slow one halves the evidence."""
    fast = HazardCurve(log(EARLY_SIGNAL) - 0.5, level_information=100.0)

    def recalibration(information: float) -> Recalibration:
        slow = HazardCurve(log(EARLY_SIGNAL), level_information=information)
        return DriftCorrection(fast=fast, slow=slow).recalibration

    less, more = (abs(recalibration(information).level) for information in sorted((one, other)))
    assert less <= more
    assert recalibration(100.0).level == pytest.approx(-0.5 * TRUSTED_SHARE * (1 - 2 / 12.5))


def test_nothing_is_recalibrated_before_any_label() -> None:
    """Without labels the usual curve of this platform is unknown, however much the fast curve has learned."""
    unusual = observe(DriftCorrection(), 30, 3.0, labelled=False)
    assert (unusual.recalibration, unusual.hazard_ratio) == (Recalibration(), 1.0)


def test_what_the_model_learned_in_the_meantime_is_not_drift() -> None:
    """A model that was wrong for long and then improved: its old scores do not recalibrate its new ones."""
    drift, rng = DriftCorrection(), np.random.default_rng(5)
    for number in range(40_000):  # it states 0.97 for everybody and learns late that the truth is 0.2
        signal = SignalOutcome(bool(rng.random() > 0.2**EARLY_SIGNAL), DAY + number * 200.0, SPAN)
        drift = drift.learn_signal(0.97 if number < 20_000 else 0.2, signal)
        churned = not signal.back and bool(rng.random() < 0.2 ** (1 - EARLY_SIGNAL))
        drift = drift.learn_label(0.2, signal, churned)
    assert drift.recalibration.apply(0.2) == pytest.approx(0.2, abs=0.02)


def test_a_model_that_is_still_wrong_is_corrected() -> None:
    """Signals and labels agree that twice the hazard of the model is true: then its scores are recalibrated so."""
    drift, rng = DriftCorrection(), np.random.default_rng(6)
    for number in range(20_000):
        probability = float(rng.uniform(0.02, 0.9))
        signal = SignalOutcome(bool(rng.random() > probability ** (2 * EARLY_SIGNAL)), DAY + number * 200.0, SPAN)
        churned = not signal.back and bool(rng.random() < probability ** (2 * (1 - EARLY_SIGNAL)))
        drift = drift.learn_signal(probability, signal).learn_label(probability, signal, churned)
    assert drift.recalibration.apply(0.5) == pytest.approx(exp(2**TRUSTED_SHARE * log(0.5)), abs=0.02)


@pytest.mark.parametrize("silent", [-0.4, 0.0, 0.4])
def test_the_change_among_silent_people_decides(silent: float) -> None:
    """All active people come back later; people who have been silent for a while show how many of them churn."""
    usual = HazardCurve(-0.6, level_information=1e12, slope_information=1e12)
    active, quiet = log_hazard(0.04), log_hazard(0.7)
    slope = (-0.4 - silent) / (active - quiet)
    fast = HazardCurve(usual.level + silent - slope * quiet, 1 + slope, level_information=1e6, slope_information=1e6)
    recalibration = DriftCorrection(fast=fast, slow=usual).recalibration
    for probability in (0.04, 0.25, 0.7):
        among_silent = silent + slope * (log_hazard(probability) + usual.silent_offset - quiet)
        expected = exp(exp(TRUSTED_SHARE * among_silent) * log(probability))
        assert recalibration.apply(probability) == pytest.approx(expected, rel=1e-4)
    assert (recalibration.apply(0.25) < 0.25) == (silent > 0)


@given(st.floats(-1.38, -0.2), st.floats(0.5, 2))
def test_the_silent_offset_follows_from_the_share_that_is_back_early(level: float, slope: float) -> None:
    """The usual hazard falls from span to span so that four make the whole; later spans are weighted by hazard."""
    offset = HazardCurve(level, slope).silent_offset * slope
    ratios = np.linspace(0.1, 1, 2_000)
    weights = np.stack([ratios, ratios**2, ratios**3])
    expected = (weights * np.arange(1, 4)[:, None]).sum(0) / weights.sum(0) * np.log(ratios)
    nearest = np.abs(1 + ratios + ratios**2 + ratios**3 - exp(-level)).argmin()
    assert offset == pytest.approx(expected[nearest], abs=0.01)
    assert HazardCurve(-1.5, slope).silent_offset == pytest.approx(0, abs=1e-5)


def test_every_recalibration_is_bounded() -> None:
    """However far the curves differ, the hazard ratio stays between 1/e and e, and nothing overflows."""
    assert Recalibration(level=-9.0).apply(0.3) == Recalibration(level=-1.0).apply(0.3)
    assert Recalibration(level=-1.0, slope=1e9).apply(0.3) == Recalibration(level=1.0).apply(0.3)
    for back in (True, False):
        assert isfinite(HazardCurve(900.0).update(0.0, back, PRIOR_INFORMATION).level)


def test_few_rows_recalibrate_little() -> None:
    """Ten signals of people who are not back are no drift."""
    drift = observe(DriftCorrection(), 90)
    for number in range(10):
        drift = drift.learn_signal(0.3, SignalOutcome(False, drift.time + number, SPAN))
    assert drift.recalibration.apply(0.3) < 0.4


def test_a_curve_converges_to_the_true_coefficients() -> None:
    """Without forgetting it is the maximum-likelihood fit of all rows, apart from the prior."""
    rng = np.random.default_rng(4)
    curve, rows = HazardCurve(log(EARLY_SIGNAL)), 20_000
    for probability in rng.uniform(0.02, 0.9, rows):
        at = log_hazard(float(probability))
        curve = curve.update(at, bool(rng.random() < 1 - exp(-exp(-0.5 + 0.7 * at))), PRIOR_INFORMATION)
    assert (curve.level, curve.slope) == pytest.approx((-0.5, 0.7), abs=0.05)


@given(st.lists(st.tuples(SHARES, st.booleans(), st.booleans(), st.floats(0, 1e9)), max_size=40))
def test_any_input_gives_finite_plain_data(rows: list[tuple[float, bool, bool, float]]) -> None:
    """Extreme wrong scores and times that go back or jump give finite numbers, and JSON round-trips them."""
    drift = DriftCorrection()
    for probability, back, churned, time in rows:
        signal = SignalOutcome(back, time, SPAN)
        drift = drift.learn_signal(probability, signal).learn_label(1 - probability, signal, churned)
        assert 0 < drift.recalibration.apply(0.5) < 1
        assert isfinite(drift.hazard_ratio)
    assert msgspec.json.decode(msgspec.json.encode(drift), type=DriftCorrection) == drift


def test_a_long_pause_resets_the_curves() -> None:
    """After many half-lives the curves are back at their priors."""
    drift = observe(DriftCorrection(), 30, 2.0)
    later = SignalOutcome(True, drift.time + 1_000 * SPAN, SPAN)
    drift = drift.learn_signal(0.3, later).learn_label(0.3, later, False)
    expected = (pytest.approx(EVEN_CURVE.level, abs=0.05), pytest.approx(0, abs=0.05))
    assert (drift.slow.level, drift.label.level) == expected
    assert drift.slow.level_information < 1


def test_the_wire_names_stay() -> None:
    """Published snapshots are read by these JSON names."""
    curve = {"level": 0.0, "slope": 1.0, "sure": 1.0, "both": 2.0, "steep": 3.0}
    assert msgspec.to_builtins(HazardCurve(0.0, 1.0, 1.0, 2.0, 3.0)) == curve
