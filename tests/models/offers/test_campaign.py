"""The decision whether a person gets an offer: every reason, the hold-out, caps, and quiet hours."""

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.offers.campaign import (
    REASONS,
    Arm,
    Campaign,
    Verdict,
    decide,
    is_held_out,
    next_quiet_start,
    quiet_hours_end,
)
from models.person.activity import DAY
from models.person.ledger import Ledger, Offer, SendCount
from models.person.person import Person, wake_phase
from models.person.rules import Rules
from models.retention import step as retention
from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger, Decision, Output
from tests.models.people import (
    HOUR,
    NOON,
    START,
    make_campaign,
    make_context,
    make_model,
    process_events,
    process_timers,
)

YES, NO, UNSAID = Ledger(consent=1), Ledger(consent=-1), Ledger()
OPEN = Ledger(offers=(Offer("o", "back", "ten", 10.0, NOON - DAY, NOON + 1, 1.0, b""),))


def coupons(*days_ago: float, name: str = "back", kind: str = "coupon") -> Ledger:
    return Ledger(send_counts=(SendCount(name, kind, NOON - min(days_ago) * DAY, len(days_ago)),))


def reason(ledger: Ledger = UNSAID, kind: str = "coupon", shadow: bool = False, **changes: object) -> str:
    return decide(kind, "u", ledger, make_campaign(**changes), NOON, shadow).reason  # type: ignore[arg-type]


CASES = [
    ("sent", reason()),
    ("sent", reason(YES, needs_consent=True)),
    ("no_campaign", decide("coupon", "u", YES, None, NOON, False).reason),
    ("no_campaign", reason(enabled=False)),
    ("no_consent", reason(NO)),
    ("no_consent", reason(UNSAID, needs_consent=True)),
    ("open_offer", reason(OPEN)),
    ("cap", reason(coupons(40, 20))),
    ("cool_down", reason(coupons(13.9))),
    ("sent", reason(coupons(14))),
    ("sent", reason(coupons(3, name="other"))),
    ("sent", reason(coupons(1, kind="contact"))),
    ("cool_down", reason(coupons(2.9, kind="contact"), "contact")),
    ("sent", reason(coupons(3, kind="contact"), "contact")),
    ("sent", reason(OPEN, "contact")),
    ("quiet_hours", reason(quiet_from=11.0, quiet_until=13.0)),
    ("hold_out", reason(hold_out=1.0)),
    ("shadow", reason(shadow=True)),
]


@pytest.mark.parametrize(("expected", "actual"), CASES)
def test_each_reason_has_its_case(expected: str, actual: str) -> None:
    """Each case is decided with the expected reason."""
    assert actual == expected


def test_every_reason_is_reached_and_none_is_unlisted() -> None:
    """The cases above cover REASONS exactly."""
    assert {actual for _, actual in CASES} == set(REASONS)


def test_a_refusal_overrules_a_campaign_that_needs_no_consent() -> None:
    """A person who refused gets nothing, whatever the campaign needs. A person without an answer may get an offer."""
    assert [reason(ledger, needs_consent=False) for ledger in (NO, UNSAID, YES)] == ["no_consent", "sent", "sent"]


@pytest.mark.parametrize(
    ("ledger", "changes", "expected"),
    [
        (NO, {}, "no_consent"),
        (OPEN, {}, "open_offer"),
        (coupons(40, 20), {}, "cap"),
        (coupons(1), {}, "cool_down"),
        (YES, {"quiet_from": 11.0, "quiet_until": 13.0}, "quiet_hours"),
    ],
)
def test_the_hold_out_is_checked_last(ledger: Ledger, changes: dict[str, object], expected: str) -> None:
    """People in the hold-out get the same reasons as others until the last check."""
    assert [reason(ledger, hold_out=share, **changes) for share in (0.0, 1.0)] == [expected, expected]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_hold_out_has_its_share(share: float) -> None:
    """The share of people in the hold-out is about that of the campaign."""
    held = sum(is_held_out(f"user-{n}", make_campaign(hold_out=share)) for n in range(10_000))
    assert abs(held / 10_000 - share) < 0.015


