"""The command `evaluate`: finds the data sets, shows the progress, and prints results as a table or as JSON."""

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
from streams.evaluation.churn import ALL_TASKS, SAMPLE, TASKS, ChurnResult, ChurnTask, evaluate

LOWER_IS_BETTER = {"log_loss", "ece"}


def run(
    data: Path | None, names: tuple[str, ...], user_share: float | None, as_json: bool, only: str | None = None
) -> None:
    """Evaluate on the data sets of a folder, or on the sample if there is none. Missing data sets are reported.

    Drift is evaluated only on request, on simulated platforms.

    Args:
        data: the folder.
        names: the data sets to use; all if empty.
        user_share: the share of users whose churn is evaluated; each task's default if left out.
        as_json: print one object per line and no tables.
        only: `churn`, `recommendations` or `drift`; the first two if left out.

    Raises:
        OperatorError: no data set was found, or one cannot be read.
    """
    console = Console(stderr=True)
    if only == "drift":
        if data is not None or names or user_share is not None:
            raise OperatorError("--only drift uses simulated platforms: --data, --dataset and --people do not apply")
        _evaluate_drift(as_json, console)
        return
    _check_options(data, names)
    tasks = _churn_tasks(data, names, console) if only != "recommendations" else []
    histories = _histories(data, names, console) if only != "churn" else []
    if not tasks and not histories:
        raise OperatorError(f"{data or '--data'}: none of the data sets was found")
    if tasks:
        _evaluate_churn(tasks, data, user_share, as_json, console)
    for task, path in histories:
        _evaluate_recommendations(task, path, as_json, console)


def _evaluate_churn(
    tasks: list[ChurnTask], data: Path | None, user_share: float | None, as_json: bool, console: Console
) -> None:
    results: list[ChurnResult] = []
    with _progress(console) as progress:
        for task in tasks:
            found = evaluate(task, data or Path(), user_share, progress)
            if not found:
                console.print(f"{task.dataset}: too few labels to measure anything")
            for result in found if as_json else ():
                click.echo(msgspec.json.encode(result))
            results += found
    if not as_json:
        screen = Console()
        screen.print(table(results), "\n".join(details(results)), sep="\n")


def _evaluate_drift(as_json: bool, console: Console) -> None:
    results: list[drift.DriftResult] = []
    with _progress(console) as progress:
        for result in drift.evaluate(drift.SEEDS, drift.DRIFTS, drift.SIZE, progress):
            results.append(result)
            if as_json:
                click.echo(msgspec.json.encode(result))
    if not as_json:
        Console().print(drift_table.table(results))


def _evaluate_recommendations(
    task: recommendation_data.RecommendationTask, path: Path, as_json: bool, console: Console
) -> None:
    with _progress(console) as progress:
        progress(f"{task.dataset}: reading")
        history = recommendation_data.load_history(task, path)
        for protocol in task.protocols:
            found = list(recommendations.evaluate(task, history, protocol, progress))
            for result in found if as_json else ():
                click.echo(msgspec.json.encode(result))
            if not as_json:
                Console().print(recommendation_table.table(found))


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show progress texts and the elapsed time on a terminal."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        line = progress.add_task("")
        yield lambda words: progress.update(line, description=words)


def table(results: list[ChurnResult]) -> Table:
    """Return the figures as a table: the model and its baselines."""
    shown_table = Table(title="Churn, scored before the label was known", caption=CAPTION)
    for column in ("data set", "protocol", "metric"):
        shown_table.add_column(column)
    for column in ("model", "recency", "logistic", "boosting weekly", "rows"):
        shown_table.add_column(column, justify="right")
    before: tuple[str, ...] = ()
    for result in results:
        task_and_protocol = (f"{result.dataset}: {result.task}", result.protocol)
        if before and task_and_protocol != before:
            shown_table.add_section()
        first = task_and_protocol if task_and_protocol != before else ("", "")
        before = task_and_protocol
        others = (result.recency, result.reference, result.gradient_boosting)
        sign = -1 if result.metric in LOWER_IS_BETTER else 1
        best = all(sign * (result.value - other) >= -0.001 for other in others)
        value = f"[bold green]{result.value:.4f}[/]" if best else f"{result.value:.4f}"
        cells = (value, *(f"{other:.4f}" for other in others), f"{result.rows:,}")
        shown_table.add_row(*first, result.metric, *cells)
    return shown_table


CAPTION = "green: at least as good as all baselines, within .001"


def details(results: list[ChurnResult]) -> list[str]:
    """Return one line for each data set and protocol: what was measured, and the fits of gradient boosting."""
    lines = []
    for (dataset, protocol), found in groupby(results, lambda result: (result.dataset, result.protocol)):
        one = next(found)
        users = "all users" if one.people == 1 else f"{one.people:.0%} of the users, by the hash of their id"
        lines.append(
            f"{dataset}, {protocol}: {one.rows:,} rows of {users}, {one.churned:.0%} churned, {one.weeks} full weeks; "
            f"boosting fitted {one.fits} times, to {one.largest_fit:,} rows at most"
        )
    return lines


def _check_options(data: Path | None, names: tuple[str, ...]) -> None:
    known = list(dict.fromkeys(task.dataset for task in (*ALL_TASKS, *recommendation_data.TASKS)))
    if unknown := set(names) - set(known):
        raise OperatorError(f"no such data set: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if data is None and set(names) - {SAMPLE.dataset}:
        raise OperatorError(f"--data: give the folder of {', '.join(names)}")
    if data is not None and not data.is_dir():
        raise OperatorError(f"{data}: no such folder")


def _churn_tasks(data: Path | None, names: tuple[str, ...], console: Console) -> list[ChurnTask]:
    if data is None:
        return [SAMPLE]
    found = []
    for task in ALL_TASKS if SAMPLE.dataset in names else TASKS:
        if names and task.dataset not in names:
            continue
        if task is SAMPLE or (data / task.dataset).is_dir():
            found.append(task)
        elif task.dataset == "cdnow" and (packaged := _cdnow_in_lifetimes()):
            console.print(f"{task.dataset}: there is no {data / task.dataset}; using {packaged}")
            found.append(replace(task, source=f"cdnow:{packaged}"))
        else:
            console.print(f"{task.dataset}: skipped, there is no {data / task.dataset}")
    return found


def _histories(
    data: Path | None, names: tuple[str, ...], console: Console
) -> list[tuple[recommendation_data.RecommendationTask, Path]]:
    if data is None:
        console.print("recommendations: skipped, they need data sets (--data)")
        return []
    found = []
    for task in recommendation_data.TASKS:
        if names and task.dataset not in names:
            continue
        if path := task.path(data):
            found.append((task, path))
        else:
            console.print(f"{task.dataset}, the next {task.question}: skipped, there is no {data / task.file}")
    return found


def _cdnow_in_lifetimes() -> Path | None:
    """Return the CDNOW file in the package `lifetimes`, if that is installed."""
    package = find_spec("lifetimes")
    folders = package.submodule_search_locations if package is not None else None
    files = [Path(folder) / "datasets" / "CDNOW_master.txt" for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)
