"""One simulated learner: nature, life and studies, and when the next visit is."""

from __future__ import annotations

from math import exp, inf
from random import Random

from streams.history.simulation import traits
from streams.history.simulation.drift import STEADY, Drift
from streams.history.simulation.life import Life
from streams.history.simulation.traits import DAY, HOURS_OF_WEEK
from streams.history.simulation.visits import Study

HOUR = 3_600.0
REST = 0.6
"""The share of the usual gap for which a visit satisfies: it makes rhythms more regular than chance."""
BUSY = (2.2, 2.0)
_MOODS = ((1.0, 7.0), BUSY, (0.0, 3.0))
"""How much more often a learner comes, and for how many days on average: as usual, in a burst, or on a break."""
_OFTEN = (0.75, 0.15, 0.1)
MEAN_MOOD = sum(often * factor * days for often, (factor, days) in zip(_OFTEN, _MOODS, strict=True)) / sum(
    often * days for often, (_, days) in zip(_OFTEN, _MOODS, strict=True)
)


class SimulatedLearner:
    """One learner, with random numbers of their own: what others do or are sent never changes this life.

    Attributes:
        visits_planned: counts up whenever the plan of visits is made anew, so that an older plan is seen to be void.
        answered: ids of the messages that have reached the learner.
    """

    def __init__(self, user: str, seed: str, joined: float, drift: Drift = STEADY) -> None:
        rng = Random(seed)
        self.user = user
        self.joined = joined
        self.traits = traits.drawn(rng)
        self.life = Life(self.traits, joined, rng, drift)
        self.study = Study(user, self.traits, rng, drift)
        self.visits_planned = 0
        self.answered: set[str] = set()
        self._rng = rng
        self._drift = drift
        self._busiest = max(self.traits.week)
        self._mood = 1.0
        self._mood_ends = joined + rng.expovariate(1.0 / (7 * DAY))

    def next_visit(self, after: float) -> float | None:
        """Draw the time of the next visit after a moment; none comes any more once the learner has left."""
        at = after
        while True:
            changes = self._next_change(at)
            if changes is None:
                return None
            most = self._rate(at) * self._busiest
            at = at + self._rng.expovariate(most) if most > 0 else changes
            if at >= changes:
                at = changes
                continue
            weight = self.traits.week[int(at // HOUR) % HOURS_OF_WEEK]
            longing = 1.0 - exp(-(at - after) * self.traits.pace / DAY / REST)
            if self._rng.random() * most < self._rate(at) * weight * longing:
                return at

    def revive(self, at: float, rng: Random) -> None:
        """Bring the learner back: settled from `at` on, and busy at first."""
        self.life.revive(at, rng)
        factor, days = BUSY
        self._mood, self._mood_ends = factor, at + rng.expovariate(1.0 / (days * DAY))

    def expected_visits(self, at: float, within: float) -> float:
        """Return how many visits the hidden state at a moment makes us expect within some seconds after it."""
        name, _ = self.life.phase(at)
        daily = self.traits.pace * self._drift.rate(at) * MEAN_MOOD / (1.0 + REST / 2) / DAY
        if name == "gone":
            return 0.0
        if name == "settled":
            return daily * within
        fading = self.traits.fading
        return daily * self.life.engagement(at) * fading * (1.0 - exp(-within / fading))

    def _rate(self, at: float) -> float:
        """Return the visits a second at an hour of mean weight; between two changes it never grows."""
        return self.traits.pace / DAY * self._mood * self.life.engagement(at) * self._drift.rate(at)

    def _next_change(self, at: float) -> float | None:
        """Set the mood of `at`, and return when mood, phase or world change next; nothing once the learner is gone."""
        if self.life.gone(at):
            return None
        while at >= self._mood_ends:
            self._mood, days = self._rng.choices(_MOODS, _OFTEN)[0]
            self._mood_ends += self._rng.expovariate(1.0 / (days * DAY))
        later = (phase.since for phase in self.life.phases if phase.since > at)
        return min(self._mood_ends, min(later), self._drift.at if self._drift.at > at else inf)
