"""What the demo plays: the simulated platform, or the sample of real history that the package contains."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from models.offers.campaign import Arm, Campaign
from models.person.activity import DAY
from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger
from streams.clock import wall
from streams.history.simulation.drift import DESCRIPTIONS, STEADY, DriftName, drift
from streams.history.simulation.platform import Platform
from streams.history.simulation.truth import GroundTruth

SAMPLE = Path(__file__).with_name("sample.jsonl.gz")
CAMPAIGN = Campaign(
    id="welcome-back", arm=Arm(name="ten-euros", amount=10.0, valid_days=7.0), hold_out=0.5, version="demo"
)
NEWCOMER_RATE = 0.01
"""With `--forever`: newcomers per day for each learner of the first weeks."""


class DemoSource(Protocol):
    """A source of events from `begins` to `ends`, with matching worker settings."""

    title: str
    begins: float
    ends: float
    settings: dict[str, str]
    campaign: Campaign | None
    truth: GroundTruth | None

    def advance(self, until: float) -> list[ev.Event]:
        """Return the events up to a moment that were not returned before, in time order."""
        ...

    def deliver(self, messages: Iterable[Alert | CouponTrigger], now: float) -> None:
        """Deliver messages to their users."""
        ...


class SimulationSource:
    """The simulated platform, for a chosen number of days that end now. Its behaviour may change halfway."""

    def __init__(self, seed: int, days: float, learners: int, forever: bool, changes: DriftName | None = None) -> None:
        self.title = f"{learners:,} simulated learners, half of them in the hold-out"
        self.ends = float(int(wall()))
        self.begins = self.ends - days * DAY
        world_drift = STEADY
        if changes is not None:
            world_drift = drift(changes, self.begins + days / 2 * DAY)
            self.title += f"; from day {days / 2:.0f} on {DESCRIPTIONS[changes]}"
        self.settings = {"ENCORE_HORIZON": "7d", "ENCORE_LOOKBACK": "14d"}
        self.campaign: Campaign | None = CAMPAIGN
        newcomers = learners * NEWCOMER_RATE if forever else 0.0
        self._platform = Platform(seed, self.begins, learners, newcomers_per_day=newcomers, drift=world_drift)
        self.truth: GroundTruth | None = self._platform.truth

    def advance(self, until: float) -> list[ev.Event]:
        """Advance time on the platform, and return its events."""
        return self._platform.advance(until)

    def deliver(self, messages: Iterable[Alert | CouponTrigger], now: float) -> None:
        """Deliver coupons and messages to their learners."""
        for message in messages:
            if isinstance(message, CouponTrigger):
                self._platform.deliver_coupon(message, now)
            else:
                self._platform.deliver_contact(message, now)


class SampleSource:
    """The OULAD sample. Its users are real history, so messages have no effect."""

    def __init__(self, file: Path = SAMPLE) -> None:
        with gzip.open(file) as lines:
            self._events = [event for event in map(event_codec.decode, lines) if isinstance(event, ev.Event)]
        users = len({event.user_id for event in self._events})
        self.title = f"{users} students of the Open University (OULAD, CC BY 4.0)"
        self.begins = float(int(self._events[0].time)) - 1.0
        self.ends = self._events[-1].time + 1.0
        self.settings = {"ENCORE_HORIZON": "14d", "ENCORE_LOOKBACK": "28d"}
        self.campaign: Campaign | None = None
        self.truth: GroundTruth | None = None
        self._remaining = iter(self._events)

    def advance(self, until: float) -> list[ev.Event]:
        """Return the recorded events up to a moment."""
        events = []
        for event in self._remaining:
            if event.time > until:
                self._remaining = itertools.chain([event], self._remaining)
                break
            events.append(event)
        return events

    def deliver(self, messages: Iterable[Alert | CouponTrigger], now: float) -> None:
        """Do nothing: recorded users cannot respond."""
