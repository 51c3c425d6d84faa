"""Scores, tiers with hysteresis, and labels."""

from itertools import pairwise
from math import exp

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.churn.early_signal import Recalibration
from models.person import features
from models.person.activity import DAY, Activity, fold
from models.person.ledger import MAX_PENDING_LABELS, Ledger, PendingLabel
from models.person.person import Person
from models.person.rules import Rules
from models.retention import risk
from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import TIERS
from tests.models.people import HOUR, NOON, make_context, make_model

RULES = Rules()
SHARES = st.floats(0, 1)
TIER = st.sampled_from(TIERS)


def tier_after(tier: str, probability: float, since: float = 10 * DAY) -> str:
    """Return the tier after a score, by default long after the last change."""
    return risk.next_tier(Ledger(tier=tier, tier_since=NOON), probability, NOON + since, make_context())


def person(*times: float) -> Person:
    activity = Activity()
    for time in times:
        activity = fold(activity, ev.Login(id="e", user_id="u", time=time), active=True)
    return Person("u", activity)


@pytest.mark.parametrize(
    ("probability", "tier"),
    [(0.0, "low"), (0.39, "low"), (0.4, "medium"), (0.69, "medium"), (0.7, "high"), (1.0, "high")],
)
def test_without_a_tier_the_thresholds_themselves_count(probability: float, tier: str) -> None:
    """The first tier is that of the score."""
    assert tier_after("", probability) == tier


@given(TIER, st.lists(st.floats(0.651, 0.749), max_size=20))
def test_scores_within_the_margin_never_flip_back_and_forth(tier: str, scores: list[float]) -> None:
    """While scores stay within the margin of the high threshold, the tier changes at most once, up to medium."""
    tiers = [tier]
    for score in scores:
        tiers.append(tier_after(tiers[-1], score))
    assert set(tiers[1:]) <= {max(tier, "medium", key=TIERS.index)}


@given(TIER, SHARES)
def test_a_threshold_is_crossed_by_the_margin_only(tier: str, probability: float) -> None:
    """Up from threshold + margin, down below threshold - margin; otherwise the tier stays."""
    rank = TIERS.index(tier)
    up = (probability >= RULES.medium + RULES.margin) + (probability >= RULES.high + RULES.margin)
    down = (probability >= RULES.medium - RULES.margin) + (probability >= RULES.high - RULES.margin)
    assert tier_after(tier, probability) == TIERS[min(max(rank, up), max(down, up))]


@given(TIER, SHARES, st.integers(0, int(RULES.dwell) - 1))
def test_a_tier_lasts_the_dwell_time(tier: str, probability: float, since: float) -> None:
    """Within the dwell time, no score changes it."""
    assert tier_after(tier, probability, since) == tier


@given(st.lists(st.tuples(st.floats(60, 3 * DAY), SHARES), max_size=30))
@settings(max_examples=100)
def test_changes_are_at_least_a_dwell_apart(scores: list[tuple[float, float]]) -> None:
    """For any scores, two changes of tier are at least the dwell time apart."""
    ledger, now, changes = Ledger(tier="low", tier_since=NOON), NOON, [NOON]
    for pause, score in scores:
        now += pause
        tier = risk.next_tier(ledger, score, now, make_context())
        if tier != ledger.tier:
            ledger = Ledger(tier=tier, tier_since=now)
            changes.append(now)
    assert all(later - earlier >= RULES.dwell for earlier, later in pairwise(changes))


def test_tiers_wait_for_a_ready_model() -> None:
    """Without a model, or with too few labels, the tier stays, unless the rules say not to wait."""
    few = make_context(rules=Rules(labels_needed=1_001))
    assert [risk.next_tier(Ledger(), 0.9, NOON, state) for state in (few, make_context(model=None))] == ["", ""]
    assert risk.next_tier(Ledger(), 0.9, NOON, make_context(model=None, rules=Rules(alerts_wait=False))) == "high"


