"""The demo's sources: the sample in the package, and the simulated platform, which ends now and responds."""

import time
from collections import Counter

import pytest

from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger
from streams.clock import wall
from streams.demo.source import SAMPLE, SampleSource, SimulationSource
from streams.history.simulation.drift import DriftName

DAY = 86_400.0


def test_the_sample_matches_its_description():
    """Size, students, kinds, time order, unique ids, and the attribution next to it."""
    source = SampleSource()
    events = source.advance(source.ends)
    about = SAMPLE.with_name("SAMPLE.md").read_text()
    times = [event.time for event in events]

    assert SAMPLE.stat().st_size < 1_500_000
    assert f"{len(events):,} events of {len({event.user_id for event in events})} students" in about
    assert times == sorted(times)
    assert source.begins < times[0] <= times[-1] < source.ends
    assert len({event.id for event in events}) == len(events)
    assert set(Counter(map(ev.kind_of, events))) == {
        "lesson_progress", "comment", "login", "exercise", "purchase", "live_session", "subscription_cancelled",
    }  # fmt: skip
    assert "CC BY 4.0" in about
    assert "Kuzilek" in about


def test_playing_the_sample_in_steps_loses_nothing():
    """Steps give the same events as one call."""
    at_once, in_steps = SampleSource(), SampleSource()
    whole = at_once.advance(at_once.ends)
    steps = [event for day in range(330) for event in in_steps.advance(in_steps.begins + day * DAY)]

    assert steps + in_steps.advance(in_steps.ends) == whole
    assert in_steps.advance(in_steps.ends) == []


def test_the_simulation_ends_now():
    """Its last day is today."""
    source = SimulationSource(seed=1, days=10, learners=5, forever=False)

    assert source.ends == pytest.approx(time.time(), abs=60)
    assert source.ends == pytest.approx(wall(), abs=60)
    assert source.ends - source.begins == 10 * DAY


def test_a_drift_begins_halfway():
    """The first half is the same as without the drift."""

    def event_times(changes: DriftName | None) -> list[list[tuple[str, float]]]:
        source = SimulationSource(seed=1, days=60, learners=40, forever=False, changes=changes)
        halves = source.advance(source.begins + 30 * DAY), source.advance(source.ends)
        return [[(event.id, round(event.time - source.begins, 1)) for event in half] for half in halves]

    (steady, later), (before, after) = event_times(None), event_times("season")
    assert steady == before
    assert len(after) < 0.8 * len(later)
    assert "day 30" in SimulationSource(seed=1, days=60, learners=1, forever=False, changes="hazard").title


def test_the_simulation_responds_to_coupons_and_contacts():
    """A coupon is delivered to its learner; a contact creates no event of its own."""
    source = SimulationSource(seed=1, days=60, learners=20, forever=False)
    source.advance(source.begins + 30 * DAY)
    now = source.begins + 30 * DAY
    coupon = CouponTrigger(
        id="c1", user_id="learner-00003", time=now, expires_at=now + DAY, campaign="welcome-back",
        campaign_version="1", arm="ten-euros", amount=10.0, currency="EUR", valid_until=now + 7 * DAY,
        probability=0.8, model="m",
    )  # fmt: skip
    contact = Alert(
        id="a1", user_id="learner-00004", time=now, expires_at=now + DAY, about="risk", probability=0.5,
        tier="medium", tier_before="low", action="contact",
    )  # fmt: skip
    source.deliver([coupon, contact], now)
    events = source.advance(now + DAY)

    delivered = [event for event in events if isinstance(event, ev.CouponDelivered)]
    assert [(event.user_id, event.offer_id) for event in delivered] == [("learner-00003", "c1")]
