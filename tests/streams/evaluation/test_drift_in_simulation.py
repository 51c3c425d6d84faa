"""A changed world is made up for before labels can tell of it: by half at least, of what waiting for them costs."""

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
    SPANS,
    WORTH,
    DriftResult,
    DriftSize,
    PlayedPlatform,
    evaluate,
    measured,
    oracle,
    played_platform,
)
from streams.evaluation.drift_table import table
from streams.history.simulation.drift import drift

SMALL = DriftSize(learners=500)
STRONG = 8.0
"""Five hundred people give few signs: so that a single such platform shows it, the change is greater than usual."""


@pytest.fixture(scope="module")
def results() -> list[DriftResult]:
    """One platform on which people leave sooner."""
    rows = played_platform(21, drift("hazard", SMALL.changes, STRONG), SMALL)
    return list(measured("hazard", SMALL, [(rows, oracle(rows))]))


def test_half_of_what_waiting_costs_is_recovered_within_the_horizon(results: list[DriftResult]) -> None:
    """And nothing is lost for it while the world stays as it is."""
    by = {(result.protocol, result.metric): result for result in results}
    change = by["hazard: last quarter of the horizon", "log_loss"]
    assert change.gap > WORTH
    assert change.recovered is not None
    assert change.recovered >= 0.5
    assert change.value - change.oracle <= 0.5 * (change.labels_alone - change.oracle)
    before = by["hazard: two horizons before", "log_loss"]
    assert before.value < before.labels_alone + 0.001
    after = by["hazard: second horizon", "log_loss"]
    assert after.value < after.labels_alone


def test_every_figure_is_there(results: list[DriftResult]) -> None:
    """Both measures in every span, of as many rows; and no part is stated of a gap that is none."""
    assert [(result.protocol, result.metric) for result in results] == [
        (f"hazard: {span.name}", metric) for span in SPANS for metric in ("log_loss", "roc_auc")
    ]
    rows = {result.protocol.split(": ")[1]: result.rows for result in results}
    assert 3.5 < rows["first horizon"] / rows["last quarter of the horizon"] < 4.5
    for result in results:
        gap = (result.labels_alone - result.oracle) * (1 if result.metric == "log_loss" else -1)
        assert result.gap == pytest.approx(gap, abs=2e-5)
        assert (result.recovered is None) == (result.least is None) == (result.gap < WORTH)


def test_the_oracle_knows_labels_at_once_and_none_before_its_time() -> None:
    """A label changes the scores of rows scored after its own, and of none before."""
    dice = np.random.default_rng(1)
    times = 100 * DAY + np.sort(dice.uniform(0, 20 * DAY, 3_000))
    rows = dice.normal(size=(3_000, len(features.NAMES))).astype(np.float32)
    late = times > 110 * DAY
    weights = np.where(late, -1.0, 1.0)
    churned = rows[:, 5] * weights > 0
    half = np.full(3_000, 0.5)
    told, other = (
        PlayedPlatform(rows, labels, times, dice.uniform(size=3_000), half, half)
        for labels in (churned, churned ^ late)
    )
    said, unchanged = oracle(told), oracle(other._replace(places=told.places))
    begun = ~np.isnan(said)
    assert begun[times > 101 * DAY].all()
    assert (said[begun & ~late] == unchanged[begun & ~late]).all()
    assert (said[late][100:] != unchanged[late][100:]).any()
    agrees = (said > 0.5) == churned
    assert agrees[(times > 108 * DAY) & ~late].mean() > 0.75
    assert agrees[times > 118 * DAY].mean() > agrees[late][:150].mean()


def test_a_part_recovered_stands_in_the_table(results: list[DriftResult]) -> None:
    """A row a figure; half and more is marked."""
    shown = table(results)
    assert shown.row_count == len(results)
    recovered = dict(zip(((r.protocol, r.metric) for r in results), shown.columns[8].cells, strict=True))
    assert "green" in str(recovered["hazard: last quarter of the horizon", "log_loss"])
    assert [cell == "-" for cell in shown.columns[8].cells] == [result.recovered is None for result in results]


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second time, everything comes out the same."""
    tiny = DriftSize(learners=120)
    monkeypatch.setattr(evaluation, "SEEDS", (1,))
    monkeypatch.setattr(evaluation, "WORLDS", ("season",))
    monkeypatch.setattr(evaluation, "SIZE", tiny)
    said = CliRunner().invoke(cli, ["evaluate", "--only", "drift", "--json"])
    assert said.exit_code == 0
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert lines == [msgspec.to_builtins(result) for result in evaluate((1,), ("season",), tiny)]
    assert lines[0].keys() >= {"dataset", "task", "protocol", "metric", "value", "labels_alone", "oracle", "recovered"}


@pytest.mark.parametrize("names", [("oulad",), ()])
def test_data_sets_do_not_change_their_world(names: tuple[str, ...]) -> None:
    """Where one is named beside, that is said."""
    with pytest.raises(OperatorError, match="simulated"):
        run(None, names, None if names else 0.5, False, "drift")
