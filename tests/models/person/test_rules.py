"""The defaults that users of the settings rely on."""

import msgspec

from models.offers.campaign import Campaign
from models.person.activity import DAY, GAP_EDGES
from models.person.rules import ACTIVE_KINDS, Rules
from models.schema import events as ev
from tests.models.people import HOUR, make_context, make_model


def test_a_campaign_is_careful_by_default() -> None:
    """Consent is needed, nights are quiet, a tenth is held out, and coupons are capped at two, two weeks apart."""
    bare = msgspec.json.decode(b'{"id":"c","arm":{"name":"a","amount":1}}', type=Campaign)
    assert (bare.needs_consent, bare.enabled, bare.hold_out) == (True, True, 0.1)
    assert (bare.quiet_from, bare.quiet_until, bare.utc_offset_hours) == (22.0, 8.0, 0.0)
    assert (bare.cap_per_person, bare.cool_down_days, bare.contact_cool_down_days) == (2, 14.0, 3.0)
    assert (bare.arm.currency, bare.arm.valid_days) == ("EUR", 7.0)


def test_only_what_people_do_themselves_is_activity() -> None:
    """Learning, payments, redemptions and spent points count; deliveries, refunds, consent and the like do not."""
    passive = {ev.kind_of(event) for event in PASSIVE}
    assert set(ev.KINDS) - ACTIVE_KINDS == passive | {
        "course_published", "course_changed", "course_withdrawn", "tick", "announced",
    }  # fmt: skip


WHO = {"id": "e", "user_id": "u", "time": 1.0}
PASSIVE: tuple[ev.Event, ...] = (
    ev.Refund(**WHO, amount=1.0), ev.SubscriptionCancelled(**WHO), ev.CouponDelivered(**WHO, offer_id="o"),
    ev.CouponExpired(**WHO, offer_id="o"), ev.PointsEarned(**WHO, points=1.0), ev.ProfileUpdated(**WHO),
    ev.ConsentGiven(**WHO), ev.ConsentWithdrawn(**WHO), ev.ErasureRequested(**WHO),
)  # fmt: skip


def test_the_label_and_the_timers_have_their_defaults() -> None:
    """Churn is 14 days of silence within a look-back of 28 days, with an hour of lateness and a score each day."""
    rules = Rules()
    assert (rules.horizon, rules.lookback, rules.lateness) == (14 * DAY, 28 * DAY, HOUR)
    assert (rules.wake_every, rules.rescore_after, rules.alert_lasts) == (DAY, HOUR, DAY)
    assert (rules.medium, rules.high, rules.margin, rules.dwell) == (0.4, 0.7, 0.05, 2 * DAY)


def test_rows_are_a_quarter_of_the_horizon_apart() -> None:
    """The distance is rounded to whole wakes, and is at least one."""
    every = [Rules(horizon=days * DAY).rows_every for days in (1, 7, 14, 28, 30)]
    assert every == [1, 2, 4, 7, 8]


def test_a_model_is_ready_with_enough_labels() -> None:
    """The model has enough labels; without a model the context is not ready."""
    states = [
        make_context(model=None),
        make_context(rules=Rules(labels_needed=1_001)),
        make_context(rules=Rules(labels_needed=1_000)),
    ]
    assert [state.ready for state in states] == [False, False, True]
    assert make_model().labels == 1_000


def test_gap_bins_do_not_change() -> None:
    """Stored histograms depend on these edges."""
    assert GAP_EDGES == (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 28, 35, 45, 60, 80, 110, 150, 200, 300)
