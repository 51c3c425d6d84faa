"""History to Kafka: the events of a replay, in its order, with ticks of their time, as fast as workers take them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from typing import NamedTuple

from aiokafka.errors import KafkaError
from msgspec import Struct
from rich.console import Console

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest import mapping_file
from streams.clock import monotonic
from streams.delivery.dead_letters import DeadLetterQueue
from streams.errors import OperatorError
from streams.history.command import EventWindow, shown
from streams.history.replay import buried
from streams.history.sinks import Backlog, HistorySink, InputTopicSink, KafkaSession, LogSink
from streams.history.sources import HistoryEntry, UnusableEntry, open_source
from streams.kafka import admin, codec, topics
from streams.kafka.topics import name
from streams.metrics import Metrics
from streams.settings import Settings

FULL = 10_000
"""Records written at a time."""
MOST_BEHIND = 10_000
"""Records that workers may be behind, for each partition: a few MB, which even the embedded broker keeps."""
STEP_SECONDS = 0.2
"""In accelerated time, what happens within so many seconds is sent together."""
LOOK_EVERY = 0.1
SAY_AFTER = 30.0
PATIENCE = 180.0
"""Seconds without any progress after which nobody seems to be there."""
STILL = (topics.PEOPLE, topics.EXAMPLES, topics.SNAPSHOTS)
"""What grows as long as workers have something to do."""


class SendOptions(NamedTuple):
    """What is to be sent, and how.

    Attributes:
        sources: as `open_source` takes them.
        since: earliest event time that is sent, in seconds since 1970 UTC.
        until: event time up to which time passes; later events are left out.
        mapping: a mapping file for foreign events.
        to: an input topic instead of `events`.
        speed: seconds of event time in a second; as fast as workers take it if left out.
    """

    sources: tuple[str, ...]
    since: float | None = None
    until: float | None = None
    mapping: Path | None = None
    to: str | None = None
    speed: float | None = None


class SendSummary(Struct, frozen=True, kw_only=True):
    """What was sent: counts, dead letters by reason; times in seconds since 1970 UTC."""

    events: int
    catalogue: int
    ticks: int
    dead_letters: dict[str, int]
    first: float
    last: float
    seconds: float


def send(settings: Settings, posted: SendOptions, console: Console) -> SendSummary:
    """Send history, and wait until workers have done all that was due by its end.

    Raises:
        OperatorError: something that was named cannot be used, or nobody takes what is sent; one line that says why.
    """
    _check(settings, posted)
    partitions = admin.check_topics(settings)[name(settings, topics.EVENTS)]
    sources = [open_source(spec, settings, posted.mapping) for spec in posted.sources]
    window = EventWindow(sources, settings, posted.since, posted.until)
    names = tuple(source.name for source in sources)

    async def main() -> SendSummary:
        async with KafkaSession(settings) as line:
            inlet: HistorySink = InputTopicSink(line, posted.to, partitions) if posted.to else LogSink(line, partitions)
            sending = HistorySender(line, inlet, window, names, partitions, posted, console)
            return await sending.run(shown(window, console))

    try:
        return asyncio.run(main())
    except (KafkaError, OSError) as error:
        raise OperatorError(f"{settings.broker}: {error!r}") from None


def words(sent: SendSummary) -> str:
    """Say it for a person."""
    rate = sent.events / max(sent.seconds, 1e-9)
    lines = [f"sent {sent.events:,} events from {_day(sent.first)} to {_day(sent.last)}, {rate:,.0f} a second"]
    if sent.catalogue:
        lines.append(f"{sent.catalogue:,} of the catalogue")
    lines += [f"{count:,} dead letters: {reason}" for reason, count in sorted(sent.dead_letters.items())]
    return "\n".join([*lines, "workers have done all that was due by then"])


def _check(settings: Settings, posted: SendOptions) -> None:
    if settings.clock != "source":
        raise OperatorError(
            "clock is `wall`: history brings its own time, so set clock = source (ENCORE_CLOCK=source) here and for "
            "the workers; ticks of today would make everybody in it silent"
        )
    if posted.to is not None and posted.to not in settings.inputs:
        raise OperatorError(f"--to {posted.to}: ingest reads {', '.join(settings.inputs)}")
    if posted.to is not None and name(settings, posted.to) in mapping_file.load_mappings(settings):
        raise OperatorError(f"--to {posted.to}: ingest takes it for foreign events, since a mapping file is set for it")


class HistorySender:
    """Sends what a window holds, once."""

    def __init__(
        self,
        line: KafkaSession,
        inlet: HistorySink,
        window: EventWindow,
        names: tuple[str, ...],
        partitions: int,
        posted: SendOptions,
        console: Console,
    ) -> None:
        settings = line.settings
        self._line = line
        self._inlet = inlet
        self._window = window
        self._names = names
        self._partitions = partitions
        self._posted = posted
        self._console = console
        self._metrics = Metrics()
        self._dead_letters = DeadLetterQueue(line.sender, settings.prefix, self._metrics)
        self._events = self._catalogue = self._ticks = 0
        self._last = self._turn = self._ticked = float("-inf")
        self._step = settings.wake_every / 4
        if posted.speed is not None:
            self._step = min(self._step, posted.speed * STEP_SECONDS)
        self._due = 0.0

    async def run(self, entries: Iterator[HistoryEntry | UnusableEntry]) -> SendSummary:
        """Send everything, then wait until workers have done what was due."""
        begun = monotonic()
        for entry in entries:
            if isinstance(entry, UnusableEntry):
                self._bury(entry, entry.error)
            else:
                await self._take(entry)
            if self._inlet.waiting + self._line.sender.backlog >= FULL:
                await self._flush()
        await self._end()
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

    async def _take(self, entry: HistoryEntry) -> None:
        event = entry.event
        if isinstance(event, ev.CourseEvent):
            self._inlet.add(event, self._origin())
            self._catalogue += 1
            return
        if self._last == float("-inf"):
            await self._begin(event.time)
        if event.time >= self._turn:
            await self._pass(event.time)
        self._last = max(self._last, event.time)
        if isinstance(event, ev.Event):
            self._inlet.add(event, self._origin())
            self._events += 1

    async def _begin(self, time: float) -> None:
        """See that the log is not further than the history that is to come.

        Raises:
            OperatorError: it is.
        """
        self._turn = self._after(time)
        self._due = monotonic()
        topic, mine = name(self._line.settings, topics.EVENTS), self._origin()
        for record in await self._line.last(topic, self._partitions):
            try:
                stands = event_codec.decode(record.value or b"").time
            except InvalidEvent:
                continue
            ours = bool(record.headers) and _place(record.headers[0][1]) == _place(mine[0][1])
            if stands > time + self._line.settings.lateness and not (ours and isinstance(self._inlet, LogSink)):
                raise OperatorError(
                    f"{topic} stands at {_day(stands)} and this history begins on {_day(time)}: it would all be late. "
                    "History goes first, to workers with clock = source, or under another prefix"
                )

    async def _pass(self, time: float) -> None:
        """Let time pass up to a moment: in one leap, or step by step at the wanted speed."""
        if self._posted.speed is None:
            self._turn = self._after(time)
            self._tick(min(time, self._turn - self._step))
            return
        while self._turn <= time:
            seconds = self._step / self._posted.speed
            self._due = max(self._due + seconds, monotonic() - seconds)
            await asyncio.sleep(max(0.0, self._due - monotonic()))
            if self._turn - self._ticked >= self._line.settings.tick_every:
                self._tick(self._turn)
            await self._flush()
            self._turn += self._step

    async def _flush(self) -> None:
        await self._inlet.flush()
        await self._keep_up(MOST_BEHIND * self._partitions)

    async def _end(self) -> None:
        """Let time pass to the end, and see that all that is due by then is done.

        Whoever takes a partition over knows no time until the next record. So the last tick is repeated until nothing
        moves any more: from then on nothing waits for it.
        """
        end = self._last if self._posted.until is None else self._posted.until
        if end == float("-inf"):
            await self._flush()
            return
        if self._posted.speed is not None and self._last > float("-inf"):
            await self._pass(end)
        self._last = end
        places = [(name(self._line.settings, topic), number) for topic, number in self._still()]
        before: list[int] = []
        while True:
            self._tick(end)
            await self._flush()
            await self._keep_up(0)
            now = await self._line.ends(places)
            if now == before:
                return
            before = now
            await asyncio.sleep(max(1.0, 2 * self._line.settings.commit_every))

    def _still(self) -> Iterator[tuple[str, int]]:
        for topic in STILL:
            for number in range(self._partitions if topic == topics.PEOPLE else 1):
                yield topic, number

    async def _keep_up(self, most: int) -> None:
        """Wait until workers are at most so many records behind.

        Raises:
            OperatorError: they take nothing any more.
        """
        before, moved, said = await self._inlet.behind(), monotonic(), False
        while before.records > most:
            if not said and monotonic() - moved > SAY_AFTER:
                self._console.print(f"waiting: {self._nobody(before)}", soft_wrap=True)
                said = True
            if monotonic() - moved > PATIENCE:
                raise OperatorError(self._nobody(before))
            await asyncio.sleep(LOOK_EVERY)
            now = await self._inlet.behind()
            if now.taken > before.taken:
                moved = monotonic()
            before = now

    def _nobody(self, behind: Backlog) -> str:
        return f"{behind.records:,} records wait and no worker takes them: is one running, with clock = source?"

    def _tick(self, moment: float) -> None:
        self._inlet.tick(moment, self._origin())
        self._ticked = moment
        self._ticks += 1

    def _bury(self, entry: UnusableEntry, error: InvalidEvent) -> None:
        self._dead_letters.send(buried(entry, self._names), error)

    def _origin(self) -> list[tuple[str, bytes]]:
        """Name an entry for good, so that what is sent a second time is known, whatever the file is called by then."""
        return codec.origin_header(f"{codec.HISTORY_PREFIX}{self._window.entries.digest}", 0, self._window.number)

    def _after(self, time: float) -> float:
        return (floor(time / self._step) + 1) * self._step


def _place(origin: bytes) -> bytes:
    return origin.rpartition(b"/")[0]


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b %Y}"
