"""The results under drift as a table: the cost of waiting for labels, and the share that is recovered."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from streams.evaluation.drift import MIN_GAP, DriftResult

CAPTION = (
    f"recovered: the share of the gap between labels alone and the oracle, for gaps of at least {MIN_GAP}; "
    "seeds: lowest to highest share"
)
GOOD_RECOVERY = 0.5


def table(results: Sequence[DriftResult]) -> Table:
    """Return the figures, with one section per drift."""
    shown = Table(title="Churn under drift, scored before the label was known", caption=CAPTION)
    for column in ("drift", "rows scored in", "metric"):
        shown.add_column(column)
    for column in ("labels alone", "live", "oracle", "gap", "remaining gap", "recovered", "seeds", "rows"):
        shown.add_column(column, justify="right")
    drift = ""
    for result in results:
        before, (drift, span) = drift, result.protocol.split(": ")
        if before and before != drift:
            shown.add_section()
        shown.add_row(drift if before != drift else "", span, *_cells(result))
    return shown


def _cells(result: DriftResult) -> tuple[str, ...]:
    figures = (f"{figure:.4f}" for figure in (result.labels_alone, result.value, result.oracle, result.gap))
    remaining = result.value - result.oracle if result.metric == "log_loss" else result.oracle - result.value
    recovered = seeds = "-"
    if result.recovered is not None and result.least is not None and result.most is not None:
        recovered = f"{result.recovered:.0%}"
        recovered = f"[bold green]{recovered}[/]" if result.recovered >= GOOD_RECOVERY else recovered
        seeds = f"{result.least:.0%} to {result.most:.0%}"
    return (result.metric, *figures, f"{remaining:.4f}", recovered, seeds, f"{result.rows:,}")
