"""What only the simulation knows about its learners: who has left, who would have left, and the true risk."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

from streams.history.simulation.learner import SimulatedLearner


class GroundTruth:
    """The hidden state of every learner by user id, at any moment up to which the platform has advanced."""

    def __init__(self, learners: Mapping[str, SimulatedLearner]) -> None:
        self._learners = learners

    def kept(self, user: str, at: float) -> bool:
        """Return whether the learner has not left for good by `at`."""
        return not self._learners[user].life.gone(at)

    def kept_without_messages(self, user: str, at: float) -> bool:
        """Return whether the learner would not have left by `at` without any message."""
        return not self._learners[user].life.gone_without_messages(at)

    def gone_at(self, user: str, now: float) -> float | None:
        """Return when the learner left for good; none if they have not left by `now`."""
        phase = self._learners[user].life.phase(now)
        return phase.since if phase.name == "gone" else None

    def risk(self, user: str, at: float, horizon: float) -> float:
        """Return the approximate probability of no visit within `horizon` seconds, given the hidden state at `at`."""
        return exp(-self._learners[user].expected_visits(at, horizon))

    def joined(self, user: str) -> float:
        """Return when the learner signed up."""
        return self._learners[user].joined
