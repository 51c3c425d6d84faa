"""A simulated platform whose truth is known: learners who learn, slip away, and answer to what they are sent.

It moves no bytes and reads no clock. The same seed gives the same lives, whatever the steps in which time advances;
a message changes nobody's life but its addressee's, and that only if it works.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from math import ceil
from random import Random

from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger
from streams.history.simulation.drift import STEADY, Drift
from streams.history.simulation.learner import SimulatedLearner
from streams.history.simulation.traits import DAY
from streams.history.simulation.truth import GroundTruth

CONTACT_WORKS = 0.15
"""The chance that an ordinary message brings back a learner who has just begun to slip or has just left."""
FORGOTTEN_AFTER = 90 * DAY
"""How long after their leaving a platform that has newcomers for ever remembers its learners."""

Happens = Callable[[float], list[ev.Event]]


class Platform:
    """A platform of learners who join over the first weeks, live their lives, and answer to messages.

    Call `advance` with ever later moments; between two calls, hand over what the learners are sent.

    Attributes:
        truth: the hidden state, by user id.
        now: the moment up to which time has advanced.
    """

    def __init__(
        self,
        seed: int,
        start: float,
        learners: int = 2_000,
        joining_days: float = 49.0,
        newcomers_per_day: float = 0.0,
        drift: Drift = STEADY,
    ) -> None:
        """Found a platform.

        Args:
            seed: makes the lives; another one makes others.
            start: when the first learners may join, in seconds since 1970 UTC.
            learners: how many join over the first weeks.
            joining_days: how long these weeks are; more join early than late.
            newcomers_per_day: how many join besides, evenly and for ever; then those who left are forgotten in time.
            drift: a change of the world, if one comes.
        """
        self.now = start
        self._seed = seed
        self._drift = drift
        self._newcomers_every = DAY / newcomers_per_day if newcomers_per_day > 0 else 0.0
        self._learners: dict[str, SimulatedLearner] = {}
        self._admitted = 0
        self._due: list[tuple[float, str, int, ev.Event | Happens]] = []
        self._planned = 0
        self.truth = GroundTruth(self._learners)
        for _ in range(learners):
            self._admit(start + joining_days * DAY * self._rng(f"joins {self._admitted}").betavariate(0.8, 2.0))
        if self._newcomers_every:
            self._plan(start + self._newcomers_every, "", self._newcomer)

    def advance(self, until: float) -> list[ev.Event]:
        """Return what happens after the last call's moment and up to `until`, in order of time."""
        happened: list[ev.Event] = []
        while self._due and self._due[0][0] <= until:
            at, user, _, what = heapq.heappop(self._due)
            if isinstance(what, ev.Event):
                happened.append(what)
                continue
            for event in what(at):
                self._plan(event.time, user, event)
        self.now = max(self.now, until)
        return happened

    def react(self, trigger: CouponTrigger, now: float) -> bool:
        """Let a learner have a coupon; what they make of it comes as events of later calls of `advance`.

        The same coupon reaches a learner once. Returns whether it was taken up for delivery: one that is old news
        by `now` is not.
        """
        learner = self._learners.get(trigger.user_id)
        if learner is None or trigger.id in learner.answered or now > trigger.expires_at:
            return False
        learner.answered.add(trigger.id)
        rng = self._rng(trigger.id)
        self._plan(now + rng.uniform(60.0, 1_200.0), learner.user, partial(self._delivered, learner, trigger, rng))
        return True

    def contact(self, alert: Alert, now: float) -> bool:
        """Let a learner have an ordinary message, under the same conditions as a coupon; its effect is small."""
        learner = self._learners.get(alert.user_id)
        if learner is None or alert.id in learner.answered or now > alert.expires_at:
            return False
        learner.answered.add(alert.id)
        rng = self._rng(alert.id)
        self._plan(now + rng.uniform(60.0, 1_200.0), learner.user, partial(self._read, learner, rng))
        return True

    # -- what happens when it is due: each returns the events of that moment --------------------------------------

    def _joins(self, learner: SimulatedLearner, at: float) -> list[ev.Event]:
        events = learner.study.arrives(at)
        self._plan_visit(learner, events[-1].time)
        return events

    def _newcomer(self, at: float) -> list[ev.Event]:
        self._admit(at)
        self._plan(at + self._newcomers_every, "", self._newcomer)
        return []

    def _visits(self, learner: SimulatedLearner, plan: int, at: float) -> list[ev.Event]:
        if plan != learner.visits_planned:
            return []
        events = learner.study.visit(at, learner.life.engagement(at))
        self._plan_visit(learner, events[-1].time if events else at)
        return events

    def _delivered(self, learner: SimulatedLearner, coupon: CouponTrigger, rng: Random, at: float) -> list[ev.Event]:
        won = rng.random() < learner.traits.persuadable * learner.life.winnable(at)
        bargain = learner.life.phase(at).name == "settled" and rng.random() < learner.traits.deal_lover
        uses_it = at + rng.expovariate(1.0 / (0.7 * DAY))
        if (won or bargain) and uses_it < coupon.valid_until:
            self._plan(uses_it, learner.user, partial(self._redeems, learner, coupon, won, rng))
        else:
            self._plan(max(at, coupon.valid_until) + 60.0, learner.user, partial(self._expires, learner, coupon))
        name = f"{coupon.id}-delivered"
        return [ev.CouponDelivered(id=name, user_id=learner.user, time=_written(at), offer_id=coupon.id)]

    def _expires(self, learner: SimulatedLearner, coupon: CouponTrigger, at: float) -> list[ev.Event]:
        name = f"{coupon.id}-expired"
        return [ev.CouponExpired(id=name, user_id=learner.user, time=_written(at), offer_id=coupon.id)]

    def _redeems(
        self, learner: SimulatedLearner, coupon: CouponTrigger, won: bool, rng: Random, at: float
    ) -> list[ev.Event]:
        events = learner.study.buys(at, coupon.id, coupon.amount)
        if won:
            learner.revive(at, rng)
            self._plan_visit(learner, events[-1].time)
        return events

    def _read(self, learner: SimulatedLearner, rng: Random, at: float) -> list[ev.Event]:
        if rng.random() < CONTACT_WORKS * learner.life.winnable(at):
            learner.revive(at, rng)
            self._plan_visit(learner, at)
        return []

    def _forgets(self, learner: SimulatedLearner, plan: int, at: float) -> list[ev.Event]:
        if plan == learner.visits_planned:
            del self._learners[learner.user]
        return []

    # -- the plan -------------------------------------------------------------------------------------------------

    def _admit(self, joined: float) -> None:
        number = self._admitted
        self._admitted += 1
        user = f"learner-{number:05d}"
        learner = SimulatedLearner(user, f"{self._seed} life {number}", joined, self._drift)
        self._learners[user] = learner
        self._plan(joined, user, partial(self._joins, learner))

    def _plan_visit(self, learner: SimulatedLearner, after: float) -> None:
        learner.visits_planned += 1
        at = learner.next_visit(after)
        if at is not None:
            self._plan(at, learner.user, partial(self._visits, learner, learner.visits_planned))
        elif self._newcomers_every:
            forgotten = learner.life.phases[-1].since + FORGOTTEN_AFTER
            self._plan(max(after, forgotten), learner.user, partial(self._forgets, learner, learner.visits_planned))

    def _plan(self, at: float, user: str, what: ev.Event | Happens) -> None:
        self._planned += 1
        heapq.heappush(self._due, (at, user, self._planned, what))

    def _rng(self, what: str) -> Random:
        return Random(f"{self._seed} {what}")


def _written(at: float) -> float:
    """Return a moment as an event states it: in whole milliseconds, never earlier."""
    return ceil(at * 1_000) / 1_000
