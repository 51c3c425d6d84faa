"""What the demo plays: the simulated platform, or the sample of real history that the package carries."""

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
from streams.history.simulation.drift import STEADY, WORDS, DriftName, drift
from streams.history.simulation.platform import Platform
from streams.history.simulation.truth import GroundTruth

SAMPLE = Path(__file__).with_name("sample.jsonl.gz")
CAMPAIGN = Campaign(
    id="welcome-back", arm=Arm(name="ten-euros", amount=10.0, valid_days=7.0), hold_out=0.5, version="demo"
)
NEWCOMERS_A_DAY = 0.01
"""With a platform that runs on, newcomers a day for each learner of the first weeks."""


class DemoSource(Protocol):
    """A play: from `begins` to `ends`, with the worker's settings that suit it."""

    title: str
    begins: float
    ends: float
    settings: dict[str, str]
    campaign: Campaign | None
    truth: GroundTruth | None

    def advance(self, until: float) -> list[ev.Event]:
        """Return the events up to a moment that have not been returned yet, in order of time."""
        ...

    def answer(self, messages: Iterable[Alert | CouponTrigger], now: float) -> None:
        """Let people have what was decided for them."""
        ...


class SimulationSource:
    """The simulated platform, for three months or as many days as wanted; they end now. Halfway, it may change."""

    def __init__(self, seed: int, days: float, learners: int, forever: bool, changes: DriftName | None = None) -> None:
        self.title = f"{learners:,} simulated learners, half of them in the hold-out"
        self.ends = float(int(wall()))
        self.begins = self.ends - days * DAY
        change = STEADY
        if changes is not None:
            change = drift(changes, self.begins + days / 2 * DAY)
            self.title += f"; from day {days / 2:.0f} on {WORDS[changes]}"
        self.settings = {"ENCORE_HORIZON": "7d", "ENCORE_LOOKBACK": "14d"}
        self.campaign: Campaign | None = CAMPAIGN
        newcomers = learners * NEWCOMERS_A_DAY if forever else 0.0
        self._platform = Platform(seed, self.begins, learners, newcomers_per_day=newcomers, drift=change)
        self.truth: GroundTruth | None = self._platform.truth

    def advance(self, until: float) -> list[ev.Event]:
        """Let time pass on the platform."""
        return self._platform.advance(until)

    def answer(self, messages: Iterable[Alert | CouponTrigger], now: float) -> None:
        """Hand coupons and messages to their learners."""
        for message in messages:
            if isinstance(message, CouponTrigger):
                self._platform.react(message, now)
            else:
                self._platform.contact(message, now)


class SampleSource:
    """The sample of OULAD; nobody in it can be written to any more."""

    def __init__(self, file: Path = SAMPLE) -> None:
        with gzip.open(file) as lines:
            self._events = [event for event in map(event_codec.decode, lines) if isinstance(event, ev.Event)]
        people = len({event.user_id for event in self._events})
        self.title = f"{people} students of the Open University (OULAD, CC BY 4.0)"
        self.begins = float(int(self._events[0].time)) - 1.0
        self.ends = self._events[-1].time + 1.0
        self.settings = {"ENCORE_HORIZON": "14d", "ENCORE_LOOKBACK": "28d"}
        self.campaign: Campaign | None = None
        self.truth: GroundTruth | None = None
        self._left = iter(self._events)

    def advance(self, until: float) -> list[ev.Event]:
        """Return the recorded events up to a moment."""
        taken = []
        for event in self._left:
            if event.time > until:
                self._left = itertools.chain([event], self._left)
                break
            taken.append(event)
        return taken

    def answer(self, messages: Iterable[Alert | CouponTrigger], now: float) -> None:
        """Do nothing: history cannot answer."""
