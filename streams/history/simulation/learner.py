"""One simulated learner: traits, life and studies, and the time of the next visit."""

from __future__ import annotations

from math import exp, inf
from random import Random

from streams.history.simulation import traits
from streams.history.simulation.drift import STEADY, Drift
from streams.history.simulation.life import Life
from streams.history.simulation.traits import DAY, HOURS_OF_WEEK
from streams.history.simulation.visits import Study

HOUR = 3_600.0
REST_SHARE = 0.6
"""A visit satisfies for this share of the usual gap. It makes visits more regular than chance would."""
BURST = (2.2, 2.0)
_MOODS = ((1.0, 7.0), BURST, (0.0, 3.0))
"""Factor on the visit rate, and mean duration in days: as usual, in a burst, or on a break."""
_MOOD_WEIGHTS = (0.75, 0.15, 0.1)
MEAN_MOOD = sum(weight * factor * days for weight, (factor, days) in zip(_MOOD_WEIGHTS, _MOODS, strict=True)) / sum(
    weight * days for weight, (_, days) in zip(_MOOD_WEIGHTS, _MOODS, strict=True)
)


class SimulatedLearner:
    """One learner with a separate random generator. Other learners and their messages never change this life.

    Attributes:
        visits_planned: increases when the next visit is planned again, so that an older plan is known to be void.
        received: ids of the messages that have reached the learner.
    """

    def __init__(self, user: str, seed: str, joined: float, drift: Drift = STEADY) -> None:
        rng = Random(seed)
        self.user = user
        self.joined = joined
        self.traits = traits.draw(rng)
        self.life = Life(self.traits, joined, rng, drift)
        self.study = Study(user, self.traits, rng, drift)
        self.visits_planned = 0
        self.received: set[str] = set()
        self._rng = rng
        self._drift = drift
        self._peak_weight = max(self.traits.week)
        self._mood = 1.0
        self._mood_ends = joined + rng.expovariate(1.0 / (7 * DAY))

    def next_visit(self, after: float) -> float | None:
        """Draw the time of the next visit after a moment; none if the learner has left."""
        at = after
        while True:
            changes = self._next_change(at)
            if changes is None:
                return None
            max_rate = self._rate(at) * self._peak_weight
            at = at + self._rng.expovariate(max_rate) if max_rate > 0 else changes
            if at >= changes:
                at = changes
                continue
            hour_weight = self.traits.week[int(at // HOUR) % HOURS_OF_WEEK]
            readiness = 1.0 - exp(-(at - after) * self.traits.pace / DAY / REST_SHARE)
            if self._rng.random() * max_rate < self._rate(at) * hour_weight * readiness:
                return at

    def revive(self, at: float, rng: Random) -> None:
        """Bring the learner back: settled from `at` on, starting with a burst of visits."""
        self.life.revive(at, rng)
        factor, days = BURST
        self._mood, self._mood_ends = factor, at + rng.expovariate(1.0 / (days * DAY))

    def expected_visits(self, at: float, within: float) -> float:
        """Return the expected number of visits within some seconds after a moment, given the hidden state then."""
        name, _ = self.life.phase(at)
        daily = self.traits.pace * self._drift.visit_rate(at) * MEAN_MOOD / (1.0 + REST_SHARE / 2) / DAY
        if name == "gone":
            return 0.0
        if name == "settled":
            return daily * within
        fading = self.traits.fading
        return daily * self.life.engagement(at) * fading * (1.0 - exp(-within / fading))

    def _rate(self, at: float) -> float:
        """Return visits per second for an hour of mean weight. Between two changes it never grows."""
        return self.traits.pace / DAY * self._mood * self.life.engagement(at) * self._drift.visit_rate(at)

    def _next_change(self, at: float) -> float | None:
        """Set the mood at `at`. Return when the mood, phase or drift changes next; none once the learner has left."""
        if self.life.gone(at):
            return None
        while at >= self._mood_ends:
            self._mood, days = self._rng.choices(_MOODS, _MOOD_WEIGHTS)[0]
            self._mood_ends += self._rng.expovariate(1.0 / (days * DAY))
        later = (phase.since for phase in self.life.phases if phase.since > at)
        return min(self._mood_ends, min(later), self._drift.at if self._drift.at > at else inf)
