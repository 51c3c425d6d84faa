"""The observer: every output counts once, users are judged at the right time, and alerts are shown at a calm rate."""

import dataclasses
import random

import numpy as np
import pytest
from msgspec.structs import replace

from models.person.activity import DAY
from models.person.features import NAMES, SILENCE
from models.person.ledger import pseudonym
from models.person.rules import Rules
from models.schema import events as ev
from models.schema.outputs import (
    Alert,
    CouponTrigger,
    Decision,
    Example,
    OfferOutcome,
    Profile,
    Reason,
    Recommendations,
    RecommendedCourse,
    Undelivered,
)
from streams.demo.observer import ALERT_INTERVAL, JUDGED_AFTER, Observer, replies, tier_rank
from streams.demo.state import DemoState

T = 1_760_000_000.0
RULES = Rules(horizon=7 * DAY, lookback=14 * DAY, pseudonym_key=b"demo")
ALERT = Alert(
    id="a1", user_id="ann", time=T, expires_at=T + DAY, about="risk", probability=0.8, tier="high",
    tier_before="medium", action="none",
)  # fmt: skip
DECISION = Decision(
    id="d1", user=pseudonym("ann", b"demo"), time=T, candidate="coupon", cause="risk", sent=True, reason="sent",
    tier="high", probability=0.8, model="m",
)  # fmt: skip
PROFILE = Profile(
    id="p1", user_id="ann", time=T, tier="high", probability=0.8, stage="active", retention_rate=1.0,
    repurchase_rate=0.0, purchases=1, spend=5.0, last_active=T,
)  # fmt: skip


class KnownTruth:
    """A truth in which ann was kept by a message and ben has left."""

    def kept(self, user: str, at: float) -> bool:
        """Return true for ann only."""
        return user == "ann"

    def kept_without_messages(self, user: str, at: float) -> bool:
        """Return false for all users."""
        return False

    def risk(self, user: str, at: float, horizon: float) -> float:
        """Return a high risk for ben only."""
        return 0.9 if user == "ben" else 0.1


def observer(truth: KnownTruth | None = None) -> Observer:
    observed = Observer(DemoState("a test", T, T + 92 * DAY), RULES, truth)
    observed.on_events([ev.Login(id=f"e{user}", user_id=user, time=T - DAY) for user in ("ann", "ben")])
    return observed


def example(number: int, user: str, churned: bool, probability: float, model: str = "m") -> Example:
    x = [0.0] * len(NAMES)
    x[SILENCE] = probability / 2
    return Example(
        id=f"x{number}", user=pseudonym(user, b"demo"), time=T, until=T + 7 * DAY, features="f", x=tuple(x),
        churned=churned, probability=probability, model=model, treated=False,
    )  # fmt: skip


def test_repeated_outputs_count_once():
    """Repeats have the same id; outputs of different kinds may share an id."""
    observed = observer(KnownTruth())
    for output in (ALERT, ALERT, DECISION, DECISION, replace(DECISION, id="d2", sent=False, reason="cap")) * 2:
        observed.on_output(output)

    assert observed.state.alerts == {"risk": 1}
    assert observed.state.coupons.sent == 1
    assert observed.state.coupons.held_back == {"cap": 1}


def test_coupon_outcomes_are_counted():
    """Redemptions come from outcomes, late coupons from undelivered outputs; contacts do not count as coupons."""
    observed = observer()
    outcome = OfferOutcome(
        id="o1", user="u", time=T, decision="d1", campaign="c", arm="ten", outcome="redeemed", amount=10.0
    )
    late = Undelivered(id="c1", user="u", time=T, expires_at=T, topic="coupon-triggers")
    for output in (
        outcome, replace(outcome, id="o2", outcome="expired"), late, replace(late, id="a9", topic="retention-alerts"),
        replace(DECISION, id="d3", candidate="contact"),
    ):  # fmt: skip
        observed.on_output(output)

    assert dataclasses.astuple(observed.state.coupons) == (0, 1, 1, {})
    assert observed.state.contacts == 1


def test_users_are_judged_two_weeks_after_their_first_decision():
    """Users with a message and users in the hold-out count once each; other reasons count on neither side."""
    observed, ben = observer(KnownTruth()), pseudonym("ben", b"demo")
    observed.on_output(DECISION)
    observed.on_output(replace(DECISION, id="d2", time=T + 5 * DAY))
    observed.on_output(replace(DECISION, id="d3", user=ben, sent=False, reason="no_consent"))
    observed.on_output(replace(DECISION, id="d4", user=ben, sent=False, reason="hold_out", hold_out=True, time=T + DAY))
    effect = observed.state.by_coupon

    observed.refresh(T + JUDGED_AFTER - 1, 0.0)
    assert (effect.sent.users, effect.held_out.users) == (0, 0)

    observed.refresh(T + JUDGED_AFTER + DAY, 0.0)
    assert dataclasses.astuple(effect.sent) == (1, 1, 0)
    assert dataclasses.astuple(effect.held_out) == (1, 0, 0)
    assert effect.truth == 1.0


def test_a_contact_counts_for_any_message_and_a_later_coupon_still_for_coupons():
    """A user whose first message was a contact counts once for messages and once for coupons."""
    observed = observer(KnownTruth())
    observed.on_output(replace(DECISION, candidate="contact"))
    observed.on_output(replace(DECISION, id="d2", time=T + DAY))
    observed.refresh(T + JUDGED_AFTER, 0.0)

    assert (observed.state.by_anything.sent.users, observed.state.by_coupon.sent.users) == (1, 0)
    observed.refresh(T + JUDGED_AFTER + DAY, 0.0)
    assert (observed.state.by_anything.sent.users, observed.state.by_coupon.sent.users) == (1, 1)


