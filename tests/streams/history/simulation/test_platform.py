"""The simulated platform: its events are ours, its lives can be learned from, its answers show, and it repeats."""

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


def test_events_are_of_our_format_in_order_and_have_ids_of_their_own(quarter):
    """Every event can be read back, none is older than the one before, and no id comes twice."""
    platform, events = quarter
    times = [event.time for event in events]

    assert all(event_codec.decode(event_codec.encode(event)) == event for event in events[:5_000])
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] <= END
    assert len({event.id for event in events}) == len(events)
    assert platform.now == END


def test_an_active_learner_is_the_cause_of_about_one_event_a_day(quarter):
    """So that three months of 2,000 learners are some 120,000 events, of many kinds."""
    platform, events = quarter
    users = {event.user_id for event in events}
    lived = sum((platform.truth.gone_at(user, END) or END) - platform.truth.joined(user) for user in users) / DAY
    kinds = Counter(ev.kind_of(event) for event in events)

    assert 0.8 <= len(events) / lived <= 1.8
    assert 40 <= len(events) / len(users) <= 90
    assert {
        "signup", "consent_given", "login", "course_view", "purchase", "lesson_progress", "lesson_completed",
        "exercise", "course_completed", "review", "comment", "search",
    } <= set(kinds)  # fmt: skip
    assert 0.85 <= kinds["consent_given"] / kinds["signup"] <= 0.95


def test_progress_in_a_course_never_goes_back_and_ends_with_the_course(quarter):
    """The progress of a person in a course they bought grows up to 1, where the course is completed."""
    _, events = quarter
    reached: dict[tuple[str, str], float] = defaultdict(float)
    for event in events:
        if isinstance(event, ev.LessonProgress):
            assert event.progress is not None
            assert event.progress >= reached[event.user_id, event.course_id]
            reached[event.user_id, event.course_id] = event.progress
        if isinstance(event, ev.CourseCompleted):
            assert reached[event.user_id, event.course_id] == 1.0


def test_the_same_seed_gives_the_same_lives_whatever_the_steps():
    """Steps of an hour and of a month give the same events; another seed gives others."""
    at_once = Platform(seed=1, start=START, learners=60).advance(START + 30 * DAY)
    slowly = Platform(seed=1, start=START, learners=60)
    in_steps = [event for hour in range(30 * 24) for event in slowly.advance(START + (hour + 1) * 3_600.0)]
    other = Platform(seed=2, start=START, learners=60).advance(START + 30 * DAY)

    assert at_once == in_steps
    assert at_once != other


def test_the_same_reactions_give_the_same_events_and_touch_nobody_else():
    """Coupons change the lives of those who get them alone."""

    def lived(sent: bool) -> list[ev.Event]:
        platform = Platform(seed=3, start=START, learners=80)
        events = platform.advance(START + 40 * DAY)
        if sent:
            for number in range(0, 80, 2):
                platform.react(coupon(f"learner-{number:05d}", platform.now, f"c{number}"), platform.now)
        return events + platform.advance(END)

    treated, untreated = lived(True), lived(False)
    odd = [event for event in treated if int(event.user_id[-5:]) % 2]

    assert treated == lived(True)
    assert odd == [event for event in untreated if int(event.user_id[-5:]) % 2]
    assert treated != untreated


def test_who_has_left_is_silent_and_who_has_not_is_not(quarter):
    """No event comes after the true leaving (but the end of a visit); of those who stay, most are seen every week."""
    platform, events = quarter
    last = {event.user_id: event.time for event in events}
    left = {user: gone for user in last if (gone := platform.truth.gone_at(user, END)) is not None}
    stayed = [user for user in last if user not in left and platform.truth.joined(user) < END - 14 * DAY]

    assert all(last[user] <= gone + DAY / 4 for user, gone in left.items())
    assert 0.3 <= len(left) / len(last) <= 0.8
    assert np.mean([last[user] > END - 7 * DAY for user in stayed]) > 0.8
    assert all(platform.truth.kept(user, gone - 1) for user, gone in left.items())
    assert not any(platform.truth.kept(user, gone) for user, gone in left.items())


