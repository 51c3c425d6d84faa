"""The observer: counts what is sent to the worker and what comes from it, and holds that against the truth."""

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

KEPT_AFTER = 14 * DAY
LATELY = 28 * DAY
FORGOTTEN_AFTER = 60 * DAY
MOST_ROWS = 60_000
MOST_IDS = 200_000
CALM = 1.2
"""Seconds of the machine's time between two alerts that are shown."""


class TruthView(Protocol):
    """What is known of people beside what they do."""

    def kept(self, user: str, at: float) -> bool:
        """Return whether the person is still there."""
        ...

    def kept_untouched(self, user: str, at: float) -> bool:
        """Return whether the person would still be there if nobody had written to them."""
        ...

    def risk(self, user: str, at: float, horizon: float) -> float:
        """Return the true danger of silence for the horizon."""
        ...


class PendingPrediction(NamedTuple):
    """A labelled row that a model had scored."""

    until: float
    churned: bool
    model: float
    recency: float
    truth: float


class Fate(NamedTuple):
    """A person of whom it is to be seen at a moment whether they were kept."""

    at: float
    user: str
    arms: tuple[ArmCounts, ...]


class Observer:
    """Writes a `DemoState`. Outputs may come repeated and in any order; a repeated id is one output."""

    def __init__(self, seen: DemoState, rules: Rules, truth: TruthView | None) -> None:
        self.seen = seen
        self._rules = rules
        self._truth = truth
        self._liked = ListQuality(seen)
        self._names: dict[str, str] = {}
        self._last_active: dict[str, float] = {}
        self._tiers: dict[str, tuple[float, str]] = {}
        self._ids = RecentIds(MOST_IDS)
        self._rows: deque[PendingPrediction] = deque(maxlen=MOST_ROWS)
        self._first: set[tuple[str, str]] = set()
        self._waiting: list[Fate] = []
        self._next_alert: Alert | None = None
        self._alert_shown = float("-inf")

    def happened(self, events: Iterable[ev.AnyEvent]) -> None:
        """Note events that were sent to the worker."""
        for event in events:
            self.seen.events += 1
            if not isinstance(event, ev.Event):
                continue
            if event.user_id not in self._last_active:
                self._names[pseudonym(event.user_id, self._rules.pseudonym_key)] = event.user_id
                self._last_active[event.user_id] = event.time
            self._liked.happened(event)
            if ev.kind_of(event) in self._rules.active_kinds:
                self._last_active[event.user_id] = event.time

    def heard(self, output: Output) -> None:
        """Note an output of the worker."""
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
            self._liked.heard(output)
        elif isinstance(output, Profile):
            self._tiers[output.user_id] = max(self._tiers.get(output.user_id, (0.0, "")), (output.time, output.tier))
        elif isinstance(output, OfferOutcome):
            self.seen.coupons.redeemed += output.outcome == "redeemed"
        elif isinstance(output, Undelivered):
            self.seen.coupons.too_late += output.topic.endswith("coupon-triggers")

    def refresh(self, now: float, clock: float) -> None:
        """Bring the counts up to a moment of the play; `clock` is the machine's, for what is shown calmly."""
        self.seen.now = now
        while self._waiting and self._waiting[0].at <= now:
            self._judge(heapq.heappop(self._waiting))
        self._count_tiers(now)
        if self._next_alert is not None and clock - self._alert_shown >= CALM:
            self.seen.newest.appendleft(self._next_alert)
            self._next_alert, self._alert_shown = None, clock

    def measure(self) -> None:
        """Work out how good the model was so far."""
        rows = list(self._rows)
        self.seen.quality = _quality(rows)
        self.seen.lately = _quality([row for row in rows if row.until > self.seen.now - LATELY])

    def _alert(self, alert: Alert) -> None:
        self.seen.alerts[alert.about] += 1
        if _interest(alert) > (_interest(self._next_alert) if self._next_alert else 0):
            self._next_alert = alert

    def _decision(self, decision: Decision) -> None:
        coupons = self.seen.coupons
        if decision.candidate == "contact":
            self.seen.contacts += decision.sent
        elif decision.sent:
            coupons.sent += 1
        else:
            coupons.held_back[decision.reason] += 1
        user = self._names.get(decision.user)
        if self._truth is None or user is None or not (decision.sent or decision.hold_out):
            return
        effects = [("anything", self.seen.by_anything)]
        if decision.candidate == "coupon":
            effects.append(("coupon", self.seen.by_coupon))
        arms = tuple(_arm(effect, decision) for name, effect in effects if (name, user) not in self._first)
        self._first.update((name, user) for name, _ in effects)
        if arms:
            heapq.heappush(self._waiting, Fate(decision.time + KEPT_AFTER, user, arms))

    def _judge(self, fate: Fate) -> None:
        assert self._truth is not None
        for arm in fate.arms:
            arm.people += 1
            arm.kept += self._truth.kept(fate.user, fate.at)
            arm.untouched += self._truth.kept_untouched(fate.user, fate.at)

    def _example(self, example: Example) -> None:
        if example.model == NO_MODEL or example.probability == self._rules.prior_churn:
            return
        user, truth = self._names.get(example.user), float("nan")
        if self._truth is not None and user is not None:
            truth = self._truth.risk(user, example.time, self._rules.horizon)
        self._rows.append(
            PendingPrediction(example.until, example.churned, example.probability, example.x[SILENCE], truth)
        )

    def _count_tiers(self, now: float) -> None:
        counts: Counter[str] = Counter()
        for user, last in list(self._last_active.items()):
            if now - last > FORGOTTEN_AFTER and self.seen.forever:
                self._forget(user)
            elif now - last > self._rules.lookback:
                counts["left"] += 1
            else:
                tier = self._tiers.get(user, (0.0, ""))[1]
                counts[tier if tier in TIERS else "new"] += 1
        self.seen.tiers = counts
        self.seen.people = counts.total()

    def _forget(self, user: str) -> None:
        del self._last_active[user]
        self._tiers.pop(user, None)
        self._liked.forget(user)
        self._names.pop(pseudonym(user, self._rules.pseudonym_key), None)
        self._first -= {("anything", user), ("coupon", user)}


