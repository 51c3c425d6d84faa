"""History in by one command: sources are opened, played through a replay, and given account of."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from models import churn
from models import events as ev
from models.churn import BadSnapshot, Learner
from streams import campaigns
from streams.admin import OperatorError
from streams.clock import monotonic
from streams.replay import Replay
from streams.replayed import Account, Files
from streams.report.page import page
from streams.settings import Settings
from streams.sources import Entry, Unusable, open_source
from streams.sources.order import Ordered, ordered
from streams.summary import Summary, summarised
from streams.yardsticks import boosted

REPORT = "index.html"
"""What is left of a replay for people to read, beside the files for programs."""
MOST_COMPARED = 400_000
"""Labelled rows that gradient boosting is fitted to and scores; of more, those of a part of the people."""


class Wanted(NamedTuple):
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


def replay(settings: Settings, wanted: Wanted, console: Console) -> tuple[Summary, Account]:
    """Play history without Kafka.

    Raises:
        OperatorError: something that was named cannot be used; the message says what and why.
    """
    return asyncio.run(_replay(settings, wanted, console))


async def _replay(settings: Settings, wanted: Wanted, console: Console) -> tuple[Summary, Account]:
    sources = [open_source(spec, settings, wanted.mapping) for spec in wanted.sources]
    learner = _learner(wanted.model)
    begun = monotonic()
    with Files(wanted.out) as files:
        account = Account(files, settings.rules(), most_rows=MOST_COMPARED if wanted.out is not None else 0)
        played = Replay(
            settings,
            account.heard,
            learner=None if wanted.frozen else learner,
            model=churn.scorer(learner.snapshot()) if wanted.model else None,
            campaign=campaigns.read(wanted.campaign) if wanted.campaign else None,
            names=tuple(source.name for source in sources),
        )
        # A file is no log: its last people may be hours or days apart without anything being wrong with them.
        history = ordered(sources, max(settings.skew, settings.horizon))
        entries = Window(history, wanted.since, wanted.until, account.crowd.saw)
        await played.play(_shown(entries, console), wanted.until)
    if wanted.save_model is not None:
        _saved(wanted.save_model, learner)
    span = (entries.first, played.fold.clock.now)
    seconds = monotonic() - begun
    if wanted.out is not None and find_spec("sklearn") is not None:
        console.print("gradient boosting on the same rows, week by week")
        _compared(account, settings.labels_needed)
    people = len(played.people)
    summary = summarised(account, played.metrics, entries=entries.count, people=people, span=span, seconds=seconds)
    if wanted.out is not None:
        _reported(wanted.out / REPORT, page(summary, account, settings.rules(), ", ".join(wanted.sources)))
    return summary, account


class Window:
    """The entries of a span of event time, from `since` up to and including `until`, counted and told as they pass."""

    def __init__(
        self, entries: Ordered, since: float | None, until: float | None, told: Callable[[ev.AnyEvent], None]
    ) -> None:
        self.count = 0
        self.first = 0.0
        self.entries = entries
        self._since = float("-inf") if since is None else since
        self._until = float("inf") if until is None else until
        self._told = told

    def __iter__(self) -> Iterator[Entry | Unusable]:
        """Read from the beginning."""
        for entry in self.entries:
            if isinstance(entry, Entry):
                if not self._since <= entry.event.time <= self._until:
                    continue
                self.first = self.first or entry.event.time
                self._told(entry.event)
            self.count += 1
            yield entry


def _shown(window: Window, console: Console) -> Iterator[Entry | Unusable]:
    """Pass entries on under a progress bar; without a terminal, a line now and then."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        for number, entry in enumerate(window):
            if number % 10_000 == 0:
                bar.update(task, description=f"{number:,} events", total=window.entries.total, completed=number)
                if number and number % 1_000_000 == 0 and not console.is_terminal:
                    console.print(f"{number:,} of {window.entries.total or 0:,} events")
            yield entry


def _compared(account: Account, least: int) -> None:
    """Have gradient boosting score what the model scored, in one thread: several wait for each other on a busy machine
    so that a fit takes a hundred times as long.
    """
    importlib.import_module("sklearn.ensemble")  # only of what is loaded the threads can be limited
    with importlib.import_module("threadpoolctl").threadpool_limits(1):
        account.matured.compare(partial(boosted, least=least))


def _reported(file: Path, report: str) -> None:
    try:
        file.write_bytes(report.encode())
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None


def _learner(file: Path | None) -> Learner:
    if file is None:
        return Learner()
    try:
        return Learner.restore(churn.opened(file.read_bytes()))
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
    except BadSnapshot as bad:
        raise OperatorError(f"{file}: {bad}") from None


def _saved(file: Path, learner: Learner) -> None:
    if not learner.labels:
        raise OperatorError(f"{file}: nothing was learned, so there is no model to save")
    try:
        file.write_bytes(churn.sealed(learner.snapshot()))
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
