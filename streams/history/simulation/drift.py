"""How the simulated world changes: from a moment on, in one of three ways, as strongly as is wanted."""

from __future__ import annotations

from math import inf
from typing import Literal, NamedTuple, get_args

from streams.history.simulation.catalogue import COURSES, SimulatedCourse

DriftName = Literal["hazard", "catalogue", "season"]
NAMES: tuple[DriftName, ...] = get_args(DriftName)
WORDS: dict[DriftName, str] = {
    "hazard": "people leave sooner",
    "catalogue": "other, shorter courses replace those there were",
    "season": "people come less often",
}
STRENGTHS: dict[DriftName, float] = {"hazard": 3.0, "catalogue": 4.0, "season": 2.0}


class Drift(NamedTuple):
    """A change of the world. It is known to nobody in it: what happens before it is the same with and without it.

    Attributes:
        name: `hazard`: the time until a settled learner starts to slip passes `strength` times as fast; `catalogue`:
            the courses are others, `strength` times as short and as cheap, though whatever was begun can be finished;
            `season`: everybody who is still there comes `strength` times as seldom. Below 1, it is the other way round.
        at: the moment, in seconds since 1970 UTC.
        strength: above 0; at 1, nothing changes but the names of the courses.
    """

    name: DriftName
    at: float
    strength: float

    def hurry(self) -> float:
        """Return how many times as fast settled time passes afterwards."""
        return self.strength if self.name == "hazard" else 1.0

    def rate(self, at: float) -> float:
        """Return how many times as often as by their nature people come at a moment."""
        return 1.0 / self.strength if self.name == "season" and at >= self.at else 1.0

    def courses(self, at: float) -> tuple[SimulatedCourse, ...]:
        """Return what is sold at a moment."""
        if self.name != "catalogue" or at < self.at:
            return COURSES
        return tuple(_renewed(course, self.strength) for course in COURSES)


STEADY = Drift("season", inf, 1.0)
"""No change ever."""


def drift(name: DriftName, at: float, strength: float | None = None) -> Drift:
    """Return a change of the world by its name, of the usual strength if none is given.

    Raises:
        ValueError: the strength is not above 0.
    """
    strength = STRENGTHS[name] if strength is None else strength
    if not 0 < strength < inf:
        raise ValueError(f"the strength of a drift is above 0, not {strength}")
    return Drift(name, at, strength)


def _renewed(course: SimulatedCourse, strength: float) -> SimulatedCourse:
    lessons = max(2, round(course.lessons / strength))
    return course._replace(id=f"{course.id}-anew", lessons=lessons, price=round(course.price / strength, 2))
