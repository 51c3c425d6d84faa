"""The observer: counts the events and outputs of the demo, and compares the outputs with the simulation's truth."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np

from models.churn.quality import auc
from models.person.activity import DAY
from models.person.features import SILENCE
from models.person.ledger import pseudonym
from models.person.rules import Rules
from models.schema import events as ev
from models.schema.outputs import (
    NO_MODEL,
    TIERS,
    Alert,
    CouponTrigger,
    Decision,
    Example,
    OfferOutcome,
    Output,
    Profile,
    Recommendations,
    Undelivered,
)
from streams.demo.list_quality import ListQuality
from streams.demo.state import ArmCounts, DemoState, EffectEstimate, ModelQuality
from streams.state.recent_ids import RecentIds

JUDGED_AFTER = 14 * DAY
RECENT = 28 * DAY
FORGOTTEN_AFTER = 60 * DAY
MAX_ROWS = 60_000
MAX_IDS = 200_000
ALERT_INTERVAL = 1.2
"""Seconds of real time between two alerts that are shown."""


class TruthView(Protocol):
    """What the simulation knows about its users beyond their events."""

    def kept(self, user: str, at: float) -> bool:
        """Return whether the user has not left."""
        ...

    def kept_without_messages(self, user: str, at: float) -> bool:
        """Return whether the user would not have left without any message."""
        ...

    def risk(self, user: str, at: float, horizon: float) -> float:
        """Return the true probability of no activity within the horizon."""
        ...


class ScoredLabel(NamedTuple):
    """A label together with its scores: by the model, by recency, and by the truth."""

    until: float
    churned: bool
    model: float
    recency: float
    truth: float


class PendingOutcome(NamedTuple):
    """A user for whom the demo checks at a moment whether they were kept."""

    at: float
    user: str
    arms: tuple[ArmCounts, ...]


class Observer:
    """Updates a `DemoState`. Outputs may arrive repeatedly and in any order; outputs with the same id count once."""

    def __init__(self, state: DemoState, rules: Rules, truth: TruthView | None) -> None:
        self.state = state
        self._rules = rules
        self._truth = truth
        self._list_quality = ListQuality(state)
        self._names: dict[str, str] = {}
        self._last_active: dict[str, float] = {}
        self._tiers: dict[str, tuple[float, str]] = {}
        self._ids = RecentIds(MAX_IDS)
        self._rows: deque[ScoredLabel] = deque(maxlen=MAX_ROWS)
        self._counted: set[tuple[str, str]] = set()
        self._pending: list[PendingOutcome] = []
        self._next_alert: Alert | None = None
        self._alert_shown = float("-inf")

    def on_events(self, events: Iterable[ev.AnyEvent]) -> None:
        """Count events that were sent to the worker."""
        for event in events:
            self.state.events += 1
            if not isinstance(event, ev.Event):
                continue
            if event.user_id not in self._last_active:
                self._names[pseudonym(event.user_id, self._rules.pseudonym_key)] = event.user_id
                self._last_active[event.user_id] = event.time
            self._list_quality.on_event(event)
            if ev.kind_of(event) in self._rules.active_kinds:
                self._last_active[event.user_id] = event.time

    def on_output(self, output: Output) -> None:
        """Count an output of the worker."""
        name = f"{type(output).__name__} {output.id}"
        if name in self._ids:
            return
        self._ids.add(name)
        if isinstance(output, Alert):
            self._alert(output)
        elif isinstance(output, Decision):
            self._decision(output)
        elif isinstance(output, Example):
            self._example(output)
        elif isinstance(output, Recommendations):
            self._list_quality.on_recommendations(output)
        elif isinstance(output, Profile):
            self._tiers[output.user_id] = max(self._tiers.get(output.user_id, (0.0, "")), (output.time, output.tier))
        elif isinstance(output, OfferOutcome):
            self.state.coupons.redeemed += output.outcome == "redeemed"
        elif isinstance(output, Undelivered):
            self.state.coupons.too_late += output.topic.endswith("coupon-triggers")

    def refresh(self, now: float, clock: float) -> None:
        """Update the counts to the event time `now`. `clock` is real time; it limits how often a new alert is shown."""
        self.state.now = now
        while self._pending and self._pending[0].at <= now:
            self._judge(heapq.heappop(self._pending))
        self._count_tiers(now)
        if self._next_alert is not None and clock - self._alert_shown >= ALERT_INTERVAL:
            self.state.newest_alerts.appendleft(self._next_alert)
            self._next_alert, self._alert_shown = None, clock

    def measure(self) -> None:
        """Compute the quality of the model so far."""
        rows = list(self._rows)
        self.state.quality = _quality(rows)
        self.state.recent_quality = _quality([row for row in rows if row.until > self.state.now - RECENT])

    def _alert(self, alert: Alert) -> None:
        self.state.alerts[alert.about] += 1
        if _priority(alert) > (_priority(self._next_alert) if self._next_alert else 0):
            self._next_alert = alert

    def _decision(self, decision: Decision) -> None:
        coupons = self.state.coupons
        if decision.candidate == "contact":
            self.state.contacts += decision.sent
        elif decision.sent:
            coupons.sent += 1
        else:
            coupons.held_back[decision.reason] += 1
        user = self._names.get(decision.user)
        if self._truth is None or user is None or not (decision.sent or decision.hold_out):
            return
        effects = [("anything", self.state.by_anything)]
        if decision.candidate == "coupon":
            effects.append(("coupon", self.state.by_coupon))
        arms = tuple(_arm(effect, decision) for name, effect in effects if (name, user) not in self._counted)
        self._counted.update((name, user) for name, _ in effects)
        if arms:
            heapq.heappush(self._pending, PendingOutcome(decision.time + JUDGED_AFTER, user, arms))

    def _judge(self, outcome: PendingOutcome) -> None:
        assert self._truth is not None
        for arm in outcome.arms:
            arm.users += 1
            arm.kept += self._truth.kept(outcome.user, outcome.at)
            arm.kept_without_messages += self._truth.kept_without_messages(outcome.user, outcome.at)

    def _example(self, example: Example) -> None:
        if example.model == NO_MODEL or example.probability == self._rules.prior_churn:
            return
        user, truth = self._names.get(example.user), float("nan")
        if self._truth is not None and user is not None:
            truth = self._truth.risk(user, example.time, self._rules.horizon)
        self._rows.append(ScoredLabel(example.until, example.churned, example.probability, example.x[SILENCE], truth))

    def _count_tiers(self, now: float) -> None:
        counts: Counter[str] = Counter()
        for user, last in list(self._last_active.items()):
            if now - last > FORGOTTEN_AFTER and self.state.forever:
                self._forget(user)
            elif now - last > self._rules.lookback:
                counts["left"] += 1
            else:
                tier = self._tiers.get(user, (0.0, ""))[1]
                counts[tier if tier in TIERS else "new"] += 1
        self.state.tiers = counts
        self.state.users = counts.total()

    def _forget(self, user: str) -> None:
        del self._last_active[user]
        self._tiers.pop(user, None)
        self._list_quality.forget(user)
        self._names.pop(pseudonym(user, self._rules.pseudonym_key), None)
        self._counted -= {("anything", user), ("coupon", user)}


def replies(outputs: Iterable[Output]) -> list[Alert | CouponTrigger]:
    """Return what a marketing system would act on: coupon triggers, and alerts that ask for a contact."""
    return [
        output
        for output in outputs
        if isinstance(output, CouponTrigger) or (isinstance(output, Alert) and output.action == "contact")
    ]


def tier_rank(tier: str) -> int:
    """Return the position of a tier, from low to high; -1 for a user without a tier."""
    return TIERS.index(tier) if tier in TIERS else -1


def _arm(effect: EffectEstimate, decision: Decision) -> ArmCounts:
    return effect.sent if decision.sent else effect.held_out


def _priority(alert: Alert) -> int:
    """Return how useful an alert is to show: coupons and alerts with reasons first, falling risk last."""
    rising = alert.about != "risk" or tier_rank(alert.tier) > tier_rank(alert.tier_before)
    return 1 + 2 * rising + (alert.action != "none") + 2 * (alert.action == "coupon") + bool(alert.reasons)


def _quality(rows: list[ScoredLabel]) -> ModelQuality:
    if not rows:
        return ModelQuality()
    table = np.array(rows, np.float64)
    churned = table[:, 1]
    if churned.min() == churned.max():
        return ModelQuality(labels=len(rows), churned=float(churned.mean()))
    model, recency, truth = (auc(table[:, column], churned) for column in (2, 3, 4))
    known = not np.isnan(table[:, 4]).any()
    return ModelQuality(len(rows), float(churned.mean()), model, recency, truth if known else float("nan"))
