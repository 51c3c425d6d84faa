"""Risk: score a person, keep the row until its label comes, and see whether their tier changes."""

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


def eligible(person: Person, at: float, rules: Rules) -> bool:
    """Return whether churn can be asked of a person: they were active within the look-back."""
    return person.activity.events > 0 and at - person.activity.last <= rules.lookback


class Score(Struct, frozen=True, gc=False):
    """A person's row at a moment, and their churn probability: the model's, or the prior before there is one.

    `plain` is the model's before it was bent to the pace of the day; -1 before there is one.
    """

    row: NDArray[float32]
    probability: float
    plain: float = -1.0


def scores(people: Sequence[Person], times: Sequence[float], world: Context) -> list[Score]:
    """Score people, each at a moment of their own, in one matrix product."""
    rows = features.rows([person.activity for person in people], times, world.rules.horizon)
    if world.model is None or not world.ready:
        return [Score(row, world.rules.prior_churn) for row in rows]
    plain = world.model.raw_probabilities(rows)
    return list(map(Score, rows, world.model.recalibrate(plain), plain))


def scored(ledger: Ledger, score: Score, at: float, world: Context, keep: bool) -> Ledger:
    """Note a score; with `keep`, the row waits for its label exactly as it was scored.

    It is a treated person's if something was sent within the horizon before it, whatever became of that since.
    """
    rows = ledger.pending_labels
    if keep and len(rows) < MAX_PENDING_LABELS:
        recently = at - ledger.treated_at < world.rules.horizon
        treated = recently or any(offer.until > at for offer in ledger.offers)
        row = PendingLabel(
            at, features.pack(score.row), score.probability, world.version, treated, raw_probability=score.plain
        )
        rows = (*rows, row)
    return replace(ledger, probability=score.probability, scored_at=at, pending_labels=rows)


def tier_of(ledger: Ledger, probability: float, at: float, world: Context) -> str:
    """Return the person's tier after a score: hysteresis around both thresholds, and a least time in a tier.

    A threshold is crossed upwards at threshold + margin and downwards at threshold - margin; without a tier yet,
    at the threshold itself.
    """
    rules, tier = world.rules, ledger.tier
    if rules.alerts_wait and not world.ready:
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


def returned(rows: tuple[PendingLabel, ...], time: float, horizon: float) -> tuple[PendingLabel, ...]:
    """Note on the waiting rows that the person was active at `time`; the earliest return within the horizon stands."""
    if rows and 0 < rows[-1].returned <= time:  # whatever came back to the newest row came back to the older ones
        return rows
    for row in rows:
        if row.at < time <= row.at + horizon and not 0 < row.returned <= time:
            return tuple(
                replace(row, returned=min(row.returned or time, time)) if row.at < time <= row.at + horizon else row
                for row in rows
            )
    return rows


def released(person: Person, due: float, world: Context) -> tuple[Person, tuple[outputs.Example, ...]]:
    """Label the rows whose horizon has closed by `due`: who was not active within it has churned."""
    rules, ledger = world.rules, person.ledger
    if not ledger.pending_labels or label_due(ledger.pending_labels[0].at, rules) > due:
        return person, ()
    closed = [row for row in ledger.pending_labels if label_due(row.at, rules) <= due]
    waiting = tuple(row for row in ledger.pending_labels if label_due(row.at, rules) > due)
    examples = tuple(_example(person, row, rules) for row in closed)
    return replace(person, ledger=replace(ledger, pending_labels=waiting)), examples


def early_signs(person: Person, done: float, due: float, rules: Rules) -> tuple[outputs.EarlySignal, ...]:
    """Say of the rows for which it is known by `due`, and was not when work was last `done`, whether one was back."""
    signs: list[outputs.EarlySignal] = []
    for row in reversed(person.ledger.pending_labels):  # they stand in the order of their times
        known = signal_due(row.at, rules)
        if known <= done:
            break
        if known <= due:
            signs.append(_early_sign(person, row, rules))
    return tuple(signs[::-1])


def _back(row: PendingLabel, rules: Rules) -> bool:
    """Say whether the person was back by a row's early sign."""
    return 0 < row.returned <= row.at + EARLY_SIGNAL * rules.horizon


def _early_sign(person: Person, row: PendingLabel, rules: Rules) -> outputs.EarlySignal:
    return outputs.EarlySignal(
        id=output_id(person.id, "early sign", repr(row.at)),
        user=pseudonym(person.id, rules.pseudonym_key),
        time=row.at,
        until=row.at + EARLY_SIGNAL * rules.horizon,
        back=_back(row, rules),
        probability=row.raw_probability,
        treated=row.treated,
    )


def _example(person: Person, row: PendingLabel, rules: Rules) -> outputs.Example:
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
        back=_back(row, rules),
    )
