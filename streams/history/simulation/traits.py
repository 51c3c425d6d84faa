"""A simulated learner's traits: drawn once, hidden from the worker, and visible only in the learner's behaviour."""

from __future__ import annotations

from math import exp
from random import Random
from typing import NamedTuple

DAY = 86_400.0
HOURS_OF_WEEK = 168
_WEEK_PROFILES: tuple[tuple[float, float, float], ...] = (
    # hour of the peak, hours it is wide, weight of a weekend day
    (20.0, 2.0, 0.8),  # after work
    (7.5, 1.2, 0.3),  # on the way to work
    (12.5, 1.5, 0.5),  # in the lunch break
    (15.0, 4.0, 3.0),  # at weekends
)


class Traits(NamedTuple):
    """A learner's traits. Times are in seconds, rates per day.

    Attributes:
        pace: visits per day while settled, in the usual mood and not directly after a visit.
        week: relative weight of each hour of the week (from Thursday 00:00 UTC, as 1970 began); the mean is 1.
        steadiness: mean seconds until a settled learner starts to slip; the hazard is one divided by it.
        fading: seconds in which a slipping learner's engagement falls to 1/e.
        sudden: the share of slips in which the learner leaves at once.
        return_chance: the share of slips that end well without a message.
        persuadable: the probability that a coupon brings back a learner who has just begun to slip or has just left.
        deal_lover: the probability that a settled learner, who needs no coupon, uses one.
        ability: the share of points this learner usually reaches.
        consents: whether the learner agrees to marketing.
    """

    pace: float
    week: tuple[float, ...]
    steadiness: float
    fading: float
    sudden: float
    return_chance: float
    persuadable: float
    deal_lover: float
    ability: float
    consents: bool


def draw(rng: Random) -> Traits:
    """Draw a learner's traits."""
    return Traits(
        pace=min(2.5, max(0.2, rng.lognormvariate(-0.05, 0.75))),
        week=_week(rng),
        steadiness=rng.lognormvariate(3.6, 0.8) * DAY,
        fading=rng.uniform(5.0, 12.0) * DAY,
        sudden=0.15,
        return_chance=rng.betavariate(2.0, 5.0),
        persuadable=rng.betavariate(3.0, 4.0),
        deal_lover=rng.betavariate(2.0, 6.0),
        ability=rng.betavariate(7.0, 3.0),
        consents=rng.random() < 0.9,
    )


def _week(rng: Random) -> tuple[float, ...]:
    peak, width, weekend = rng.choices(_WEEK_PROFILES, (0.45, 0.15, 0.1, 0.3))[0]
    peak = (peak + rng.gauss(0.0, 1.0)) % 24
    weights = []
    for hour in range(HOURS_OF_WEEK):
        away = abs((hour % 24) + 0.5 - peak)
        near = exp(-0.5 * (min(away, 24 - away) / width) ** 2)
        weekday = (hour // 24 + 3) % 7  # 1970 began on a Thursday
        weights.append((0.06 + near) * (weekend if weekday >= 5 else 1.0))
    mean = sum(weights) / HOURS_OF_WEEK
    return tuple(weight / mean for weight in weights)
