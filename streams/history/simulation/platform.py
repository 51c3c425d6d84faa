"""A simulated platform with known truth: its learners learn, slip away, and respond to messages.

It has no input or output and reads no clock. The same seed gives the same lives, whatever the steps in which time
advances. A message can change only the life of its receiver.
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

CONTACT_CHANCE = 0.15
"""The probability that a contact brings back a learner who has just begun to slip or has just left."""
FORGOTTEN_AFTER = 90 * DAY
"""With newcomers, the platform forgets a learner this long after they left."""

Action = Callable[[float], list[ev.Event]]


class Platform:
    """A platform of learners who join during the first weeks, live their lives, and respond to messages.

    Call `advance` with increasing moments. Between two calls, deliver the messages for the learners.

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
        """Create a platform.

        Args:
            seed: determines all lives.
            start: when the first learners may join, in seconds since 1970 UTC.
            learners: how many join during the first weeks.
            joining_days: how many days these weeks last; more learners join early than late.
            newcomers_per_day: how many more join, evenly and without end; then learners who left are forgotten.
            drift: a change of behaviour.
        """
        self.now = start
        self._seed = seed
        self._drift = drift
        self._newcomers_every = DAY / newcomers_per_day if newcomers_per_day > 0 else 0.0
        self._learners: dict[str, SimulatedLearner] = {}
        self._admitted = 0
        self._queue: list[tuple[float, str, int, ev.Event | Action]] = []
        self._planned = 0
        self.truth = GroundTruth(self._learners)
        for _ in range(learners):
            self._admit(start + joining_days * DAY * self._rng(f"joins {self._admitted}").betavariate(0.8, 2.0))
        if self._newcomers_every:
            self._plan(start + self._newcomers_every, "", self._add_newcomer)

    def advance(self, until: float) -> list[ev.Event]:
        """Return the events after the last call's moment and up to `until`, in time order."""
        events: list[ev.Event] = []
        while self._queue and self._queue[0][0] <= until:
            at, user, _, item = heapq.heappop(self._queue)
            if isinstance(item, ev.Event):
                events.append(item)
                continue
            for event in item(at):
                self._plan(event.time, user, event)
        self.now = max(self.now, until)
        return events

    def deliver_coupon(self, trigger: CouponTrigger, now: float) -> bool:
        """Deliver a coupon to a learner. Their response follows as events of later calls of `advance`.

        The same coupon reaches a learner once. Returns whether it was accepted: an expired one is not.
        """
        learner = self._learners.get(trigger.user_id)
        if learner is None or trigger.id in learner.received or now > trigger.expires_at:
            return False
        learner.received.add(trigger.id)
        rng = self._rng(trigger.id)
        self._plan(now + rng.uniform(60.0, 1_200.0), learner.user, partial(self._deliver, learner, trigger, rng))
        return True

    def deliver_contact(self, alert: Alert, now: float) -> bool:
        """Deliver a contact to a learner, under the same conditions as a coupon. Its effect is small."""
        learner = self._learners.get(alert.user_id)
        if learner is None or alert.id in learner.received or now > alert.expires_at:
            return False
        learner.received.add(alert.id)
        rng = self._rng(alert.id)
        self._plan(now + rng.uniform(60.0, 1_200.0), learner.user, partial(self._read_message, learner, rng))
        return True

    # -- actions, called when they are due: each returns the events of that moment ------------------------------------

    def _join(self, learner: SimulatedLearner, at: float) -> list[ev.Event]:
        events = learner.study.sign_up(at)
        self._plan_visit(learner, events[-1].time)
        return events

    def _add_newcomer(self, at: float) -> list[ev.Event]:
        self._admit(at)
        self._plan(at + self._newcomers_every, "", self._add_newcomer)
        return []

    def _visit(self, learner: SimulatedLearner, plan: int, at: float) -> list[ev.Event]:
        if plan != learner.visits_planned:
            return []
        events = learner.study.visit(at, learner.life.engagement(at))
        self._plan_visit(learner, events[-1].time if events else at)
        return events

    def _deliver(self, learner: SimulatedLearner, coupon: CouponTrigger, rng: Random, at: float) -> list[ev.Event]:
        persuaded = rng.random() < learner.traits.persuadable * learner.life.persuadability_left(at)
        bargain = learner.life.phase(at).name == "settled" and rng.random() < learner.traits.deal_lover
        uses_it = at + rng.expovariate(1.0 / (0.7 * DAY))
        if (persuaded or bargain) and uses_it < coupon.valid_until:
            self._plan(uses_it, learner.user, partial(self._redeem, learner, coupon, persuaded, rng))
        else:
            self._plan(max(at, coupon.valid_until) + 60.0, learner.user, partial(self._expire, learner, coupon))
        name = f"{coupon.id}-delivered"
        return [ev.CouponDelivered(id=name, user_id=learner.user, time=_event_time(at), offer_id=coupon.id)]

    def _expire(self, learner: SimulatedLearner, coupon: CouponTrigger, at: float) -> list[ev.Event]:
        name = f"{coupon.id}-expired"
        return [ev.CouponExpired(id=name, user_id=learner.user, time=_event_time(at), offer_id=coupon.id)]

    def _redeem(
        self, learner: SimulatedLearner, coupon: CouponTrigger, persuaded: bool, rng: Random, at: float
    ) -> list[ev.Event]:
        events = learner.study.redeem(at, coupon.id, coupon.amount)
        if persuaded:
            learner.revive(at, rng)
            self._plan_visit(learner, events[-1].time)
        return events

    def _read_message(self, learner: SimulatedLearner, rng: Random, at: float) -> list[ev.Event]:
        if rng.random() < CONTACT_CHANCE * learner.life.persuadability_left(at):
            learner.revive(at, rng)
            self._plan_visit(learner, at)
        return []

    def _forget(self, learner: SimulatedLearner, plan: int, at: float) -> list[ev.Event]:
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
        self._plan(joined, user, partial(self._join, learner))

    def _plan_visit(self, learner: SimulatedLearner, after: float) -> None:
        learner.visits_planned += 1
        at = learner.next_visit(after)
        if at is not None:
            self._plan(at, learner.user, partial(self._visit, learner, learner.visits_planned))
        elif self._newcomers_every:
            forgotten = learner.life.phases[-1].since + FORGOTTEN_AFTER
            self._plan(max(after, forgotten), learner.user, partial(self._forget, learner, learner.visits_planned))

    def _plan(self, at: float, user: str, item: ev.Event | Action) -> None:
        self._planned += 1
        heapq.heappush(self._queue, (at, user, self._planned, item))

    def _rng(self, purpose: str) -> Random:
        return Random(f"{self._seed} {purpose}")


def _event_time(at: float) -> float:
    """Return a moment as an event states it: in whole milliseconds, rounded up."""
    return ceil(at * 1_000) / 1_000
