"""The simulated platform: valid events, learnable lives, visible replies, and repeatable results."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

import numpy as np
import pytest

from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger
from streams.history.simulation.platform import Platform

DAY = 86_400.0
START = 1_760_000_000.0
END = START + 92 * DAY


@pytest.fixture(scope="module")
def quarter() -> tuple[Platform, list[ev.Event]]:
    platform = Platform(seed=7, start=START, learners=800)
    return platform, platform.advance(END)


def coupon(user: str, at: float, name: str = "c1") -> CouponTrigger:
    return CouponTrigger(
        id=name,
        user_id=user,
        time=at,
        expires_at=at + DAY,
        campaign="welcome-back",
        campaign_version="1",
        arm="ten",
        amount=10.0,
        currency="EUR",
        valid_until=at + 7 * DAY,
        probability=0.8,
        model="m",
    )


def message(user: str, at: float, name: str) -> Alert:
    return Alert(
        id=name,
        user_id=user,
        time=at,
        expires_at=at + DAY,
        about="risk",
        probability=0.5,
        tier="medium",
        tier_before="low",
        action="contact",
    )


def test_events_are_valid_ordered_and_have_unique_ids(quarter):
    """Every event can be decoded again, times never decrease, and no id occurs twice."""
    platform, events = quarter
    times = [event.time for event in events]

    assert all(event_codec.decode(event_codec.encode(event)) == event for event in events[:5_000])
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] <= END
    assert len({event.id for event in events}) == len(events)
    assert platform.now == END


def test_an_active_learner_causes_about_one_event_per_day(quarter):
    """Three months of 2,000 learners give about 120,000 events of many kinds."""
    platform, events = quarter
    users = {event.user_id for event in events}
    active_days = sum((platform.truth.gone_at(user, END) or END) - platform.truth.joined(user) for user in users) / DAY
    kinds = Counter(ev.kind_of(event) for event in events)

    assert 0.8 <= len(events) / active_days <= 1.8
    assert 40 <= len(events) / len(users) <= 90
    assert {
        "signup", "consent_given", "login", "course_view", "purchase", "lesson_progress", "lesson_completed",
        "exercise", "course_completed", "review", "comment", "search",
    } <= set(kinds)  # fmt: skip
    assert 0.85 <= kinds["consent_given"] / kinds["signup"] <= 0.95


def test_course_progress_never_decreases_and_ends_at_completion(quarter):
    """The progress of a user in a bought course grows to 1, where the course is completed."""
    _, events = quarter
    progress: dict[tuple[str, str], float] = defaultdict(float)
    for event in events:
        if isinstance(event, ev.LessonProgress):
            assert event.progress is not None
            assert event.progress >= progress[event.user_id, event.course_id]
            progress[event.user_id, event.course_id] = event.progress
        if isinstance(event, ev.CourseCompleted):
            assert progress[event.user_id, event.course_id] == 1.0


def test_the_same_seed_gives_the_same_lives_whatever_the_steps():
    """Steps of an hour and of a month give the same events; another seed gives different events."""
    at_once = Platform(seed=1, start=START, learners=60).advance(START + 30 * DAY)
    slowly = Platform(seed=1, start=START, learners=60)
    in_steps = [event for hour in range(30 * 24) for event in slowly.advance(START + (hour + 1) * 3_600.0)]
    other = Platform(seed=2, start=START, learners=60).advance(START + 30 * DAY)

    assert at_once == in_steps
    assert at_once != other


def test_messages_are_repeatable_and_change_only_their_receivers():
    """Coupons change only the lives of the users who receive them."""

    def simulate(sent: bool) -> list[ev.Event]:
        platform = Platform(seed=3, start=START, learners=80)
        events = platform.advance(START + 40 * DAY)
        if sent:
            for number in range(0, 80, 2):
                platform.deliver_coupon(coupon(f"learner-{number:05d}", platform.now, f"c{number}"), platform.now)
        return events + platform.advance(END)

    treated, untreated = simulate(True), simulate(False)
    odd = [event for event in treated if int(event.user_id[-5:]) % 2]

    assert treated == simulate(True)
    assert odd == [event for event in untreated if int(event.user_id[-5:]) % 2]
    assert treated != untreated


def test_users_who_left_have_no_events_and_others_do(quarter):
    """No event comes after the true leaving, except the end of a visit; most other users are seen every week."""
    platform, events = quarter
    last = {event.user_id: event.time for event in events}
    left = {user: gone for user in last if (gone := platform.truth.gone_at(user, END)) is not None}
    stayed = [user for user in last if user not in left and platform.truth.joined(user) < END - 14 * DAY]

    assert all(last[user] <= gone + DAY / 4 for user, gone in left.items())
    assert 0.3 <= len(left) / len(last) <= 0.8
    assert np.mean([last[user] > END - 7 * DAY for user in stayed]) > 0.8
    assert all(platform.truth.kept(user, gone - 1) for user, gone in left.items())
    assert not any(platform.truth.kept(user, gone) for user, gone in left.items())


def test_a_coupon_is_delivered_once_and_is_redeemed_or_expires():
    """A redemption is a purchase at a lower price; a repeated or expired coupon has no effect."""
    platform = Platform(seed=5, start=START, learners=300)
    platform.advance(START + 50 * DAY)
    for number in range(300):
        offer = coupon(f"learner-{number:05d}", platform.now, f"c{number}")
        assert platform.deliver_coupon(offer, platform.now)
        assert not platform.deliver_coupon(offer, platform.now)
    assert not platform.deliver_coupon(coupon("learner-00000", platform.now - 2 * DAY, "old"), platform.now)

    events = platform.advance(platform.now + 10 * DAY)
    kinds = Counter(ev.kind_of(event) for event in events)
    used = {event.offer_id for event in events if isinstance(event, ev.CouponRedeemed)}
    bought = {event.offer_id: event for event in events if isinstance(event, ev.Purchase) if event.offer_id}

    assert kinds["coupon_delivered"] == 300
    assert kinds["coupon_redeemed"] + kinds["coupon_expired"] == 300
    assert used == set(bought)
    assert 20 <= len(used) <= 150
    assert all(event.time <= START + 57.1 * DAY for event in events if isinstance(event, ev.CouponRedeemed))


def retention_after(message_kind: str, seed: int = 11) -> tuple[float, float, float]:
    """Send one message to half of the learners, a day after they left. Return the shares kept with and without it.

    The third value is the share of receivers that would have been kept without the message.
    """
    platform = Platform(seed=seed, start=START, learners=1_000)
    rng, messaged = Random(seed), []
    while platform.now < START + 80 * DAY:
        before, now = platform.now - DAY, platform.now
        platform.advance(now + DAY)
        for number in range(1_000):
            user = f"learner-{number:05d}"
            gone = platform.truth.gone_at(user, platform.now)
            if gone is None or not before < gone <= now or any(user == other for other, _, _ in messaged):
                continue
            treated = rng.random() < 0.5
            messaged.append((user, platform.now, treated))
            if treated and message_kind == "coupon":
                platform.deliver_coupon(coupon(user, platform.now, f"c{number}"), platform.now)
            elif treated:
                platform.deliver_contact(message(user, platform.now, f"a{number}"), platform.now)
    platform.advance(START + 94 * DAY)
    truth = platform.truth
    with_it = [truth.kept(user, at + 13 * DAY) for user, at, treated in messaged if treated]
    without = [truth.kept(user, at + 13 * DAY) for user, at, treated in messaged if not treated]
    would = [truth.kept_without_messages(user, at + 13 * DAY) for user, at, treated in messaged if treated]
    return float(np.mean(with_it)), float(np.mean(without)), float(np.mean(would))


def test_a_coupon_brings_back_many_users_and_a_contact_a_few():
    """Compared with users without a message, coupons have a large effect and contacts a small one."""
    with_coupon, without, would = retention_after("coupon")
    with_message, nothing, _ = retention_after("contact")

    assert without == nothing == would == 0.0
    assert 0.2 <= with_coupon <= 0.5
    assert 0.02 <= with_message <= 0.2


def test_newcomers_keep_the_platform_alive():
    """With newcomers, users sign up without end; otherwise nobody does after the first weeks."""
    closed = Platform(seed=1, start=START, learners=50, joining_days=20).advance(START + 60 * DAY)
    steady = Platform(seed=1, start=START, learners=50, joining_days=20, newcomers_per_day=2)
    opened = steady.advance(START + 60 * DAY)

    def late(events: list[ev.Event]) -> int:
        return sum(isinstance(event, ev.Signup) and event.time > START + 21 * DAY for event in events)

    assert late(closed) == 0
    assert 70 <= late(opened) <= 80


def test_a_platform_with_newcomers_forgets_old_learners():
    """Its memory stays bounded; a coupon for a forgotten learner reaches nobody."""
    platform = Platform(seed=1, start=START, learners=50, joining_days=5, newcomers_per_day=1)
    for _ in range(20):
        platform.advance(platform.now + 50 * DAY)

    assert len(platform._learners) < 300
    assert not platform.deliver_coupon(coupon("learner-00001", platform.now), platform.now)
    assert not platform.deliver_contact(message("learner-00001", platform.now, "a1"), platform.now)
