"""The driver: advances event time as fast as chosen, and as fast as the worker can follow."""

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
MAX_STEP = 6 * HOUR
MAX_LAG_SECONDS = 1.0
"""The worker may be behind by the event time that passes in this many seconds. Beyond that, the demo waits."""
MAX_LAG_WITH_REPLIES = 18 * HOUR
"""With simulated replies, the worker is never further behind than this, so that its outputs do not expire."""
TIMEOUT_SECONDS = 60.0
"""Seconds without any progress after which the worker counts as stuck."""
QUIET_SECONDS = 1.5
POLL_EVERY = 0.05
SHOW_EVERY = 0.25
MEASURE_EVERY = 2.0
RATE_WINDOW = 3.0


class DemoDriver:
    """Plays a source to a running worker once, from beginning to end."""

    def __init__(
        self,
        source: DemoSource,
        rules: Rules,
        state: DemoState,
        link: KafkaLink,
        worker: WorkerProcess,
        view: View,
        seconds: float,
    ) -> None:
        self._source = source
        self._state = state
        self._link = link
        self._worker = worker
        self._view = view
        self._observer = Observer(state, rules, source.truth)
        self._lateness = rules.lateness
        speed = (source.ends - source.begins) / seconds
        self._step = min(MAX_STEP, speed * STEP_SECONDS)
        self._step_seconds = self._step / speed
        self._max_lag = speed * MAX_LAG_SECONDS
        if source.truth is not None:
            self._max_lag = min(self._max_lag, MAX_LAG_WITH_REPLIES)
        self._now = source.begins
        self._lag = Lag(0, 0.0)
        self._event_counts: deque[tuple[float, int]] = deque()
        self._shown_at = self._measured_at = float("-inf")

    async def play(self) -> None:
        """Play to the end, and wait until the worker has sent its last output.

        Raises:
            WorkerEnded: the worker ended, or is stuck.
        """
        if self._source.campaign is not None:
            await self._link.publish(topics.CAMPAIGNS, self._source.campaign.id, encode_campaign(self._source.campaign))
        self._state.status = "waiting for the worker"
        await self._advance()
        await self._wait_for_worker(0.0)
        due = monotonic()
        while self._state.forever or self._now < self._source.ends:
            self._state.status = "playing"
            await self._advance()
            due = max(due + self._step_seconds, monotonic() - self._step_seconds)
            await self._poll()
            await self._wait_for_worker(self._max_lag)
            while (left := due - monotonic()) > 0:
                await asyncio.sleep(min(left, POLL_EVERY))
                await self._poll()
        await self._finish()

    async def _advance(self) -> None:
        """Send the next step."""
        self._now += self._step
        if not self._state.forever:
            self._now = min(self._now, self._source.ends)
        events = self._source.advance(self._now)
        self._observer.on_events(events)
        await self._link.send(events, self._now)

    async def _wait_for_worker(self, max_seconds: float) -> None:
        """Wait until the worker is at most so many seconds of event time behind."""
        progress_at, before = monotonic(), self._lag
        while self._lag.seconds > max_seconds:
            if self._lag.records < before.records:
                progress_at, before = monotonic(), self._lag
            if monotonic() - progress_at > TIMEOUT_SECONDS:
                raise WorkerEnded(self._worker.describe(f"the worker has made no progress for {TIMEOUT_SECONDS:.0f} s"))
            if max_seconds:
                self._state.status = "waiting: the worker lags"
            await asyncio.sleep(POLL_EVERY)
            await self._poll()

    async def _finish(self) -> None:
        """Advance time until everything at the end is due, and wait for the last output."""
        self._state.status = "finishing"
        await self._link.send([], self._now + self._lateness + 1.0)
        await self._poll()
        await self._wait_for_worker(0.0)
        quiet_since, count = monotonic(), self._link.output_count
        while monotonic() - quiet_since < QUIET_SECONDS:
            await asyncio.sleep(POLL_EVERY)
            await self._poll()
            if self._link.output_count != count:
                quiet_since, count = monotonic(), self._link.output_count
        self._observer.refresh(self._now, monotonic())
        self._observer.measure()

    async def _poll(self) -> None:
        """Read the worker's outputs, deliver its messages to users, measure its lag, and update the view."""
        self._worker.check()
        outputs = self._link.take_outputs()
        for output in outputs:
            self._observer.on_output(output)
        self._source.deliver(replies(outputs), self._now)
        self._lag = await self._link.lag()
        clock = monotonic()
        if clock - self._measured_at >= MEASURE_EVERY:
            self._observer.measure()
            self._measured_at = clock
        if clock - self._shown_at >= SHOW_EVERY:
            self._show(clock)
            self._shown_at = clock

    def _show(self, clock: float) -> None:
        state = self._state
        self._event_counts.append((clock, state.events))
        while clock - self._event_counts[0][0] > RATE_WINDOW:
            self._event_counts.popleft()
        elapsed, (_, count) = clock - self._event_counts[0][0], self._event_counts[0]
        state.events_per_second = (state.events - count) / elapsed if elapsed > 0 else 0.0
        state.lag_records, state.lag_seconds = self._lag
        self._observer.refresh(self._now, clock)
        self._view.show()
