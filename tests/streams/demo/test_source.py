"""What is played: the sample that the package carries, and the platform that ends now and answers."""

import time
from collections import Counter

import pytest

from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger
from streams.clock import wall
from streams.demo.source import SAMPLE, SampleSource, SimulationSource
from streams.history.simulation.drift import DriftName

DAY = 86_400.0


def test_the_sample_is_what_its_description_says():
    """Its size, its people and kinds, in order of time and with ids of their own; attribution lies beside it."""
    sample = SampleSource()
    events = sample.advance(sample.ends)
    about = SAMPLE.with_name("SAMPLE.md").read_text()
    times = [event.time for event in events]

    assert SAMPLE.stat().st_size < 1_500_000
    assert f"{len(events):,} events of {len({event.user_id for event in events})} students" in about
    assert times == sorted(times)
    assert sample.begins < times[0] <= times[-1] < sample.ends
    assert len({event.id for event in events}) == len(events)
    assert set(Counter(map(ev.kind_of, events))) == {
        "lesson_progress", "comment", "login", "exercise", "purchase", "live_session", "subscription_cancelled",
    }  # fmt: skip
    assert "CC BY 4.0" in about
    assert "Kuzilek" in about


def test_the_sample_is_played_in_steps_without_loss():
    """Steps give what one call gives."""
    at_once, in_steps = SampleSource(), SampleSource()
    whole = at_once.advance(at_once.ends)
    steps = [event for day in range(330) for event in in_steps.advance(in_steps.begins + day * DAY)]

    assert steps + in_steps.advance(in_steps.ends) == whole
    assert in_steps.advance(in_steps.ends) == []


def test_the_simulation_ends_now():
    """Its last day is today."""
    play = SimulationSource(seed=1, days=10, learners=5, forever=False)

    assert play.ends == pytest.approx(time.time(), abs=60)
    assert play.ends == pytest.approx(wall(), abs=60)
    assert play.ends - play.begins == 10 * DAY


def test_the_simulated_world_may_change_halfway():
    """Until then it is as it would have been."""

    def lived(changes: DriftName | None) -> list[list[tuple[str, float]]]:
        play = SimulationSource(seed=1, days=60, learners=40, forever=False, changes=changes)
        halves = play.advance(play.begins + 30 * DAY), play.advance(play.ends)
        return [[(event.id, round(event.time - play.begins, 1)) for event in half] for half in halves]

    (steady, later), (before, after) = lived(None), lived("season")
    assert steady == before
    assert len(after) < 0.8 * len(later)
    assert "day 30" in SimulationSource(seed=1, days=60, learners=1, forever=False, changes="hazard").title


def test_the_simulation_answers_coupons_and_contacts():
    """A coupon is delivered to its learner; a contact leaves no event of its own."""
    play = SimulationSource(seed=1, days=60, learners=20, forever=False)
    play.advance(play.begins + 30 * DAY)
    now = play.begins + 30 * DAY
    coupon = CouponTrigger(
        id="c1", user_id="learner-00003", time=now, expires_at=now + DAY, campaign="welcome-back",
        campaign_version="1", arm="ten-euros", amount=10.0, currency="EUR", valid_until=now + 7 * DAY,
        probability=0.8, model="m",
    )  # fmt: skip
    contact = Alert(
        id="a1", user_id="learner-00004", time=now, expires_at=now + DAY, about="risk", probability=0.5,
        tier="medium", tier_before="low", action="contact",
    )  # fmt: skip
    play.answer([coupon, contact], now)
    events = play.advance(now + DAY)

    delivered = [event for event in events if isinstance(event, ev.CouponDelivered)]
    assert [(event.user_id, event.offer_id) for event in delivered] == [("learner-00003", "c1")]
