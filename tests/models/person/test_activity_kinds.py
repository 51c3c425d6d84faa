"""What each event type adds to a person's activity, and the effect of late events."""

import pytest

from models.person.activity import DAY, Activity, active_days, fold
from models.person.wallet import Wallet
from models.schema import events as ev
from tests.models.people import NOON

WHO = {"id": "e", "user_id": "u", "time": NOON}


def after(*events: ev.Event, active: bool = True) -> Activity:
    activity = Activity()
    for event in events:
        activity = fold(activity, event, active)
    return activity


def login(days: float) -> ev.Login:
    return ev.Login(id="e", user_id="u", time=NOON + days * DAY)


def test_money_adds_up_in_the_wallet() -> None:
    """Purchases, refunds, redemptions and points are counted with sums and times."""
    wallet = after(
        ev.Purchase(id="1", user_id="u", time=NOON, amount=30.0),
        ev.Purchase(id="2", user_id="u", time=NOON + DAY, amount=40.0),
        ev.Refund(id="3", user_id="u", time=NOON + DAY, amount=5.0),
        ev.CouponRedeemed(id="4", user_id="u", time=NOON + DAY, offer_id="o"),
        ev.PointsEarned(id="5", user_id="u", time=NOON + DAY, points=9.0),
        ev.PointsSpent(id="6", user_id="u", time=NOON + DAY, points=4.0),
    ).wallet
    assert wallet == Wallet(
        purchases=2, spend=70.0, spend_squares=2_500.0, first=NOON, last=NOON + DAY,
        refunds=1, refunded=5.0, redeemed=1, points=5.0,
    )  # fmt: skip


def test_a_membership_has_its_latest_start_and_end() -> None:
    """Start and renewal set the start, a cancellation the end."""
    wallet = after(
        ev.SubscriptionStarted(id="1", user_id="u", time=NOON, amount=10.0),
        ev.SubscriptionRenewed(id="2", user_id="u", time=NOON + 30 * DAY, amount=10.0),
        ev.SubscriptionCancelled(id="3", user_id="u", time=NOON + 40 * DAY),
    ).wallet
    assert (wallet.member_since, wallet.member_until, wallet.spend) == (NOON + 30 * DAY, NOON + 40 * DAY, 20.0)


@pytest.mark.parametrize("kind", [ev.Question, ev.Answer, ev.Comment, ev.Like, ev.Shared, ev.LiveSession])
def test_social_events_are_counted(kind: type[ev.Learning]) -> None:
    """Questions, answers, comments, likes, shares and live sessions count as social."""
    assert after(kind(**WHO)).social == 1


def test_scores_and_ratings_count_if_present() -> None:
    """An exercise without a score and a review without a rating do not change the means."""
    activity = after(
        ev.Exercise(**WHO, course_id="c", score=0.8), ev.Exercise(**WHO, course_id="c"),
        ev.Review(**WHO, rating=0.4), ev.Review(**WHO, text="so so"),
    )  # fmt: skip
    assert (activity.exercises, activity.score_sum, activity.ratings, activity.rating_sum) == (1, 0.8, 1, 0.4)


def test_an_event_that_is_not_activity_changes_nothing() -> None:
    """A delivered coupon changes neither days nor counters."""
    before = after(login(0))
    event = ev.CouponDelivered(id="e", user_id="u", time=NOON + 3 * DAY, offer_id="o")
    assert fold(before, event, active=False) == before


def test_a_purchase_counts_in_its_week_even_if_it_is_not_activity() -> None:
    """Weekly purchases count even if purchases are not among the active kinds."""
    activity = after(ev.Purchase(**WHO, amount=1.0), active=False)
    assert (activity.events, sum(activity.weekly_purchases), sum(activity.weekly_active_days)) == (0, 1, 0)


def test_a_late_event_counts_in_totals_and_in_its_day() -> None:
    """It counts in its day while the ring covers it; gaps and decayed counts stay."""
    before = after(login(0), login(10))
    late = fold(before, login(4), active=True, late=True)
    assert (late.events, active_days(late, late.day, 84), sum(late.weekly_active_days)) == (3, 3, 3)
    assert (late.gaps, late.day_before, late.decayed, late.last) == (
        before.gaps, before.day_before, before.decayed, before.last,
    )  # fmt: skip


def test_an_event_older_than_the_ring_counts_only_in_the_totals() -> None:
    """Beyond 84 days only the number of events and the first time change."""
    before = after(login(100))
    late = fold(before, login(0), active=True, late=True)
    assert (late.events, late.first, late.daily_events, late.weekly_active_days) == (
        2,
        NOON,
        before.daily_events,
        before.weekly_active_days,
    )


def test_a_late_event_with_the_latest_time_decays_the_counters() -> None:
    """`decayed` is as of `last`: if a late event has the latest time, the counters decay until then."""
    before = after(login(0))
    late = fold(before, login(7), active=True, late=True)
    assert late.last == NOON + 7 * DAY
    assert late.decayed[1] in (pytest.approx(0.5), pytest.approx(1.5))
