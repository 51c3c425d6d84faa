"""The pace at which people come back: nothing is bent in a world that stays, and what changes is seen before labels."""

from __future__ import annotations

from math import exp, isfinite, log

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pace import BELIEVED, EARLY, ENOUGH, Bend, Curve, Pace, hazard

DAY = 86_400.0
SPAN = 3.5 * DAY
SHARES = st.floats(0, 1)


def lived(pace: Pace, days: float, factor: float = 1.0, a_day: int = 400, seed: int = 1) -> Pace:
    """So many days of people who come back at `factor` times the pace that their probabilities say."""
    dice = np.random.default_rng(seed)
    begun = pace.time or DAY
    for number in range(int(days * a_day)):
        probability = float(dice.uniform(0.02, 0.9))
        stays_away = exp(EARLY * factor * log(probability))
        pace = pace.taught(probability, bool(dice.random() > stays_away), begun + number * DAY / a_day, SPAN)
    return pace


def test_what_is_not_bent_is_left_as_it_is() -> None:
    """To the last bit: a new model states what it thinks."""
    assert [Pace().bend.bent(p) for p in (0.0, 0.123456, 1.0)] == [0.0, 0.123456, 1.0]


@given(SHARES, SHARES, st.floats(-3, 3), st.floats(-0.4, 0.4))
def test_a_bent_score_is_a_probability_in_the_same_order(one: float, other: float, level: float, slope: float) -> None:
    """Whatever the bend; a slower pace means more churn."""
    low, high = sorted((one, other))
    bend = Bend(level, slope)
    assert 0 <= bend.bent(low) <= bend.bent(high) <= 1
    assert Bend(-0.1).bent(low) >= min(low, 1 - 1e-6)


def test_a_world_that_stays_bends_nothing_to_speak_of() -> None:
    """Whenever one looks."""
    pace = Pace()
    for month in range(9):
        pace = lived(pace, 10, seed=month)
        assert [pace.bend.bent(p) for p in (0.1, 0.5, 0.8)] == pytest.approx([0.1, 0.5, 0.8], abs=0.03)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_change_is_seen_before_the_first_label_and_forgotten_once_it_is_usual(factor: float) -> None:
    """A quarter of the horizon on, a part of it is believed; once the scores themselves say it, nothing is bent."""
    usual = lived(Pace(), 90)
    changed = lived(usual, 3.5, factor, seed=2)
    truth = exp(factor * log(0.3))
    assert abs(changed.bend.bent(0.3) - truth) < 0.75 * abs(0.3 - truth)
    assert (changed.bend.bent(0.3) > 0.3) == (factor < 1)
    learned = lived(changed, 14, seed=3)
    assert learned.bend.bent(0.3) == pytest.approx(0.3, abs=0.03)


def test_what_chance_explains_bends_nothing() -> None:
    """Apart by less than two coefficients are by chance, the curves are one; apart by more, by that much less."""

    def bend(apart: float) -> Bend:
        return Pace(fast=Curve(log(EARLY) - apart, sure=100.0, steep=50.0)).bend

    assert bend(0.14) == Bend()
    assert (bend(0.5).level, bend(0.5).slope) == (pytest.approx(-0.5 * BELIEVED * (1 - 2 / 25)), 0)


@pytest.mark.parametrize("silent", [-0.4, 0.0, 0.4])
def test_what_the_silent_do_decides(silent: float) -> None:
    """The active all come back later; how many of them are lost, those say who have been silent for a while."""
    usual = Curve(-0.6)
    active, quiet = hazard(0.04), hazard(0.7)
    slope = (-0.4 - silent) / (active - quiet)
    fast = Curve(usual.level + silent - slope * quiet, 1 + slope, sure=1e6, steep=1e6)
    bend = Pace(fast=fast, slow=usual).bend
    for probability in (0.04, 0.25, 0.7):
        among_silent = silent + slope * (hazard(probability) + usual.silent - quiet)
        assert bend.bent(probability) == pytest.approx(exp(exp(BELIEVED * among_silent) * log(probability)), rel=1e-4)
    assert (bend.bent(0.25) < 0.25) == (silent > 0)


@given(st.floats(-1.38, -0.2), st.floats(0.5, 2))
def test_where_the_silent_stand_follows_from_how_many_are_back_early(level: float, slope: float) -> None:
    """The usual hazard falls from span to span so that four make the whole; who is late in the first may come yet."""
    place = Curve(level, slope).silent * slope
    ratios = np.linspace(0.1, 1, 2_000)
    weights = np.stack([ratios, ratios**2, ratios**3])
    after = (weights * np.arange(1, 4)[:, None]).sum(0) / weights.sum(0) * np.log(ratios)
    nearest = np.abs(1 + ratios + ratios**2 + ratios**3 - exp(-level)).argmin()
    assert place == pytest.approx(after[nearest], abs=0.01)
    assert Curve(-1.5, slope).silent == pytest.approx(0, abs=1e-5)


def test_no_bend_is_without_bounds() -> None:
    """However far the curves are apart, the pace is believed to be at most e times another; nothing overflows."""
    assert Bend(level=-9.0).bent(0.3) == Bend(level=-1.0).bent(0.3)
    assert Bend(level=-1.0, slope=1e9).bent(0.3) == Bend(level=1.0).bent(0.3)
    for back in (True, False):
        assert isfinite(Curve(900.0).taught(0.0, back, ENOUGH).level)


def test_few_rows_bend_little() -> None:
    """Ten signs that nobody came back are no changed world."""
    pace = lived(Pace(), 90)
    for number in range(10):
        pace = pace.taught(0.3, False, pace.time + number, SPAN)
    assert pace.bend.bent(0.3) < 0.4


def test_the_curves_find_what_people_do() -> None:
    """The slow one is the maximum-likelihood fit of all it was taught, but for the start it is drawn to."""
    dice = np.random.default_rng(4)
    curve, rows = Curve(log(EARLY)), 20_000
    for probability in dice.uniform(0.02, 0.9, rows):
        place = hazard(float(probability))
        curve = curve.taught(place, bool(dice.random() < 1 - exp(-exp(-0.5 + 0.7 * place))), ENOUGH)
    assert (curve.level, curve.slope) == pytest.approx((-0.5, 0.7), abs=0.05)


@given(st.lists(st.tuples(SHARES, st.booleans(), st.floats(0, 1e9)), max_size=40))
def test_whatever_is_taught_it_stays_finite_and_is_plain_data(signs: list[tuple[float, bool, float]]) -> None:
    """Certainty that was wrong, time that goes back or leaps: numbers all the same, and the same after a journey."""
    pace = Pace()
    for probability, back, time in signs:
        pace = pace.taught(probability, back, time, SPAN)
        assert 0 < pace.bend.bent(0.5) < 1
    assert msgspec.json.decode(msgspec.json.encode(pace), type=Pace) == pace
