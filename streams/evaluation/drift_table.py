"""What was measured of changing worlds, as a table: the cost of waiting for labels, and how much is made up for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from streams.evaluation.drift import WORTH, DriftResult

CAPTION = f"recovered: of the gap between labels alone and the oracle; of none below {WORTH}. Seeds: least to most"
HALF = 0.5


def table(results: Sequence[DriftResult]) -> Table:
    """Return the figures, a section for each world."""
    shown = Table(title="Churn where the world changes, scored before the label was known", caption=CAPTION)
    for column in ("world", "rows scored in", "figure"):
        shown.add_column(column)
    for column in ("labels alone", "live", "oracle", "gap", "left of it", "recovered", "seeds", "rows"):
        shown.add_column(column, justify="right")
    world = ""
    for result in results:
        before, (world, span) = world, result.protocol.split(": ")
        if before and before != world:
            shown.add_section()
        shown.add_row(world if before != world else "", span, *_cells(result))
    return shown


def _cells(result: DriftResult) -> tuple[str, ...]:
    figures = (f"{figure:.4f}" for figure in (result.labels_alone, result.value, result.oracle, result.gap))
    left = result.value - result.oracle if result.metric == "log_loss" else result.oracle - result.value
    recovered = seeds = "-"
    if result.recovered is not None and result.least is not None and result.most is not None:
        recovered = f"{result.recovered:.0%}"
        recovered = f"[bold green]{recovered}[/]" if result.recovered >= HALF else recovered
        seeds = f"{result.least:.0%} to {result.most:.0%}"
    return (result.metric, *figures, f"{left:.4f}", recovered, seeds, f"{result.rows:,}")
