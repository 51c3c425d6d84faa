"""The `replay` command: opens sources, replays them, and writes outputs, the report and the trained model."""

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
from streams.history.sources.order import order_by_time
from streams.kafka import topics
from streams.metrics import Metrics
from streams.operation import campaigns
from streams.report.baselines import Boosting
from streams.report.collector import OutputFiles, ReplayCollector
from streams.report.page import page
from streams.report.summary import Summary, summarize
from streams.runtime import limit_blas_threads, tune_gc
from streams.settings import Settings

REPORT = "index.html"
"""The file name of the report, which is in the same folder as the outputs."""
MAX_COMPARED_ROWS = 100_000
"""The most labelled rows that gradient boosting learns from and scores. Of more, a sample of the users is kept."""

Item = TypeVar("Item", covariant=True)


class SizedEntries(Protocol[Item]):
    """Entries that can be shown under a progress bar."""

    @property
    def total(self) -> int | None:
        """The largest possible number of entries; none while it is unknown."""

    def __iter__(self) -> Iterator[Item]:
        """Read from the beginning."""


class ReplayOptions(NamedTuple):
    """What to replay, and how.

    Attributes:
        sources: as `open_source` takes them.
        since: the earliest event time to replay, in seconds since 1970 UTC.
        until: the event time at which the replay ends; later events are left out.
        model: a snapshot to start with.
        frozen: whether that model stays unchanged.
        campaign: a campaign file; its campaign is active throughout.
        mapping: a mapping file for foreign events.
        out: a folder for the outputs of each topic, and for the report.
        save_model: the file to write the trained model to.
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


def replay(settings: Settings, options: ReplayOptions, console: Console) -> tuple[Summary, ReplayCollector]:
    """Replay history without Kafka.

    Raises:
        OperatorError: an option cannot be used; the message says which one and why.
    """
    tune_gc()
    with limit_blas_threads():
        return asyncio.run(_replay(settings, options, console))


async def _replay(settings: Settings, options: ReplayOptions, console: Console) -> tuple[Summary, ReplayCollector]:
    sources = [open_source(spec, settings, options.mapping) for spec in options.sources]
    log = _single_log(sources)
    learner = _learner(settings, options.model)
    started = monotonic()
    with OutputFiles(options.out) as files:
        challengers = ChallengerPanel(settings, Metrics(), model_only=options.out is None)
        collector = ReplayCollector(files, settings.rules(), challengers, MAX_COMPARED_ROWS if options.out else 0)
        replay_run = Replay(
            settings,
            collector.on_record,
            learner=None if options.frozen else learner,
            model=build_scorer(learner.snapshot()) if options.model else None,
            campaign=campaigns.read_campaign(options.campaign) if options.campaign else None,
            names=tuple(source.name for source in sources),
            partitions=log.partitions if log else 1,
        )
        span: EventWindow | LogWindow
        if log is not None:
            span = LogWindow(log, options.since, options.until, collector.activity.on_event)
            await replay_run.play_log(with_progress(span, console), options.until)
        else:
            span = EventWindow(sources, settings, options.since, options.until, collector.activity.on_event)
            await replay_run.play(with_progress(span, console), options.until)
    if options.save_model is not None:
        _save_model(options.save_model, learner)
    summary = summarize(
        collector,
        replay_run.metrics,
        entries=span.count,
        users=replay_run.user_count,
        time_range=(span.first, replay_run.now),
        seconds=monotonic() - started,
    )
    if options.out is not None:
        if find_spec("sklearn") is not None:
            console.print("scoring the same rows with gradient boosting, week by week")
            collector.matured.score_with_boosting(Boosting(settings.labels_needed))
        _write_report(options.out / REPORT, _page(summary, collector, settings, options.sources))
    return summary, collector


def _learner(settings: Settings, file: Path | None) -> ChurnLearner:
    """Return the learner of a model file, or a new one."""
    return ChurnLearner(settings.model) if file is None else ChurnLearner.restore(model_file.read_model(file))


def _single_log(sources: Sequence[HistorySource]) -> KafkaTopic | None:
    """Return the `events` log if it is the only source: a replay then keeps its partitions and order."""
    match sources:
        case [KafkaTopic(topic=topics.EVENTS, has_mapping=False) as log]:
            return log
    return None


class EventWindow:
    """The entries of a span of event time, in time order, from `since` up to and including `until`.

    Attributes:
        number: how many entries were read so far, including those before and after the span.
        count: how many entries of the span were passed on, including unusable ones.
        first: the time of the first entry that was passed on; 0 before that.
    """

    def __init__(
        self,
        sources: Sequence[HistorySource],
        settings: Settings,
        since: float | None,
        until: float | None,
        on_event: Callable[[ev.AnyEvent], None] | None = None,
    ) -> None:
        self.number = 0
        self.count = 0
        self.first = 0.0
        # A file has no log time: the last events of its users may correctly be hours or days apart.
        self.entries = order_by_time(sources, max(settings.skew, settings.horizon))
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._on_event = on_event or (lambda event: None)

    @property
    def total(self) -> int | None:
        """The largest possible number of entries; none while it is unknown."""
        return self.entries.total

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        """Read from the beginning."""
        for entry in self.entries:
            if isinstance(entry, HistoryEntry):
                self.number += 1
                if not self._since <= entry.event.time <= self._until:
                    continue
                self.first = self.first or entry.event.time
                self._on_event(entry.event)
            self.count += 1
            yield entry


class LogWindow:
    """The log records of a span of event time. Unreadable records are passed on, because they become dead letters.

    Attributes:
        count: how many records were passed on.
        first: the earliest time of an event or tick that was passed on; 0 before that.
        total: the largest possible number of records.
    """

    def __init__(
        self,
        log: KafkaTopic,
        since: float | None,
        until: float | None,
        on_event: Callable[[ev.AnyEvent], None] | None = None,
    ) -> None:
        self.count = 0
        self.first = 0.0
        self.total = log.total
        self._log = log
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._on_event = on_event or (lambda event: None)

    def __iter__(self) -> Iterator[StoredRecord]:
        """Read from the beginning."""
        for record in self._log.records():
            event = _event(record.value)
            if event is not None:
                if not self._since <= event.time <= self._until:
                    continue
                self.first = min(self.first or event.time, event.time)
                self._on_event(event)
            self.count += 1
            yield record


def _event(value: bytes | None) -> ev.AnyEvent | None:
    try:
        return event_codec.decode(value or b"")
    except InvalidEvent:
        return None


def with_progress(window: SizedEntries[Item], console: Console) -> Iterator[Item]:
    """Yield entries under a progress bar. Without a terminal, print a line after each million entries."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        for number, entry in enumerate(window):
            if number % 10_000 == 0:
                bar.update(task, description=f"{number:,} events", total=window.total, completed=number)
                if number and number % 1_000_000 == 0 and not console.is_terminal:
                    console.print(f"{number:,} of {window.total or 0:,} events")
            yield entry


def _page(summary: Summary, collector: ReplayCollector, settings: Settings, sources: Sequence[str]) -> str:
    return page(summary, collector, settings.rules(), ", ".join(sources), settings.challenger)


def _write_report(file: Path, report: str) -> None:
    try:
        file.write_bytes(report.encode())
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None


def _save_model(file: Path, learner: ChurnLearner) -> None:
    if not learner.labels:
        raise OperatorError(f"{file}: the model has learned nothing, so it is not saved")
    try:
        file.write_bytes(encode_snapshot(learner.snapshot()))
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
