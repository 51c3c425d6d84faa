"""Risk: score persons, keep the rows until their labels are known, and compute risk tiers."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from models.churn.snapshot import FEATURES
from models.person import features
from models.person.ledger import MAX_PENDING_LABELS, Ledger, PendingLabel, output_id, pseudonym
from models.person.person import Person, label_due, signal_due
from models.person.rules import EARLY_SIGNAL, Rules
from models.retention.context import Context
from models.schema import outputs


def is_eligible(person: Person, at: float, rules: Rules) -> bool:
    """Return whether a person can be scored: they were active within the look-back."""
    return person.activity.events > 0 and at - person.activity.last <= rules.lookback


class Score(Struct, frozen=True, gc=False):
    """A person's features at a moment, and the churn probability.

    Attributes:
        row: the features.
        probability: the model's probability after drift correction, or the prior while no model is ready.
        raw_probability: the model's probability before drift correction; -1 while no model is ready.
    """

    row: NDArray[float32]
    probability: float
    raw_probability: float = -1.0


def score_persons(persons: Sequence[Person], times: Sequence[float], context: Context) -> list[Score]:
    """Score persons in one matrix product, each as of a time of their own."""
    rows = features.rows([person.activity for person in persons], times, context.rules.horizon)
    if context.model is None or not context.ready:
        return [Score(row, context.rules.prior_churn) for row in rows]
    raw = context.model.raw_probabilities(rows)
    return list(map(Score, rows, context.model.recalibrate(raw), raw))


def record_score(ledger: Ledger, score: Score, at: float, context: Context, keep_row: bool) -> Ledger:
    """Record a score. With `keep_row`, the scored row waits for its label.

    The row is `treated` if anything was sent within the horizon before it, or if an offer is still open.
    """
    rows = ledger.pending_labels
    if keep_row and len(rows) < MAX_PENDING_LABELS:
        recently = at - ledger.treated_at < context.rules.horizon
        treated = recently or any(offer.until > at for offer in ledger.offers)
        row = PendingLabel(
            at,
            features.pack(score.row),
            score.probability,
            context.version,
            treated,
            raw_probability=score.raw_probability,
        )
        rows = (*rows, row)
    return replace(ledger, probability=score.probability, scored_at=at, pending_labels=rows)


def next_tier(ledger: Ledger, probability: float, at: float, context: Context) -> str:
    """Return the tier after a score, with hysteresis around both thresholds and a minimum time in a tier.

    A threshold is crossed upwards at threshold + margin, and downwards at threshold - margin. A person without a tier
    is placed by the thresholds themselves.
    """
    rules, tier = context.rules, ledger.tier
    if rules.alerts_wait and not context.ready:
        return tier
    if tier and at - ledger.tier_since < rules.dwell:
        return tier
    medium, high, margin = rules.medium, rules.high, rules.margin
    if tier not in outputs.TIERS:
        return outputs.TIERS[(probability >= medium) + (probability >= high)]
    rank = outputs.TIERS.index(tier)
    up = (probability >= medium + margin) + (probability >= high + margin)
    down = (probability >= medium - margin) + (probability >= high - margin)
    return outputs.TIERS[up if up > rank else down if down < rank else rank]


def record_return(rows: tuple[PendingLabel, ...], time: float, horizon: float) -> tuple[PendingLabel, ...]:
    """Record an activity on the pending rows. A row keeps the earliest return within its horizon."""
    if rows and 0 < rows[-1].returned <= time:  # a return to the newest row is one to the older rows as well
        return rows
    for row in rows:
        if row.at < time <= row.at + horizon and not 0 < row.returned <= time:
            return tuple(
                replace(row, returned=min(row.returned or time, time)) if row.at < time <= row.at + horizon else row
                for row in rows
            )
    return rows


def release_labels(person: Person, due: float, context: Context) -> tuple[Person, tuple[outputs.Example, ...]]:
    """Label the rows whose horizon ended by `due`. A person who was not active within the horizon has churned."""
    rules, ledger = context.rules, person.ledger
    if not ledger.pending_labels or label_due(ledger.pending_labels[0].at, rules) > due:
        return person, ()
    closed = [row for row in ledger.pending_labels if label_due(row.at, rules) <= due]
    waiting = tuple(row for row in ledger.pending_labels if label_due(row.at, rules) > due)
    examples = tuple(_make_example(person, row, rules) for row in closed)
    return replace(person, ledger=replace(ledger, pending_labels=waiting)), examples


def early_signals(person: Person, done: float, due: float, rules: Rules) -> tuple[outputs.EarlySignal, ...]:
    """Return the early signals known by `due` but not by `done`: whether the person was back early after a score."""
    signals: list[outputs.EarlySignal] = []
    for row in reversed(person.ledger.pending_labels):  # rows are ordered by time
        known = signal_due(row.at, rules)
        if known <= done:
            break
        if known <= due:
            signals.append(_make_early_signal(person, row, rules))
    return tuple(signals[::-1])


def _is_back(row: PendingLabel, rules: Rules) -> bool:
    """Return whether the person was back by the time of a row's early signal."""
    return 0 < row.returned <= row.at + EARLY_SIGNAL * rules.horizon


def _make_early_signal(person: Person, row: PendingLabel, rules: Rules) -> outputs.EarlySignal:
    return outputs.EarlySignal(
        id=output_id(person.id, "early sign", repr(row.at)),
        user=pseudonym(person.id, rules.pseudonym_key),
        time=row.at,
        until=row.at + EARLY_SIGNAL * rules.horizon,
        back=_is_back(row, rules),
        probability=row.raw_probability,
        treated=row.treated,
    )


def _make_example(person: Person, row: PendingLabel, rules: Rules) -> outputs.Example:
    return outputs.Example(
        id=output_id(person.id, "example", repr(row.at)),
        user=pseudonym(person.id, rules.pseudonym_key),
        time=row.at,
        until=row.at + rules.horizon,
        features=FEATURES,
        x=tuple(features.unpack(row.x).tolist()),
        churned=not row.returned,
        probability=row.probability,
        model=row.model,
        treated=row.treated,
        back=_is_back(row, rules),
    )
