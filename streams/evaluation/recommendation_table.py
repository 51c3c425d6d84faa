"""The results for recommendations as a table: one row per method, one column per metric."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from streams.evaluation.recommendations import RecommendationResult

PROTOCOLS = {"R": "courses may repeat", "N": "only courses new to the user"}


def table(results: Sequence[RecommendationResult]) -> Table:
    """Return the figures of one task under one protocol."""
    first = results[0]
    metrics = list(dict.fromkeys(result.metric for result in results))
    shown = Table(title=f"{first.dataset}, the next {first.task}; {first.protocol}: {PROTOCOLS[first.protocol]}")
    shown.add_column("method")
    for column in (*metrics, "tests"):
        shown.add_column(column, justify="right")
    for method in dict.fromkeys(result.method for result in results):
        by = {result.metric: result for result in results if result.method == method}
        cells = (f"{by[metric].value:.4f}" for metric in metrics)
        shown.add_row(method, *cells, f"{by[metrics[0]].rows:,}")
    return shown
