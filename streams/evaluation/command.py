"""The command `evaluate`: which data sets are there, how far it is, and what came out, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from streams.evaluation import drift, drift_table, recommendation_data, recommendation_table, recommendations
from streams.evaluation.churn import EVERY, SAMPLE, TASKS, ChurnResult, ChurnTask, evaluate

BETTER_LOW = {"log_loss", "ece"}


def run(
    data: Path | None, names: tuple[str, ...], people: float | None, as_json: bool, only: str | None = None
) -> None:
    """Measure on the data sets of a folder, or on the sample without one; those that are not there are said.

    What happens when the world changes needs another world: that is measured on simulated platforms, if it is asked.

    Args:
        data: the folder.
        names: the data sets that are wanted, of all if none is named.
        people: the share of people whose churn is asked for; each task's own if left out.
        as_json: one object a line instead of tables.
        only: `churn`, `taste` or `drift`; the first two if left out.

    Raises:
        OperatorError: nothing is there to measure on, or a data set cannot be read.
    """
    console = Console(stderr=True)
    if only == "drift":
        if data is not None or names or people is not None:
            raise OperatorError("--only drift: it is measured on simulated platforms, not on data sets")
        _drift(as_json, console)
        return
    _check(data, names)
    tasks = _there(data, names, console) if only != "taste" else []
    histories = _histories(data, names, console) if only != "churn" else []
    if not tasks and not histories:
        raise OperatorError(f"{data or '--data'}: none of the data sets is there")
    if tasks:
        _churn(tasks, data, people, as_json, console)
    for task, path in histories:
        _taste(task, path, as_json, console)


def _churn(tasks: list[ChurnTask], data: Path | None, people: float | None, as_json: bool, console: Console) -> None:
    results: list[ChurnResult] = []
    with _progress(console) as told:
        for task in tasks:
            found = evaluate(task, data or Path(), people, told)
            if not found:
                console.print(f"{task.dataset}: too few labels to measure anything")
            for result in found if as_json else ():
                click.echo(msgspec.json.encode(result))
            results += found
    if not as_json:
        screen = Console()
        screen.print(table(results), "\n".join(given(results)), sep="\n")


def _drift(as_json: bool, console: Console) -> None:
    results: list[drift.DriftResult] = []
    with _progress(console) as told:
        for result in drift.evaluate(drift.SEEDS, drift.WORLDS, drift.SIZE, told):
            results.append(result)
            if as_json:
                click.echo(msgspec.json.encode(result))
    if not as_json:
        Console().print(drift_table.table(results))


def _taste(task: recommendation_data.RecommendationTask, path: Path, as_json: bool, console: Console) -> None:
    with _progress(console) as told:
        told(f"{task.dataset}: reading")
        history = recommendation_data.opened(task, path)
        for protocol in task.protocols:
            found = list(recommendations.measured(task, history, protocol, told))
            for result in found if as_json else ():
                click.echo(msgspec.json.encode(result))
            if not as_json:
                Console().print(recommendation_table.table(found))


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show what is told and how long it has taken, where somebody looks on."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        line = progress.add_task("")
        yield lambda words: progress.update(line, description=words)


def table(results: list[ChurnResult]) -> Table:
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


def given(results: list[ChurnResult]) -> list[str]:
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


def _check(data: Path | None, names: tuple[str, ...]) -> None:
    known = list(dict.fromkeys(task.dataset for task in (*EVERY, *recommendation_data.TASKS)))
    if unknown := set(names) - set(known):
        raise OperatorError(f"no such data set: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if data is None and set(names) - {SAMPLE.dataset}:
        raise OperatorError(f"--data: say where {', '.join(names)} is")
    if data is not None and not data.is_dir():
        raise OperatorError(f"{data}: no such folder")


def _there(data: Path | None, names: tuple[str, ...], console: Console) -> list[ChurnTask]:
    if data is None:
        return [SAMPLE]
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
    return found


def _histories(
    data: Path | None, names: tuple[str, ...], console: Console
) -> list[tuple[recommendation_data.RecommendationTask, Path]]:
    if data is None:
        console.print("recommendations: skipped, they are measured on data sets of --data")
        return []
    found = []
    for task in recommendation_data.TASKS:
        if names and task.dataset not in names:
            continue
        if path := task.path(data):
            found.append((task, path))
        else:
            console.print(f"{task.dataset}, the next {task.asked}: skipped, there is no {data / task.file}")
    return found


def _packed() -> Path | None:
    """Return CDNOW as the package `lifetimes` carries it, if that is installed."""
    package = find_spec("lifetimes")
    places = package.submodule_search_locations if package is not None else None
    files = [Path(place) / "datasets" / "CDNOW_master.txt" for place in places or ()]
    return next((file for file in files if file.is_file()), None)
