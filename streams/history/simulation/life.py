"""A simulated learner's life: settled, slipping, gone. It is written in advance; only a message can rewrite its end."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from math import exp
from random import Random
from typing import Literal, NamedTuple

from streams.history.simulation.drift import STEADY, Drift
from streams.history.simulation.traits import DAY, Traits

PhaseName = Literal["settled", "slipping", "gone"]
FRESHNESS = 12 * DAY
"""Seconds after which somebody who has left is 1/e as easy to bring back."""


class Phase(NamedTuple):
    """What holds from a moment on, until the next phase."""

    name: PhaseName
    since: float


class Life:
    """One learner's phases, as they are and as they would have been if nobody had written to the learner."""

    def __init__(self, traits: Traits, joined: float, rng: Random, drift: Drift = STEADY) -> None:
        self.traits = traits
        self._drift = drift
        self.untouched = hastened(phases_from(traits, joined, rng), drift)
        self.phases = self.untouched

    def phase(self, at: float) -> Phase:
        """Return the phase the learner is in at a moment; the first one also before it began."""
        return _phase(self.phases, at)

    def engagement(self, at: float) -> float:
        """Return how much of their pace the learner has left: 1 while settled, falling while slipping, 0 when gone."""
        name, since = self.phase(at)
        if name == "slipping":
            return exp(-(at - since) / self.traits.fading)
        return 1.0 if name == "settled" else 0.0

    def gone(self, at: float) -> bool:
        """Return whether the learner has left for good by `at`, as far as is written."""
        return self.phase(at).name == "gone"

    def gone_untouched(self, at: float) -> bool:
        """Return whether the learner would have left by `at` without any message."""
        return _phase(self.untouched, at).name == "gone"

    def winnable(self, at: float) -> float:
        """Return how much of their persuadability is left: 0 while settled, then 1, fading after the leaving."""
        name, since = self.phase(at)
        if name == "gone":
            return exp(-(at - since) / FRESHNESS)
        return 1.0 if name == "slipping" else 0.0

    def revive(self, at: float, rng: Random) -> None:
        """Rewrite the life from `at` on: the learner is settled again, and may slip again."""
        kept = tuple(phase for phase in self.phases if phase.since <= at)
        self.phases = (*kept, *hastened(phases_from(self.traits, at, rng), self._drift))


def phases_from(traits: Traits, since: float, rng: Random) -> tuple[Phase, ...]:
    """Draw phases from settling to leaving for good."""
    phases = [Phase("settled", since)]
    while phases[-1].name != "gone":
        # The shape below 1 makes the first weeks the riskiest, as everywhere.
        slips = phases[-1].since + rng.weibullvariate(traits.steadiness, 0.8)
        if rng.random() < traits.sudden:
            phases.append(Phase("gone", slips))
            continue
        ends = slips + rng.gammavariate(2.0, 0.7 * traits.fading)
        back = rng.random() < traits.return_chance
        phases += [Phase("slipping", slips), Phase("settled" if back else "gone", ends)]
    return tuple(phases)


def hastened(phases: tuple[Phase, ...], drift: Drift) -> tuple[Phase, ...]:
    """Return phases in a world that changes: from then on, the time in which somebody is settled passes faster."""
    hurry = drift.hurry()
    if hurry == 1.0:
        return phases
    moved = [phases[0]]
    for before, after in pairwise(phases):
        since, length = moved[-1].since, after.since - before.since
        if before.name == "settled":
            unhurried = min(length, max(0.0, drift.at - since))
            length = unhurried + (length - unhurried) / hurry
        moved.append(Phase(after.name, since + length))
    return tuple(moved)


def _phase(phases: tuple[Phase, ...], at: float) -> Phase:
    return phases[max(0, bisect_right(phases, at, key=lambda phase: phase.since) - 1)]
