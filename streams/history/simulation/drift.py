"""Drift of the simulated platform: from a moment on, behaviour changes in one of three ways, with a chosen strength."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple, get_args

from streams.history.simulation.catalogue import COURSES, SimulatedCourse

DriftName = Literal["hazard", "catalogue", "season"]
NAMES: tuple[DriftName, ...] = get_args(DriftName)
DESCRIPTIONS: dict[DriftName, str] = {
    "hazard": "users leave sooner",
    "catalogue": "new, shorter courses replace the old ones",
    "season": "users come less often",
}
STRENGTHS: dict[DriftName, float] = {"hazard": 3.0, "catalogue": 4.0, "season": 2.0}


class Drift(NamedTuple):
    """A change of behaviour. Learners cannot foresee it: everything before it is the same with and without the drift.

    Attributes:
        name: `hazard`: the time until a settled learner starts to slip passes `strength` times as fast; `catalogue`:
            new courses are `strength` times as short and cheap, but courses in progress can be finished; `season`:
            every learner who has not left visits `strength` times less often. Below 1, the effect is the opposite.
        at: the moment of the change, in seconds since 1970 UTC.
        strength: above 0; at 1, only the names of the courses change.
    """

    name: DriftName
    at: float
    strength: float

    def settled_speed(self) -> float:
        """Return how many times as fast settled time passes after the change."""
        return self.strength if self.name == "hazard" else 1.0

    def visit_rate(self, at: float) -> float:
        """Return the factor on every learner's visit rate at a moment."""
        return 1.0 / self.strength if self.name == "season" and at >= self.at else 1.0

    def courses(self, at: float) -> tuple[SimulatedCourse, ...]:
        """Return the courses that are sold at a moment."""
        if self.name != "catalogue" or at < self.at:
            return COURSES
        return tuple(_replaced(course, self.strength) for course in COURSES)


STEADY = Drift("season", inf, 1.0)
"""No change at any time."""


def drift(name: DriftName, at: float, strength: float | None = None) -> Drift:
    """Return a drift by its name, with the default strength if none is given.

    Raises:
        ValueError: the strength is not above 0.
    """
    strength = STRENGTHS[name] if strength is None else strength
    if not 0 < strength < inf:
        raise ValueError(f"the strength of a drift is above 0, not {strength}")
    return Drift(name, at, strength)


def _replaced(course: SimulatedCourse, strength: float) -> SimulatedCourse:
    lessons = max(2, round(course.lessons / strength))
    return course._replace(id=f"{course.id}-anew", lessons=lessons, price=round(course.price / strength, 2))
