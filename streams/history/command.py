"""History in by one command: sources are opened, played through a replay, and given account of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from models.churn.learner import ChurnLearner
from models.churn.scorer import build_scorer
from models.churn.snapshot import encode_snapshot
from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.training.challengers import ChallengerPanel
from streams.clock import monotonic
from streams.errors import OperatorError
from streams.history import model_file
from streams.history.replay import Replay
from streams.history.sources import HistoryEntry, HistorySource, UnusableEntry, open_source
from streams.history.sources.kafka import KafkaTopic, StoredRecord
from streams.history.sources.order import ordered
from streams.kafka import topics
from streams.metrics import Metrics
from streams.operation import campaigns
from streams.report.baselines import Boosting
from streams.report.collector import Files, ReplayCollector
from streams.report.page import page
from streams.report.summary import Summary, summarised
from streams.runtime import limit_blas_threads, tune_gc
from streams.settings import Settings

REPORT = "index.html"
"""What is left of a replay for people to read, beside the files for programs."""
MOST_COMPARED = 100_000
"""Labelled rows that gradient boosting is fitted to and scores; of more, those of a part of the people."""

Item = TypeVar("Item", covariant=True)


class Shown(Protocol[Item]):
    """What can be read under a progress bar."""

    @property
    def total(self) -> int | None:
        """How much there is at most, once that is known."""

    def __iter__(self) -> Iterator[Item]:
        """Read from the beginning."""


class ReplayOptions(NamedTuple):
    """What is to be played, and how.

    Attributes:
        sources: as `open_source` takes them.
        since: earliest event time that is played, in seconds since 1970 UTC.
        until: event time up to which time passes; later events are left out.
        model: a snapshot to begin with.
        frozen: whether that model stays as it is.
        campaign: a campaign file that is taken to run all the time.
        mapping: a mapping file for foreign events.
        out: a folder for what would have gone to topics, and for the report.
        save_model: where to put what was learned.
    """

    sources: tuple[str, ...]
    since: float | None = None
    until: float | None = None
    model: Path | None = None
    frozen: bool = False
    campaign: Path | None = None
    mapping: Path | None = None
    out: Path | None = None
    save_model: Path | None = None


def replay(settings: Settings, wanted: ReplayOptions, console: Console) -> tuple[Summary, ReplayCollector]:
    """Play history without Kafka.

    Raises:
        OperatorError: something that was named cannot be used; the message says what and why.
    """
    tune_gc()
    with limit_blas_threads():
        return asyncio.run(_replay(settings, wanted, console))


async def _replay(settings: Settings, wanted: ReplayOptions, console: Console) -> tuple[Summary, ReplayCollector]:
    sources = [open_source(spec, settings, wanted.mapping) for spec in wanted.sources]
    log = _log(sources)
    learner = ChurnLearner.restore(model_file.read(wanted.model)) if wanted.model else ChurnLearner(settings.model)
    begun = monotonic()
    with Files(wanted.out) as files:
        beside = ChallengerPanel(settings, Metrics(), model_only=wanted.out is None)
        most_rows = MOST_COMPARED if wanted.out is not None else 0
        account = ReplayCollector(files, settings.rules(), beside, most_rows)
        played = Replay(
            settings,
            account.heard,
            learner=None if wanted.frozen else learner,
            model=build_scorer(learner.snapshot()) if wanted.model else None,
            campaign=campaigns.read_campaign(wanted.campaign) if wanted.campaign else None,
            names=tuple(source.name for source in sources),
            partitions=log.partitions if log else 1,
        )
        span: EventWindow | LogWindow
        if log is not None:
            span = LogWindow(log, wanted.since, wanted.until, account.crowd.saw)
            await played.play_log(shown(span, console), wanted.until)
        else:
            span = EventWindow(sources, settings, wanted.since, wanted.until, account.crowd.saw)
            await played.play(shown(span, console), wanted.until)
    if wanted.save_model is not None:
        _saved(wanted.save_model, learner)
    summary = summarised(
        account,
        played.metrics,
        entries=span.count,
        people=played.known,
        span=(span.first, played.now),
        seconds=monotonic() - begun,
    )
    if wanted.out is not None and find_spec("sklearn") is not None:
        console.print("gradient boosting on the same rows, week by week")
        account.matured.compare(Boosting(settings.labels_needed))
    if wanted.out is not None:
        _reported(wanted.out / REPORT, _page(summary, account, settings, wanted.sources))
    return summary, account


def _log(sources: Sequence[HistorySource]) -> KafkaTopic | None:
    """Return the log itself if that is what is to be played: then it is played as it was, not in the order of time."""
    match sources:
        case [KafkaTopic(topic=topics.EVENTS, mapped=False) as log]:
            return log
    return None


class EventWindow:
    """The entries of a span of event time in its order, from `since` up to and including `until`, counted.

    Attributes:
        number: how many entries of events, ticks and the catalogue were met, those before and after the span as well.
        count: how many entries, or what should be one, have passed.
        first: the time of the first one that has passed; 0 before that.
    """

    def __init__(
        self,
        sources: Sequence[HistorySource],
        settings: Settings,
        since: float | None,
        until: float | None,
        told: Callable[[ev.AnyEvent], None] | None = None,
    ) -> None:
        self.number = 0
        self.count = 0
        self.first = 0.0
        # A file is no log: its last people may be hours or days apart without anything being wrong with them.
        self.entries = ordered(sources, max(settings.skew, settings.horizon))
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._told = told or (lambda event: None)

    @property
    def total(self) -> int | None:
        """How many there are at most, once that is known."""
        return self.entries.total

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        """Read from the beginning."""
        for entry in self.entries:
            if isinstance(entry, HistoryEntry):
                self.number += 1
                if not self._since <= entry.event.time <= self._until:
                    continue
                self.first = self.first or entry.event.time
                self._told(entry.event)
            self.count += 1
            yield entry


class LogWindow:
    """The records of the log of a span of event time, counted. What cannot be read is passed on: it is a dead letter.

    Attributes:
        count: how many have passed.
        first: the earliest time of an event or tick that has passed; 0 before that.
        total: how many there are at most.
    """

    def __init__(
        self,
        log: KafkaTopic,
        since: float | None,
        until: float | None,
        told: Callable[[ev.AnyEvent], None] | None = None,
    ) -> None:
        self.count = 0
        self.first = 0.0
        self.total = log.total
        self._log = log
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._told = told or (lambda event: None)

    def __iter__(self) -> Iterator[StoredRecord]:
        """Read from the beginning."""
        for record in self._log.records():
            event = _event(record.value)
            if event is not None:
                if not self._since <= event.time <= self._until:
                    continue
                self.first = min(self.first or event.time, event.time)
                self._told(event)
            self.count += 1
            yield record


def _event(value: bytes | None) -> ev.AnyEvent | None:
    try:
        return event_codec.decode(value or b"")
    except InvalidEvent:
        return None


def shown(window: Shown[Item], console: Console) -> Iterator[Item]:
    """Pass entries on under a progress bar; without a terminal, a line now and then."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        for number, entry in enumerate(window):
            if number % 10_000 == 0:
                bar.update(task, description=f"{number:,} events", total=window.total, completed=number)
                if number and number % 1_000_000 == 0 and not console.is_terminal:
                    console.print(f"{number:,} of {window.total or 0:,} events")
            yield entry


def _page(summary: Summary, account: ReplayCollector, settings: Settings, sources: Sequence[str]) -> str:
    return page(summary, account, settings.rules(), ", ".join(sources), settings.challenger)


def _reported(file: Path, report: str) -> None:
    try:
        file.write_bytes(report.encode())
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None


def _saved(file: Path, learner: ChurnLearner) -> None:
    if not learner.labels:
        raise OperatorError(f"{file}: nothing was learned, so there is no model to save")
    try:
        file.write_bytes(encode_snapshot(learner.snapshot()))
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
