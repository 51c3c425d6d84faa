"""Under drift, the live model recovers at least half of the cost of waiting for labels."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from models.person import features
from models.person.activity import DAY
from streams.__main__ import cli
from streams.errors import OperatorError
from streams.evaluation import drift as evaluation
from streams.evaluation.command import run
from streams.evaluation.drift import (
    MIN_GAP,
    SPANS,
    DriftResult,
    DriftSize,
    PlayedPlatform,
    compare,
    evaluate,
    oracle,
    played_platform,
)
from streams.evaluation.drift_table import table
from streams.history.simulation.drift import drift

SMALL = DriftSize(learners=500)
STRONG = 8.0
"""Five hundred users give few early signals, so the drift is stronger than usual."""


@pytest.fixture(scope="module")
def results() -> list[DriftResult]:
    """The results of one platform on which users leave sooner."""
    rows = played_platform(21, drift("hazard", SMALL.drift_time, STRONG), SMALL)
    return list(compare("hazard", SMALL, [(rows, oracle(rows))]))


def test_half_of_the_cost_of_waiting_is_recovered_within_the_horizon(results: list[DriftResult]) -> None:
    """Without drift, nothing is lost."""
    by = {(result.protocol, result.metric): result for result in results}
    change = by["hazard: last quarter of the horizon", "log_loss"]
    assert change.gap > MIN_GAP
    assert change.recovered is not None
    assert change.recovered >= 0.5
    assert change.value - change.oracle <= 0.5 * (change.labels_alone - change.oracle)
    before = by["hazard: two horizons before", "log_loss"]
    assert before.value < before.labels_alone + 0.001
    after = by["hazard: second horizon", "log_loss"]
    assert after.value < after.labels_alone


def test_all_figures_exist(results: list[DriftResult]) -> None:
    """Both measures in every span, of the same rows; a gap that is too small has no recovered share."""
    assert [(result.protocol, result.metric) for result in results] == [
        (f"hazard: {span.name}", metric) for span in SPANS for metric in ("log_loss", "roc_auc")
    ]
    rows = {result.protocol.split(": ")[1]: result.rows for result in results}
    assert 3.5 < rows["first horizon"] / rows["last quarter of the horizon"] < 4.5
    for result in results:
        gap = (result.labels_alone - result.oracle) * (1 if result.metric == "log_loss" else -1)
        assert result.gap == pytest.approx(gap, abs=2e-5)
        assert (result.recovered is None) == (result.least is None) == (result.gap < MIN_GAP)


def test_the_oracle_gets_labels_at_once_and_none_too_early() -> None:
    """A label changes only the scores of rows after its own."""
    rng = np.random.default_rng(1)
    times = 100 * DAY + np.sort(rng.uniform(0, 20 * DAY, 3_000))
    rows = rng.normal(size=(3_000, len(features.NAMES))).astype(np.float32)
    late = times > 110 * DAY
    weights = np.where(late, -1.0, 1.0)
    churned = rows[:, 5] * weights > 0
    half = np.full(3_000, 0.5)
    platform, other = (
        PlayedPlatform(rows, labels, times, rng.uniform(size=3_000), half, half) for labels in (churned, churned ^ late)
    )
    scores, unchanged = oracle(platform), oracle(other._replace(hash_shares=platform.hash_shares))
    scored = ~np.isnan(scores)
    assert scored[times > 101 * DAY].all()
    assert (scores[scored & ~late] == unchanged[scored & ~late]).all()
    assert (scores[late][100:] != unchanged[late][100:]).any()
    agrees = (scores > 0.5) == churned
    assert agrees[(times > 108 * DAY) & ~late].mean() > 0.75
    assert agrees[times > 118 * DAY].mean() > agrees[late][:150].mean()


def test_the_table_shows_the_recovered_share(results: list[DriftResult]) -> None:
    """One row per figure; shares of at least half are marked."""
    shown = table(results)
    assert shown.row_count == len(results)
    recovered = dict(zip(((r.protocol, r.metric) for r in results), shown.columns[8].cells, strict=True))
    assert "green" in str(recovered["hazard: last quarter of the horizon", "log_loss"])
    assert [cell == "-" for cell in shown.columns[8].cells] == [result.recovered is None for result in results]


def test_json_is_one_object_per_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run gives the same results."""
    tiny = DriftSize(learners=120)
    monkeypatch.setattr(evaluation, "SEEDS", (1,))
    monkeypatch.setattr(evaluation, "DRIFTS", ("season",))
    monkeypatch.setattr(evaluation, "SIZE", tiny)
    scores = CliRunner().invoke(cli, ["evaluate", "--only", "drift", "--json"])
    assert scores.exit_code == 0
    lines = [json.loads(line) for line in scores.stdout.splitlines()]
    assert lines == [msgspec.to_builtins(result) for result in evaluate((1,), ("season",), tiny)]
    assert lines[0].keys() >= {"dataset", "task", "protocol", "metric", "value", "labels_alone", "oracle", "recovered"}


@pytest.mark.parametrize("names", [("oulad",), ()])
def test_drift_cannot_be_combined_with_data_sets(names: tuple[str, ...]) -> None:
    """The error names the reason."""
    with pytest.raises(OperatorError, match="simulated"):
        run(None, names, None if names else 0.5, False, "drift")
