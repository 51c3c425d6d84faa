"""The observer: every output counts once, people are judged when their time has come, and nothing is shown in haste."""

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
from streams.demo.observer import CALM, KEPT_AFTER, Observer, rank, replies
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


class Known:
    """A truth in which ann was kept by what she was sent, and ben is gone."""

    def kept(self, user: str, at: float) -> bool:
        """Ann."""
        return user == "ann"

    def kept_untouched(self, user: str, at: float) -> bool:
        """Nobody."""
        return False

    def risk(self, user: str, at: float, horizon: float) -> float:
        """Ben's is great."""
        return 0.9 if user == "ben" else 0.1


def observer(truth: Known | None = None) -> Observer:
    watched = Observer(DemoState("a test", T, T + 92 * DAY), RULES, truth)
    watched.happened([ev.Login(id=f"e{user}", user_id=user, time=T - DAY) for user in ("ann", "ben")])
    return watched


def example(number: int, user: str, churned: bool, probability: float, model: str = "m") -> Example:
    x = [0.0] * len(NAMES)
    x[SILENCE] = probability / 2
    return Example(
        id=f"x{number}", user=pseudonym(user, b"demo"), time=T, until=T + 7 * DAY, features="f", x=tuple(x),
        churned=churned, probability=probability, model=model, treated=False,
    )  # fmt: skip


def test_an_output_counts_once_however_often_it_comes():
    """Repeats have the same id; outputs of different kinds may share one."""
    watched = observer(Known())
    for output in (ALERT, ALERT, DECISION, DECISION, replace(DECISION, id="d2", sent=False, reason="cap")) * 2:
        watched.heard(output)

    assert watched.seen.alerts == {"risk": 1}
    assert watched.seen.coupons.sent == 1
    assert watched.seen.coupons.held_back == {"cap": 1}


def test_what_became_of_coupons_is_counted():
    """Redemptions come from the outcomes, lateness from what was not delivered; contacts are no coupons."""
    watched = observer()
    outcome = OfferOutcome(
        id="o1", user="u", time=T, decision="d1", campaign="c", arm="ten", outcome="redeemed", amount=10.0
    )
    late = Undelivered(id="c1", user="u", time=T, expires_at=T, topic="coupon-triggers")
    for output in (
        outcome, replace(outcome, id="o2", outcome="expired"), late, replace(late, id="a9", topic="retention-alerts"),
        replace(DECISION, id="d3", candidate="contact"),
    ):  # fmt: skip
        watched.heard(output)

    assert dataclasses.astuple(watched.seen.coupons) == (0, 1, 1, {})
    assert watched.seen.contacts == 1


def test_people_are_judged_two_weeks_after_their_first_decision():
    """Those sent something on one side, those in the hold-out on the other, each once; other reasons on neither."""
    watched, ben = observer(Known()), pseudonym("ben", b"demo")
    watched.heard(DECISION)
    watched.heard(replace(DECISION, id="d2", time=T + 5 * DAY))
    watched.heard(replace(DECISION, id="d3", user=ben, sent=False, reason="no_consent"))
    watched.heard(replace(DECISION, id="d4", user=ben, sent=False, reason="hold_out", hold_out=True, time=T + DAY))
    effect = watched.seen.by_coupon

    watched.refresh(T + KEPT_AFTER - 1, 0.0)
    assert (effect.sent.people, effect.held_out.people) == (0, 0)

    watched.refresh(T + KEPT_AFTER + DAY, 0.0)
    assert dataclasses.astuple(effect.sent) == (1, 1, 0)
    assert dataclasses.astuple(effect.held_out) == (1, 0, 0)
    assert effect.truth == 1.0


def test_a_contact_counts_for_any_message_and_a_later_coupon_still_for_coupons():
    """Whoever had a message first is judged once for messages and once for coupons."""
    watched = observer(Known())
    watched.heard(replace(DECISION, candidate="contact"))
    watched.heard(replace(DECISION, id="d2", time=T + DAY))
    watched.refresh(T + KEPT_AFTER, 0.0)

    assert (watched.seen.by_anything.sent.people, watched.seen.by_coupon.sent.people) == (1, 0)
    watched.refresh(T + KEPT_AFTER + DAY, 0.0)
    assert (watched.seen.by_anything.sent.people, watched.seen.by_coupon.sent.people) == (1, 1)


def test_people_stand_in_their_newest_tier_until_they_have_gone_quiet():
    """An older profile changes nothing; who did nothing within the look-back is asked no more."""
    watched = observer()
    watched.heard(PROFILE)
    watched.heard(replace(PROFILE, id="p0", time=T - 5, tier="low"))
    watched.refresh(T, 0.0)
    assert watched.seen.tiers == {"high": 1, "new": 1}

    coupon = ev.CouponDelivered(id="e3", user_id="ann", time=T + 13 * DAY, offer_id="c1")
    watched.happened([coupon, ev.Login(id="e4", user_id="ben", time=T + 13 * DAY)])
    watched.refresh(T + 13.5 * DAY, 0.0)
    assert watched.seen.tiers == {"left": 1, "new": 1}
    assert watched.seen.people == 2


