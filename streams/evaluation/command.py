"""The command `evaluate`: which data sets are there, how far it is, and what came out, as a table or as JSON."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from streams.errors import OperatorError
from streams.evaluation.churn import EVERY, SAMPLE, TASKS, Result, Task, evaluate

BETTER_LOW = {"log_loss", "ece"}


def run(data: Path | None, names: tuple[str, ...], people: float | None, as_json: bool) -> None:
    """Measure on the data sets of a folder, or on the sample without one; those that are not there are said.

    Raises:
        OperatorError: nothing is there to measure on, or a data set cannot be read.
    """
    console = Console(stderr=True)
    tasks = _there(data, names, console)
    results: list[Result] = []
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        line = progress.add_task("")
        for task in tasks:
            found = evaluate(task, data or Path(), people, lambda words: progress.update(line, description=words))
            if not found:
                console.print(f"{task.dataset}: too few labels to measure anything")
            for result in found if as_json else ():
                click.echo(msgspec.json.encode(result))
            results += found
    if not as_json:
        screen = Console()
        screen.print(table(results), "\n".join(given(results)), sep="\n")


def table(results: list[Result]) -> Table:
    """Return the figures as a table: the model, and beside it what it has to beat."""
    shown = Table(title="Churn, scored before the label was known", caption=CAPTION)
    for column in ("data set", "protocol", "figure"):
        shown.add_column(column)
    for column in ("model", "recency", "logistic", "boosting weekly", "rows"):
        shown.add_column(column, justify="right")
    before: tuple[str, ...] = ()
    for result in results:
        about = (f"{result.dataset}: {result.task}", result.protocol)
        if before and about != before:
            shown.add_section()
        first = about if about != before else ("", "")
        before = about
        others = (result.recency, result.reference, result.gradient_boosting)
        sign = -1 if result.metric in BETTER_LOW else 1
        best = all(sign * (result.value - other) >= -0.001 for other in others)
        value = f"[bold green]{result.value:.4f}[/]" if best else f"{result.value:.4f}"
        cells = (value, *(f"{other:.4f}" for other in others), f"{result.rows:,}")
        shown.add_row(*first, result.metric, *cells)
    return shown


CAPTION = "green: level with or better than all the others, to .001"


def given(results: list[Result]) -> list[str]:
    """Say of each data set and protocol what was measured and what gradient boosting was given, a line each."""
    lines = []
    for (dataset, protocol), found in groupby(results, lambda result: (result.dataset, result.protocol)):
        one = next(found)
        whose = "all people" if one.people == 1 else f"{one.people:.0%} of the people, by the hash of their id"
        lines.append(
            f"{dataset}, {protocol}: {one.rows:,} rows of {whose}, {one.churned:.0%} churned, {one.weeks} full weeks; "
            f"boosting fitted {one.fits} times, to {one.largest_fit:,} rows at most"
        )
    return lines


def _there(data: Path | None, names: tuple[str, ...], console: Console) -> list[Task]:
    unknown = set(names) - {task.dataset for task in EVERY}
    if unknown:
        known = ", ".join(task.dataset for task in EVERY)
        raise OperatorError(f"no such data set: {', '.join(sorted(unknown))}; there are {known}")
    if data is None:
        if set(names) - {SAMPLE.dataset}:
            raise OperatorError(f"--data: say where {', '.join(names)} is")
        return [SAMPLE]
    if not data.is_dir():
        raise OperatorError(f"{data}: no such folder")
    found = []
    for task in EVERY if SAMPLE.dataset in names else TASKS:
        if names and task.dataset not in names:
            continue
        if task is SAMPLE or (data / task.dataset).is_dir():
            found.append(task)
        elif task.dataset == "cdnow" and (packed := _packed()):
            console.print(f"{task.dataset}: there is no {data / task.dataset}; it is taken from {packed}")
            found.append(replace(task, source=f"cdnow:{packed}"))
        else:
            console.print(f"{task.dataset}: skipped, there is no {data / task.dataset}")
    if not found:
        raise OperatorError(f"{data}: none of the data sets is there")
    return found


def _packed() -> Path | None:
    """Return CDNOW as the package `lifetimes` carries it, if that is installed."""
    package = find_spec("lifetimes")
    places = package.submodule_search_locations if package is not None else None
    files = [Path(place) / "datasets" / "CDNOW_master.txt" for place in places or ()]
    return next((file for file in files if file.is_file()), None)