def test_only_persons_active_in_the_look_back_are_eligible() -> None:
    """The end of the look-back is included. A person without events is never eligible."""
    silent = [0, RULES.lookback, RULES.lookback + 1]
    assert [risk.is_eligible(person(NOON), NOON + silence, RULES) for silence in silent] == [True, True, False]
    assert not risk.is_eligible(Person("u"), NOON, RULES)


def test_before_a_model_is_ready_the_score_is_the_prior() -> None:
    """Afterwards it is the model's score of the person's row."""
    active_person = person(NOON)

    def score(at: float, context: Context) -> risk.Score:
        return risk.score_persons([active_person], [at], context)[0]

    given = score(NOON + 5 * DAY, make_context())
    row, probability, plain = given.row, given.probability, given.raw_probability
    assert probability == plain == make_model().probability(row)
    slower = msgspec.structs.replace(make_model(), recalibration=Recalibration(level=-0.5))
    bent = score(NOON + 5 * DAY, make_context(model=slower))
    assert (bent.raw_probability, bent.probability) == (plain, round(plain ** exp(-0.5), 6))
    assert row.tolist() == features.row(active_person.activity, NOON + 5 * DAY, RULES.horizon).tolist()
    given = score(NOON, make_context(model=None))
    assert (given.probability, given.raw_probability) == (RULES.prior_churn, -1)
    assert score(NOON, make_context(rules=Rules(labels_needed=1_001))).probability == RULES.prior_churn


def test_a_row_is_kept_as_it_was_scored_and_within_the_cap() -> None:
    """With `keep_row`, the row is pending with score and model. At the maximum, no further row is kept."""
    row = features.row(person(NOON).activity, NOON, RULES.horizon)
    score = risk.Score(row, 0.25)
    ledger = risk.record_score(Ledger(), score, NOON, make_context(), keep_row=True)
    assert ledger.pending_labels == (PendingLabel(NOON, features.pack(row), 0.25, "test-1"),)
    assert (ledger.probability, ledger.scored_at) == (0.25, NOON)
    assert risk.record_score(Ledger(), score, NOON, make_context(), keep_row=False).pending_labels == ()
    for _ in range(20):
        ledger = risk.record_score(ledger, score, NOON, make_context(), keep_row=True)
    assert len(ledger.pending_labels) == MAX_PENDING_LABELS


@given(st.lists(st.floats(-20, 40), min_size=1, max_size=6))
def test_the_earliest_return_within_the_horizon_counts(days: list[float]) -> None:
    """Activity after the row and within its horizon is recorded, in whatever order events arrive."""
    rows: tuple[PendingLabel, ...] = (PendingLabel(NOON, b"", 0.5, "m"),)
    times = [NOON + day * DAY for day in days]
    for time in times:
        rows = risk.record_return(rows, time, RULES.horizon)
    assert rows[0].returned == min((time for time in times if NOON < time <= NOON + RULES.horizon), default=0.0)


def test_labels_are_released_when_horizon_and_lateness_are_over() -> None:
    """Both classes are released at the same moment. Other rows stay pending."""
    packed = features.pack(np.ones(len(features.NAMES), np.float32))
    rows = (
        PendingLabel(NOON, packed, 0.5, "m", treated=True),
        PendingLabel(NOON + HOUR, packed, 0.6, "m", returned=NOON + DAY),
        PendingLabel(NOON + DAY, packed, 0.7, "m"),
    )
    waiting = Person("u", ledger=Ledger(pending_labels=rows))
    closing = NOON + RULES.horizon + RULES.lateness
    assert risk.release_labels(waiting, closing - 1, make_context()) == (waiting, ())
    left, examples = risk.release_labels(waiting, closing + HOUR, make_context())
    assert left.ledger.pending_labels == rows[2:]
    assert [(e.time, e.until, e.churned, e.treated, e.probability) for e in examples] == [
        (NOON, NOON + RULES.horizon, True, True, 0.5),
        (NOON + HOUR, NOON + HOUR + RULES.horizon, False, False, 0.6),
    ]
    assert examples[0].x == (1.0,) * len(features.NAMES)