def test_users_keep_their_newest_tier_until_they_are_inactive():
    """An older profile has no effect; a user inactive for longer than the look-back is not scored."""
    observed = observer()
    observed.on_output(PROFILE)
    observed.on_output(replace(PROFILE, id="p0", time=T - 5, tier="low"))
    observed.refresh(T, 0.0)
    assert observed.state.tiers == {"high": 1, "new": 1}

    coupon = ev.CouponDelivered(id="e3", user_id="ann", time=T + 13 * DAY, offer_id="c1")
    observed.on_events([coupon, ev.Login(id="e4", user_id="ben", time=T + 13 * DAY)])
    observed.refresh(T + 13.5 * DAY, 0.0)
    assert observed.state.tiers == {"left": 1, "new": 1}
    assert observed.state.users == 2


def test_with_forever_users_who_left_long_ago_are_forgotten():
    """The memory of a demo without end stays bounded."""
    observed = observer(KnownTruth())
    observed.state.forever = True
    observed.on_output(PROFILE)
    observed.on_output(DECISION)
    observed.refresh(T + 100 * DAY, 0.0)

    assert observed.state.users == 0
    assert observed._names == observed._tiers == {}
    assert observed._counted == set()


def test_quality_covers_only_rows_that_a_model_scored():
    """Rows scored before there was a model do not count; recency and truth use the same rows."""
    observed, rng = observer(KnownTruth()), random.Random(1)
    for number in range(200):
        user, probability = rng.choice(["ann", "ben"]), rng.random()
        observed.on_output(example(number, user, rng.random() < probability, probability))
    observed.on_output(example(500, "ann", True, 0.0, model="prior"))
    observed.on_output(example(501, "ann", True, RULES.prior_churn))
    observed.refresh(T + 60 * DAY, 0.0)
    observed.measure()
    quality = observed.state.quality

    assert quality.labels == 200
    assert 0.7 < quality.model < 0.95
    assert quality.recency == pytest.approx(quality.model)
    assert 0.3 < quality.truth < 0.7
    assert observed.state.recent_quality.labels == 0


def test_quality_is_nan_without_truth_or_both_outcomes():
    """NaN, and no error."""
    observed = observer()
    observed.measure()
    assert np.isnan(observed.state.quality.model)
    observed.on_output(example(1, "ann", True, 0.5))
    observed.measure()
    assert np.isnan(observed.state.quality.model)
    observed.on_output(example(2, "ann", False, 0.4))
    observed.measure()
    assert observed.state.quality.model == 1.0
    assert np.isnan(observed.state.quality.truth)


def test_alerts_are_shown_one_at_a_time_by_priority():
    """Among the alerts since the last one shown, a coupon with reasons goes before falling risk."""
    observed = observer()
    reasons = (Reason(group="silence", effect=1.0, words="no activity for 6 days"),)
    falling = replace(ALERT, id="a2", tier="low", tier_before="high")
    important = replace(ALERT, id="a3", action="coupon", reasons=reasons)
    for alert in (falling, important, ALERT):
        observed.on_output(alert)

    observed.refresh(T, 100.0)
    assert list(observed.state.newest_alerts) == [important]
    observed.on_output(falling)
    observed.on_output(replace(falling, id="a4"))
    observed.refresh(T, 100.0 + ALERT_INTERVAL / 2)
    assert list(observed.state.newest_alerts) == [important]
    observed.refresh(T, 100.0 + ALERT_INTERVAL)
    assert [alert.id for alert in observed.state.newest_alerts] == ["a4", "a3"]


def test_replies_are_triggers_and_alerts_that_ask_for_a_contact():
    """The tier alone causes no reply."""
    trigger = CouponTrigger(
        id="c1", user_id="ann", time=T, expires_at=T, campaign="c", campaign_version="1", arm="ten", amount=10.0,
        currency="EUR", valid_until=T, probability=0.8, model="m",
    )  # fmt: skip
    contact = replace(ALERT, id="a5", tier="medium", action="contact")

    assert replies([ALERT, trigger, DECISION, contact, replace(ALERT, action="coupon")]) == [trigger, contact]
    assert [tier_rank(tier) for tier in ("", "low", "medium", "high")] == [-1, 0, 1, 2]


def test_new_courses_are_compared_with_the_latest_list() -> None:
    """Each course of a user counts once, and only after a list; the latest list counts, whenever it arrives."""
    state = DemoState("t", 0.0, 10.0)
    observer = Observer(state, Rules(), None)

    def recommend(number: int, time: float, *courses: str) -> None:
        recommended = tuple(RecommendedCourse(course_id=course, score=1.0, reason="") for course in courses)
        observer.on_output(Recommendations(id=f"l{number}", user_id="ann", time=time, courses=recommended))

    def use(*courses: str, user: str = "ann") -> None:
        observer.on_events(
            ev.CourseView(id=f"{user} {course}", user_id=user, time=5.0, course_id=course) for course in courses
        )

    use("a", "b")
    use("b", "c", user="bob")
    recommend(1, 5.0, "x", "d", "e", "f", "g", "c")
    recommend(2, 4.0, "c")
    use("c", "d", "d", "a")
    assert (state.lists, state.forecast.courses, state.forecast.recommended, state.forecast.popular) == (2, 2, 1, 1)
