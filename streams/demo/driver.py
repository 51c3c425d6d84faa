"""The player: moves the play's time forward, as fast as wanted and as fast as the worker can follow."""

from __future__ import annotations

import asyncio
from collections import deque

from models.person.rules import Rules
from streams.clock import monotonic
from streams.demo.kafka_link import KafkaLink, Lag
from streams.demo.observer import Observer, replies
from streams.demo.source import DemoSource
from streams.demo.state import DemoState
from streams.demo.view import View
from streams.demo.worker import WorkerEnded, WorkerProcess
from streams.kafka import topics
from streams.operation.campaigns import encode_campaign

HOUR = 3_600.0
STEP_SECONDS = 0.1
LONGEST_STEP = 6 * HOUR
MOST_LAG_SECONDS = 1.0
"""The worker may be as far behind as the play goes in this time; then the play waits."""
MOST_LAG_OF_ANSWERS = 18 * HOUR
"""And never so far that what it says would be old news to those who are to answer."""
PATIENCE = 60.0
"""Seconds without any progress after which the worker counts as stuck."""
QUIET = 1.5
LOOK_EVERY = 0.05
SHOW_EVERY = 0.25
MEASURE_EVERY = 2.0
RATE_OVER = 3.0


class DemoDriver:
    """Plays a source to a worker that runs, from its beginning to its end, once."""

    def __init__(
        self,
        play: DemoSource,
        rules: Rules,
        seen: DemoState,
        wire: KafkaLink,
        worker: WorkerProcess,
        view: View,
        seconds: float,
    ) -> None:
        self._play = play
        self._seen = seen
        self._wire = wire
        self._worker = worker
        self._view = view
        self._observer = Observer(seen, rules, play.truth)
        self._lateness = rules.lateness
        speed = (play.ends - play.begins) / seconds
        self._step = min(LONGEST_STEP, speed * STEP_SECONDS)
        self._step_seconds = self._step / speed
        self._most_lag = speed * MOST_LAG_SECONDS
        if play.truth is not None:
            self._most_lag = min(self._most_lag, MOST_LAG_OF_ANSWERS)
        self._now = play.begins
        self._lag = Lag(0, 0.0)
        self._counts: deque[tuple[float, int]] = deque()
        self._shown = self._measured = float("-inf")

    async def play(self) -> None:
        """Play to the end, and until the worker has said all it has to say about it.

        Raises:
            WorkerEnded: the worker ended, or is stuck.
        """
        if self._play.campaign is not None:
            await self._wire.publish(topics.CAMPAIGNS, self._play.campaign.id, encode_campaign(self._play.campaign))
        self._seen.doing = "waiting for the worker"
        await self._advance()
        await self._keep_up(0.0)
        due = monotonic()
        while self._seen.forever or self._now < self._play.ends:
            self._seen.doing = "playing"
            await self._advance()
            due = max(due + self._step_seconds, monotonic() - self._step_seconds)
            await self._look()
            await self._keep_up(self._most_lag)
            while (left := due - monotonic()) > 0:
                await asyncio.sleep(min(left, LOOK_EVERY))
                await self._look()
        await self._settle()

    async def _advance(self) -> None:
        """Send the next step."""
        self._now += self._step
        if not self._seen.forever:
            self._now = min(self._now, self._play.ends)
        events = self._play.advance(self._now)
        self._observer.happened(events)
        await self._wire.send(events, self._now)

    async def _keep_up(self, most: float) -> None:
        """Wait until the worker is at most so many seconds of the play behind."""
        moved, before = monotonic(), self._lag
        while self._lag.seconds > most:
            if self._lag.records < before.records:
                moved, before = monotonic(), self._lag
            if monotonic() - moved > PATIENCE:
                raise WorkerEnded(self._worker.told(f"the worker has not moved for {PATIENCE:.0f} s"))
            if most:
                self._seen.doing = "waiting: the worker lags"
            await asyncio.sleep(LOOK_EVERY)
            await self._look()

    async def _settle(self) -> None:
        """Let time pass far enough for all that is due at the end, and wait for the last word."""
        self._seen.doing = "settling"
        await self._wire.send([], self._now + self._lateness + 1.0)
        await self._look()
        await self._keep_up(0.0)
        silent, heard = monotonic(), self._wire.count
        while monotonic() - silent < QUIET:
            await asyncio.sleep(LOOK_EVERY)
            await self._look()
            if self._wire.count != heard:
                silent, heard = monotonic(), self._wire.count
        self._observer.refresh(self._now, monotonic())
        self._observer.measure()

    async def _look(self) -> None:
        """Hear what the worker says, let people answer, see how far it is, and show it."""
        self._worker.check()
        outputs = self._wire.heard()
        for output in outputs:
            self._observer.heard(output)
        self._play.answer(replies(outputs), self._now)
        self._lag = await self._wire.lag()
        clock = monotonic()
        if clock - self._measured >= MEASURE_EVERY:
            self._observer.measure()
            self._measured = clock
        if clock - self._shown >= SHOW_EVERY:
            self._show(clock)
            self._shown = clock

    def _show(self, clock: float) -> None:
        seen = self._seen
        self._counts.append((clock, seen.events))
        while clock - self._counts[0][0] > RATE_OVER:
            self._counts.popleft()
        passed, (_, count) = clock - self._counts[0][0], self._counts[0]
        seen.per_second = (seen.events - count) / passed if passed > 0 else 0.0
        seen.lag_records, seen.lag_seconds = self._lag
        self._observer.refresh(self._now, clock)
        self._view.show()