def replies(outputs: Iterable[Output]) -> list[Alert | CouponTrigger]:
    """Return what marketing would act on: the coupon triggers, and the alerts that ask for an ordinary contact."""
    return [
        output
        for output in outputs
        if isinstance(output, CouponTrigger) or (isinstance(output, Alert) and output.action == "contact")
    ]


def rank(tier: str) -> int:
    """Return the place of a tier among the tiers; that of a person who has none comes before them."""
    return TIERS.index(tier) if tier in TIERS else -1


def _arm(effect: EffectEstimate, decision: Decision) -> ArmCounts:
    return effect.sent if decision.sent else effect.held_out


def _interest(alert: Alert) -> int:
    """Return how much an alert is worth showing; coupons and reasons first, what only says that all is well last."""
    rising = alert.about != "risk" or rank(alert.tier) > rank(alert.tier_before)
    return 1 + 2 * rising + (alert.action != "none") + 2 * (alert.action == "coupon") + bool(alert.reasons)


def _quality(rows: list[PendingPrediction]) -> ModelQuality:
    if not rows:
        return ModelQuality()
    table = np.array(rows, np.float64)
    churned = table[:, 1]
    if churned.min() == churned.max():
        return ModelQuality(labels=len(rows), churned=float(churned.mean()))
    model, recency, truth = (auc(table[:, column], churned) for column in (2, 3, 4))
    known = not np.isnan(table[:, 4]).any()
    return ModelQuality(len(rows), float(churned.mean()), model, recency, truth if known else float("nan"))