def test_who_is_long_gone_is_forgotten_where_the_demo_runs_on():
    """So that it can."""
    watched = observer(Known())
    watched.seen.forever = True
    watched.heard(PROFILE)
    watched.heard(DECISION)
    watched.refresh(T + 100 * DAY, 0.0)

    assert watched.seen.people == 0
    assert watched._names == watched._tiers == {}
    assert watched._first == set()


def test_quality_is_that_of_what_a_model_had_scored():
    """Rows scored before there was a model do not count; recency and truth are judged on the same rows."""
    watched, rng = observer(Known()), random.Random(1)
    for number in range(200):
        user, probability = rng.choice(["ann", "ben"]), rng.random()
        watched.heard(example(number, user, rng.random() < probability, probability))
    watched.heard(example(500, "ann", True, 0.0, model="prior"))
    watched.heard(example(501, "ann", True, RULES.prior_churn))
    watched.refresh(T + 60 * DAY, 0.0)
    watched.measure()
    quality = watched.seen.quality

    assert quality.labels == 200
    assert 0.7 < quality.model < 0.95
    assert quality.recency == pytest.approx(quality.model)
    assert 0.3 < quality.truth < 0.7
    assert watched.seen.lately.labels == 0


def test_without_truth_or_both_outcomes_there_is_no_figure():
    """NaN, and no error."""
    watched = observer()
    watched.measure()
    assert np.isnan(watched.seen.quality.model)
    watched.heard(example(1, "ann", True, 0.5))
    watched.measure()
    assert np.isnan(watched.seen.quality.model)
    watched.heard(example(2, "ann", False, 0.4))
    watched.measure()
    assert watched.seen.quality.model == 1.0
    assert np.isnan(watched.seen.quality.truth)


def test_alerts_are_shown_one_at_a_time_and_the_most_telling_first():
    """Of what came since the last one shown, a coupon with reasons goes before good news."""
    watched = observer()
    reasons = (Reason(group="silence", effect=1.0, words="no activity for 6 days"),)
    calm = replace(ALERT, id="a2", tier="low", tier_before="high")
    telling = replace(ALERT, id="a3", action="coupon", reasons=reasons)
    for alert in (calm, telling, ALERT):
        watched.heard(alert)

    watched.refresh(T, 100.0)
    assert list(watched.seen.newest) == [telling]
    watched.heard(calm)
    watched.heard(replace(calm, id="a4"))
    watched.refresh(T, 100.0 + CALM / 2)
    assert list(watched.seen.newest) == [telling]
    watched.refresh(T, 100.0 + CALM)
    assert [alert.id for alert in watched.seen.newest] == ["a4", "a3"]


def test_marketing_acts_on_triggers_and_on_alerts_that_ask_for_a_contact():
    """Never on the tier."""
    trigger = CouponTrigger(
        id="c1", user_id="ann", time=T, expires_at=T, campaign="c", campaign_version="1", arm="ten", amount=10.0,
        currency="EUR", valid_until=T, probability=0.8, model="m",
    )  # fmt: skip
    contact = replace(ALERT, id="a5", tier="medium", action="contact")

    assert replies([ALERT, trigger, DECISION, contact, replace(ALERT, action="coupon")]) == [trigger, contact]
    assert [rank(tier) for tier in ("", "low", "medium", "high")] == [-1, 0, 1, 2]


def test_courses_that_people_come_to_are_held_against_their_lists() -> None:
    """Each course of a person once, and only after a list; the latest list counts, whenever it arrives."""
    seen = DemoState("t", 0.0, 10.0)
    observer = Observer(seen, Rules(), None)

    def listed(number: int, time: float, *courses: str) -> None:
        told = tuple(RecommendedCourse(course_id=course, score=1.0, reason="") for course in courses)
        observer.heard(Recommendations(id=f"l{number}", user_id="ann", time=time, courses=told))

    def used(*courses: str, user: str = "ann") -> None:
        observer.happened(
            ev.CourseView(id=f"{user} {course}", user_id=user, time=5.0, course_id=course) for course in courses
        )

    used("a", "b")
    used("b", "c", user="bob")
    listed(1, 5.0, "x", "d", "e", "f", "g", "c")
    listed(2, 4.0, "c")
    used("c", "d", "d", "a")
    assert (seen.lists, seen.foretold.courses, seen.foretold.told, seen.foretold.popular) == (2, 2, 1, 1)
