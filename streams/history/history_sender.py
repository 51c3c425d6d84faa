"""The sender of history: paces events and ticks, waits for the workers, and counts what it sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from rich.console import Console

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.clock import monotonic
from streams.delivery.dead_letters import DeadLetterQueue
from streams.errors import OperatorError
from streams.history.command import EventWindow
from streams.history.recording import unusable_record
from streams.history.sinks import Backlog, HistorySink, KafkaSession, LogSink
from streams.history.sources import HistoryEntry, UnusableEntry
from streams.kafka import codec, topics
from streams.kafka.topics import name
from streams.metrics import Metrics

MAX_BATCH = 10_000
"""Records to collect before the sink writes them."""
MAX_LAG = 10_000
"""Records per partition that workers may be behind: a few MB, which even the embedded broker can hold."""
STEP_SECONDS = 0.2
"""At a chosen speed, events that fall within this many seconds of real time are sent together."""
POLL_SECONDS = 0.1
NOTICE_SECONDS = 30.0
TIMEOUT_SECONDS = 180.0
"""Seconds without progress after which the sender concludes that no worker is running."""
WORK_TOPICS = (topics.PEOPLE, topics.EXAMPLES, topics.SNAPSHOTS)
"""Topics that grow while workers still have work to do."""


class SendOptions(NamedTuple):
    """What to send, and how.

    Attributes:
        sources: as `open_source` takes them.
        since: the earliest event time to send, in seconds since 1970 UTC.
        until: the event time at which sending ends; later events are left out.
        mapping: a mapping file for foreign events.
        to: an input topic to use in place of `events`.
        speed: seconds of event time per second; if left out, as fast as the workers process the events.
    """

    sources: tuple[str, ...]
    since: float | None = None
    until: float | None = None
    mapping: Path | None = None
    to: str | None = None
    speed: float | None = None


class SendSummary(Struct, frozen=True, kw_only=True):
    """What was sent: counts, and dead letters by reason. Times are in seconds since 1970 UTC."""

    events: int
    catalogue: int
    ticks: int
    dead_letters: dict[str, int]
    first: float
    last: float
    seconds: float


class HistorySender:
    """Sends the entries of one window. Use it once."""

    def __init__(
        self,
        session: KafkaSession,
        sink: HistorySink,
        window: EventWindow,
        names: tuple[str, ...],
        partitions: int,
        options: SendOptions,
        console: Console,
    ) -> None:
        settings = session.settings
        self._session = session
        self._sink = sink
        self._window = window
        self._names = names
        self._partitions = partitions
        self._options = options
        self._console = console
        self._metrics = Metrics()
        self._dead_letters = DeadLetterQueue(session.sender, settings.prefix, self._metrics)
        self._events = self._catalogue = self._ticks = 0
        self._last = self._next_tick = self._ticked = float("-inf")
        self._step = settings.wake_every / 4
        if options.speed is not None:
            self._step = min(self._step, options.speed * STEP_SECONDS)
        self._step_due = 0.0

    async def run(self, entries: Iterator[HistoryEntry | UnusableEntry]) -> SendSummary:
        """Send all entries, then wait until the workers have done everything that is due."""
        begun = monotonic()
        for entry in entries:
            if isinstance(entry, UnusableEntry):
                self._dead_letters.send(unusable_record(entry, self._names), entry.error)
            else:
                await self._send_entry(entry)
            if self._sink.waiting + self._session.sender.backlog >= MAX_BATCH:
                await self._flush()
        await self._finish()
        return SendSummary(
            events=self._events,
            catalogue=self._catalogue,
            ticks=self._ticks,
            dead_letters={
                labels[0]: int(count)
                for counter, labels, count in self._metrics.samples()
                if counter == "encore_dead_letters_total"
            },
            first=self._window.first,
            last=self._last,
            seconds=round(monotonic() - begun, 3),
        )

    async def _send_entry(self, entry: HistoryEntry) -> None:
        event = entry.event
        if isinstance(event, ev.CourseEvent):
            self._sink.add(event, self._origin())
            self._catalogue += 1
            return
        if self._last == float("-inf"):
            await self._start(event.time)
        if event.time >= self._next_tick:
            await self._advance_time(event.time)
        self._last = max(self._last, event.time)
        if isinstance(event, ev.Event):
            self._sink.add(event, self._origin())
            self._events += 1

    async def _start(self, time: float) -> None:
        """Start the clock of the history, and check that the log is not already ahead of it.

        Raises:
            OperatorError: the log is ahead, so every event of the history would be late.
        """
        self._next_tick = self._next_step(time)
        self._step_due = monotonic()
        topic, own_origin = name(self._session.settings, topics.EVENTS), self._origin()
        for record in await self._session.last_records(topic, self._partitions):
            try:
                log_time = event_codec.decode(record.value or b"").time
            except InvalidEvent:
                continue
            own = bool(record.headers) and _source_of(record.headers[0][1]) == _source_of(own_origin[0][1])
            if log_time > time + self._session.settings.lateness and not (own and isinstance(self._sink, LogSink)):
                raise OperatorError(
                    f"{topic} has reached {day_text(log_time)}, but this history begins on {day_text(time)}: all of it "
                    "would be late. Send history first, to workers with clock = source, or use another prefix"
                )

    async def _advance_time(self, time: float) -> None:
        """Advance event time: in one tick, or in steps if a speed was chosen."""
        if self._options.speed is None:
            self._next_tick = self._next_step(time)
            self._tick(min(time, self._next_tick - self._step))
            return
        while self._next_tick <= time:
            seconds = self._step / self._options.speed
            self._step_due = max(self._step_due + seconds, monotonic() - seconds)
            await asyncio.sleep(max(0.0, self._step_due - monotonic()))
            if self._next_tick - self._ticked >= self._session.settings.tick_every:
                self._tick(self._next_tick)
            await self._flush()
            self._next_tick += self._step

    async def _flush(self) -> None:
        await self._sink.flush()
        await self._wait_for_workers(MAX_LAG * self._partitions)

    async def _finish(self) -> None:
        """Advance time to the end, and wait until the workers have done everything that is due by then.

        A worker that takes over a partition knows no event time until the next record. So this repeats the last tick
        until the workers write nothing more. After that, no work is due before the end.
        """
        end = self._last if self._options.until is None else self._options.until
        if end == float("-inf"):
            await self._flush()
            return
        if self._options.speed is not None and self._last > float("-inf"):
            await self._advance_time(end)
        self._last = end
        partitions = [(name(self._session.settings, topic), number) for topic, number in self._work_partitions()]
        before: list[int] = []
        while True:
            self._tick(end)
            await self._flush()
            await self._wait_for_workers(0)
            now = await self._session.ends(partitions)
            if now == before:
                return
            before = now
            await asyncio.sleep(max(1.0, 2 * self._session.settings.commit_every))

    def _work_partitions(self) -> Iterator[tuple[str, int]]:
        for topic in WORK_TOPICS:
            for number in range(self._partitions if topic == topics.PEOPLE else 1):
                yield topic, number

    async def _wait_for_workers(self, max_records: int) -> None:
        """Wait until workers are at most `max_records` behind.

        Raises:
            OperatorError: the workers have stopped making progress.
        """
        before, progress_at, noticed = await self._sink.backlog(), monotonic(), False
        while before.records > max_records:
            if not noticed and monotonic() - progress_at > NOTICE_SECONDS:
                self._console.print(f"waiting: {_no_progress(before)}", soft_wrap=True)
                noticed = True
            if monotonic() - progress_at > TIMEOUT_SECONDS:
                raise OperatorError(_no_progress(before))
            await asyncio.sleep(POLL_SECONDS)
            now = await self._sink.backlog()
            if now.processed > before.processed:
                progress_at = monotonic()
            before = now

    def _tick(self, time: float) -> None:
        self._sink.tick(time, self._origin())
        self._ticked = time
        self._ticks += 1

    def _origin(self) -> list[tuple[str, bytes]]:
        """Return the idempotence key of the current entry. It does not depend on the name of the file."""
        return codec.origin_header(f"{codec.HISTORY_PREFIX}{self._window.entries.digest}", 0, self._window.number)

    def _next_step(self, time: float) -> float:
        return (floor(time / self._step) + 1) * self._step


def day_text(time: float) -> str:
    """Return the UTC day of a time, such as 1 Jan 1970."""
    return f"{datetime.fromtimestamp(time, UTC):%-d %b %Y}"


def _no_progress(backlog: Backlog) -> str:
    return f"{backlog.records:,} records wait and no worker processes them: is one running, with clock = source?"


def _source_of(origin: bytes) -> bytes:
    return origin.rpartition(b"/")[0]