@given(st.text(min_size=1, max_size=9), st.floats(0, 1), st.floats(0, 1), st.floats(1, 1_000))
def test_the_hold_out_is_sticky(person_id: str, share: float, more: float, amount: float) -> None:
    """A person stays in the hold-out if the share grows, and if anything but the campaign's id changes."""
    if is_held_out(person_id, make_campaign(hold_out=share)):
        assert is_held_out(person_id, make_campaign(hold_out=max(share, more), version="v2", cool_down_days=amount))


def test_hold_outs_of_two_campaigns_are_independent() -> None:
    """Half of one campaign's hold-out is in another's."""
    one = [n for n in range(10_000) if is_held_out(f"user-{n}", make_campaign(hold_out=0.5))]
    both = [n for n in one if is_held_out(f"user-{n}", make_campaign(id="other", hold_out=0.5))]
    assert abs(len(both) / len(one) - 0.5) < 0.03


def test_hold_out_and_shadow_count_as_if_sent() -> None:
    """They count for caps and cool-downs. A blocked decision does not."""
    counted = {
        actual.reason: actual.counts
        for actual in (
            decide("coupon", "u", UNSAID, make_campaign(hold_out=share), NOON, shadow)
            for share, shadow in ((0.0, False), (1.0, False), (0.0, True))
        )
    }
    assert counted == {"sent": True, "hold_out": True, "shadow": True}
    assert decide("coupon", "u", NO, make_campaign(), NOON, False) == Verdict("no_consent", make_campaign())


def test_a_cap_outlasts_any_number_of_contacts() -> None:
    """A person at the cap gets no further coupon, however many contacts were sent since."""
    person = Person("u", ledger=Ledger(tier="high"))
    state = make_context(
        model=make_model(0.0, 3.0), campaign=make_campaign(cool_down_days=1.0, contact_cool_down_days=0.0)
    )
    outputs: list[Output] = []
    for day in range(0, 100, 2):
        base = {"user_id": "u", "time": NOON + day * DAY}
        events: list[ev.Event] = [ev.CourseCompleted(id=f"{day}{n}", course_id=f"{n}", **base) for n in "abcd"]
        person, more = process_events(person, events, state, NOON + (day + 1) * DAY)
        tier = msgspec.structs.replace(person.ledger, tier="", tier_since=0.0)
        person, outputs = msgspec.structs.replace(person, ledger=tier), outputs + more
    assert sum(isinstance(output, CouponTrigger) for output in outputs) == 2


@pytest.mark.parametrize("cap", [1, 16, 39])
def test_a_cap_of_any_size_is_reached(cap: int) -> None:
    """The ledger counts up to the largest cap, long after the offers ended."""
    state = make_context(model=make_model(0.0, 3.0), campaign=make_campaign(cool_down_days=1.0, cap_per_person=cap))
    person, outputs = Person("u"), []
    for day in range(0, 400, 10):
        login = ev.Login(id=str(day), user_id="u", time=NOON + day * DAY)
        person, _ = process_timers(person, login.time, state)
        person = msgspec.structs.replace(person, ledger=msgspec.structs.replace(person.ledger, tier="", tier_since=0.0))
        transition = retention.step(person, login, state)
        person, outputs = transition.person, [*outputs, *transition.outputs]
    reasons = [output.reason for output in outputs if isinstance(output, Decision)]
    assert [r for r in reasons if r != "open_offer"][: cap + 1] == ["sent"] * cap + ["cap"]


MINUTES = st.integers(0, 1_440).map(lambda minutes: minutes / 60)


@given(MINUTES, MINUTES, st.integers(-56, 56), st.integers(0, int(400 * DAY)))
@settings(max_examples=400)
def test_quiet_hours_are_those_of_the_local_clock(start: float, end: float, quarters: int, after: int) -> None:
    """They last from the start until before the end in local time, also past midnight."""
    rules = make_campaign(quiet_from=start, quiet_until=end, utc_offset_hours=quarters / 4)
    minute = (START + after + quarters * 900) % DAY / 60
    first, last = start * 60, end * 60
    inside = first <= minute < last if first <= last else minute >= first or minute < last
    assert (quiet_hours_end(rules, START + after) is not None) == inside


