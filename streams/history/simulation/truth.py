"""What only the simulation knows of its learners: who has left, who would have, and how great the danger really is."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

from streams.history.simulation.learner import SimulatedLearner


class GroundTruth:
    """The hidden state of every learner, by user id, at any moment up to which the platform has advanced."""

    def __init__(self, learners: Mapping[str, SimulatedLearner]) -> None:
        self._learners = learners

    def kept(self, user: str, at: float) -> bool:
        """Return whether the learner is still one at `at`: has not left for good by then."""
        return not self._learners[user].life.gone(at)

    def kept_untouched(self, user: str, at: float) -> bool:
        """Return whether the learner would still be one at `at` if nobody had ever written to them."""
        return not self._learners[user].life.gone_untouched(at)

    def gone_at(self, user: str, now: float) -> float | None:
        """Return when the learner left for good, or nothing if they are still there at `now`."""
        phase = self._learners[user].life.phase(now)
        return phase.since if phase.name == "gone" else None

    def risk(self, user: str, at: float, horizon: float) -> float:
        """Return about the chance of no visit within `horizon` seconds, for whoever sees the hidden state of `at`."""
        return exp(-self._learners[user].expected_visits(at, horizon))

    def joined(self, user: str) -> float:
        """Return when the learner signed up."""
        return self._learners[user].joined