def test_a_coupon_is_delivered_once_and_ends_in_a_redemption_or_an_expiry():
    """Its redemption is a purchase for that much less; a repeated or outdated coupon does nothing."""
    platform = Platform(seed=5, start=START, learners=300)
    platform.advance(START + 50 * DAY)
    for number in range(300):
        offer = coupon(f"learner-{number:05d}", platform.now, f"c{number}")
        assert platform.react(offer, platform.now)
        assert not platform.react(offer, platform.now)
    assert not platform.react(coupon("learner-00000", platform.now - 2 * DAY, "old"), platform.now)

    events = platform.advance(platform.now + 10 * DAY)
    kinds = Counter(ev.kind_of(event) for event in events)
    used = {event.offer_id for event in events if isinstance(event, ev.CouponRedeemed)}
    bought = {event.offer_id: event for event in events if isinstance(event, ev.Purchase) if event.offer_id}

    assert kinds["coupon_delivered"] == 300
    assert kinds["coupon_redeemed"] + kinds["coupon_expired"] == 300
    assert used == set(bought)
    assert 20 <= len(used) <= 150
    assert all(event.time <= START + 57.1 * DAY for event in events if isinstance(event, ev.CouponRedeemed))


def kept(works: str, seed: int = 11) -> tuple[float, float, float]:
    """Write to half of the learners once each, a day after they left; return who is kept, and who would have been."""
    platform = Platform(seed=seed, start=START, learners=1_000)
    toss, written = Random(seed), []
    while platform.now < START + 80 * DAY:
        before, now = platform.now - DAY, platform.now
        platform.advance(now + DAY)
        for number in range(1_000):
            user = f"learner-{number:05d}"
            gone = platform.truth.gone_at(user, platform.now)
            if gone is None or not before < gone <= now or any(user == other for other, _, _ in written):
                continue
            treated = toss.random() < 0.5
            written.append((user, platform.now, treated))
            if treated and works == "coupon":
                platform.react(coupon(user, platform.now, f"c{number}"), platform.now)
            elif treated:
                platform.contact(message(user, platform.now, f"a{number}"), platform.now)
    platform.advance(START + 94 * DAY)
    truth = platform.truth
    with_it = [truth.kept(user, at + 13 * DAY) for user, at, treated in written if treated]
    without = [truth.kept(user, at + 13 * DAY) for user, at, treated in written if not treated]
    would = [truth.kept_untouched(user, at + 13 * DAY) for user, at, treated in written if treated]
    return float(np.mean(with_it)), float(np.mean(without)), float(np.mean(would))


def test_a_coupon_brings_people_back_and_an_ordinary_message_a_few():
    """Against those who get nothing, coupons show a large effect and messages a small one, by the platform's truth."""
    with_coupon, without, would = kept("coupon")
    with_message, nothing, _ = kept("contact")

    assert without == nothing == would == 0.0
    assert 0.2 <= with_coupon <= 0.5
    assert 0.02 <= with_message <= 0.2


def test_newcomers_keep_the_platform_alive():
    """With newcomers, people sign up for as long as time goes on; without, nobody does after the first weeks."""
    closed = Platform(seed=1, start=START, learners=50, joining_days=20).advance(START + 60 * DAY)
    steady = Platform(seed=1, start=START, learners=50, joining_days=20, newcomers_per_day=2)
    opened = steady.advance(START + 60 * DAY)

    def late(events: list[ev.Event]) -> int:
        return sum(isinstance(event, ev.Signup) and event.time > START + 21 * DAY for event in events)

    assert late(closed) == 0
    assert 70 <= late(opened) <= 80


def test_a_platform_that_runs_on_forgets_who_left_long_ago():
    """What it holds does not grow for ever; a coupon for somebody forgotten reaches nobody."""
    platform = Platform(seed=1, start=START, learners=50, joining_days=5, newcomers_per_day=1)
    for _ in range(20):
        platform.advance(platform.now + 50 * DAY)

    assert len(platform._learners) < 300
    assert not platform.react(coupon("learner-00001", platform.now), platform.now)
    assert not platform.contact(message("learner-00001", platform.now, "a1"), platform.now)