@given(st.floats(0, 24), st.floats(0, 24), st.floats(-14, 14), st.floats(0, 4e9))
@example(22.0, 7.333, 0.0, 23.5 * HOUR + START)
@settings(max_examples=400)
def test_quiet_hours_end_later_than_now(start: float, end: float, offset: float, now: float) -> None:
    """The retry is later than now and within a day. At that time, quiet hours are over, or end later again."""
    rules = make_campaign(quiet_from=start, quiet_until=end, utc_offset_hours=offset)
    ends = quiet_hours_end(rules, now)
    if ends is not None:
        assert now < ends <= now + DAY + 1e-3
        again = quiet_hours_end(rules, ends)
        assert again is None or again > ends


@given(MINUTES, MINUTES, st.integers(-56, 56), st.integers(0, int(400 * DAY)))
@settings(max_examples=400)
def test_the_next_start_of_quiet_hours_is_exact(start: float, end: float, quarters: int, after: int) -> None:
    """Quiet hours hold from then on, and not just before, unless they last all day. Without any, there is no start."""
    rules = make_campaign(quiet_from=start, quiet_until=end, utc_offset_hours=quarters / 4)
    begins = next_quiet_start(rules, START + after)
    if round(start * 60) == round(end * 60):
        assert begins == float("inf")
    elif start % 24 != end % 24:
        assert START + after < begins <= START + after + DAY
        assert quiet_hours_end(rules, begins) is not None
        assert quiet_hours_end(rules, begins - 1) is None


@given(st.integers(0, 86_399), st.floats(0, 12 * HOUR))
def test_a_delayed_action_does_not_reach_quiet_hours(second: int, late: float) -> None:
    """Both the moment of the decision and the latest moment of sending are checked."""
    rules, now = make_campaign(quiet_from=22.0, quiet_until=8.0), START + second
    verdict = decide("coupon", "u", UNSAID, rules, now, False, late)
    night = quiet_hours_end(rules, now) is not None or quiet_hours_end(rules, now + late) is not None
    assert (verdict.reason, verdict.retry is not None) == (("quiet_hours", True) if night else ("sent", False))


def test_no_timer_sends_anything_in_quiet_hours() -> None:
    """A silence found at half past nine is acted on the next morning: the delay could reach half past ten."""
    rules = Rules()
    user = next(f"u{n}" for n in range(9_999) if 21.2 * HOUR < wake_phase(f"u{n}", rules) < 21.8 * HOUR)
    state = make_context(
        campaign=make_campaign(quiet_from=22.0, quiet_until=8.0, arm=Arm(name="a", amount=1, valid_days=1))
    )
    _, outputs = process_events(
        Person(user), [ev.Login(id="1", user_id=user, time=START + 10 * HOUR)], state, START + 20 * DAY
    )
    decisions = [
        (d.reason, d.time % DAY // HOUR) for d in outputs if isinstance(d, Decision) and d.candidate == "coupon"
    ]
    assert decisions == [("quiet_hours", 21), ("sent", 8)]
    (trigger,) = [output for output in outputs if isinstance(output, CouponTrigger)]
    acted = [output for output in outputs if isinstance(output, Alert) and output.action != "none"]
    assert {output.expires_at % DAY for output in (trigger, *acted)} == {22 * HOUR}


@pytest.mark.parametrize("offset", [0.0, 5.5, -8.0, 14.0])
def test_when_the_quiet_hours_end_it_is_asked_again_and_sent(offset: float) -> None:
    """A candidate in the night is decided again at the local morning, under another id, and then goes out."""
    night = START + 23 * HOUR - offset * HOUR
    state = make_context(
        campaign=make_campaign(quiet_from=22.0, quiet_until=8.0, utc_offset_hours=offset), model=make_model(0.0, 3.0)
    )
    _, outputs = process_events(Person("u"), [ev.Login(id="1", user_id="u", time=night)], state, night + 9.5 * HOUR)
    decisions = [output for output in outputs if isinstance(output, Decision)]
    assert [(d.reason, d.time) for d in decisions] == [("quiet_hours", night), ("sent", night + 9 * HOUR)]
    assert decisions[0].id != decisions[1].id
    assert [output.time for output in outputs if isinstance(output, CouponTrigger)] == [night + 9 * HOUR]


def test_a_campaign_with_an_unknown_setting_is_refused() -> None:
    """A misspelt setting is an error, not a default."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"id":"c","arm":{"name":"a","amount":1},"holdout":0.5}', type=Campaign)
