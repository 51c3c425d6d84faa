"""A simulated learner's life: settled, slipping, gone. It is drawn in advance; only a message can change its end."""

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
"""Seconds after which a learner who has left is 1/e as easy to bring back."""


class Phase(NamedTuple):
    """A phase and the time at which it begins. It lasts until the next phase."""

    name: PhaseName
    since: float


class Life:
    """One learner's phases, as they are and as they would be without any message."""

    def __init__(self, traits: Traits, joined: float, rng: Random, drift: Drift = STEADY) -> None:
        self.traits = traits
        self._drift = drift
        self.without_messages = apply_drift(phases_from(traits, joined, rng), drift)
        self.phases = self.without_messages

    def phase(self, at: float) -> Phase:
        """Return the phase at a moment; before the first phase begins, the first phase."""
        return _phase_at(self.phases, at)

    def engagement(self, at: float) -> float:
        """Return the share of the visit rate that is left: 1 while settled, falling while slipping, 0 when gone."""
        name, since = self.phase(at)
        if name == "slipping":
            return exp(-(at - since) / self.traits.fading)
        return 1.0 if name == "settled" else 0.0

    def gone(self, at: float) -> bool:
        """Return whether the learner has left for good by `at`, as currently planned."""
        return self.phase(at).name == "gone"

    def gone_without_messages(self, at: float) -> bool:
        """Return whether the learner would have left by `at` without any message."""
        return _phase_at(self.without_messages, at).name == "gone"

    def persuadability_left(self, at: float) -> float:
        """Return the share of persuadability that is left: 0 while settled, 1 while slipping, falling once gone."""
        name, since = self.phase(at)
        if name == "gone":
            return exp(-(at - since) / FRESHNESS)
        return 1.0 if name == "slipping" else 0.0

    def revive(self, at: float, rng: Random) -> None:
        """Replace the life from `at` on: the learner is settled again, and may slip again."""
        kept = tuple(phase for phase in self.phases if phase.since <= at)
        self.phases = (*kept, *apply_drift(phases_from(self.traits, at, rng), self._drift))


def phases_from(traits: Traits, since: float, rng: Random) -> tuple[Phase, ...]:
    """Draw the phases from settling to leaving for good."""
    phases = [Phase("settled", since)]
    while phases[-1].name != "gone":
        # A shape below 1 makes the first weeks the riskiest, as on real platforms.
        slips = phases[-1].since + rng.weibullvariate(traits.steadiness, 0.8)
        if rng.random() < traits.sudden:
            phases.append(Phase("gone", slips))
            continue
        ends = slips + rng.gammavariate(2.0, 0.7 * traits.fading)
        back = rng.random() < traits.return_chance
        phases += [Phase("slipping", slips), Phase("settled" if back else "gone", ends)]
    return tuple(phases)


def apply_drift(phases: tuple[Phase, ...], drift: Drift) -> tuple[Phase, ...]:
    """Return the phases under a drift: after it, the time in which a learner is settled passes faster."""
    speed = drift.settled_speed()
    if speed == 1.0:
        return phases
    shifted = [phases[0]]
    for before, after in pairwise(phases):
        since, length = shifted[-1].since, after.since - before.since
        if before.name == "settled":
            before_drift = min(length, max(0.0, drift.at - since))
            length = before_drift + (length - before_drift) / speed
        shifted.append(Phase(after.name, since + length))
    return tuple(shifted)


def _phase_at(phases: tuple[Phase, ...], at: float) -> Phase:
    return phases[max(0, bisect_right(phases, at, key=lambda phase: phase.since) - 1)]
