"""The evaluation of churn: the same rows for all models, no label before its time, and complete results."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from models.churn.learner import logistic_pipeline
from models.person import features
from streams.__main__ import cli
from streams.errors import OperatorError
from streams.evaluation import churn as evaluation
from streams.evaluation.churn import MEASURES, PROTOCOLS, SAMPLE, WEEKLY, ChurnTask, evaluate
from streams.evaluation.churn_scores import SampledSource
from streams.evaluation.command import details, run, table
from streams.history.sources import open_source
from streams.report.baselines import Boosting, score_online, weeks_of

pytest.importorskip("sklearn", reason="scikit-learn is not installed: there is nothing to compare with")

DAY = 86_400.0


def make_purchases(people: int = 60, days: int = 190, seed: int = 3) -> list[str]:
    """Return lines in CDNOW's layout: every user buys at an individual rate, and a third of them stops at some time."""
    rng, lines = random.Random(seed), []
    for number in range(people):
        pace, day = rng.choice([2, 5, 12, 30]), rng.randrange(60)
        end = rng.randrange(90, days) if number % 3 == 0 else days
        while day < end:
            moment = np.datetime64("2001-01-01") + np.timedelta64(day, "D")
            lines.append(f" {number:05d} {str(moment).replace('-', '')} 1 {rng.uniform(5, 50):.2f}")
            day += max(1, round(rng.expovariate(1 / pace)))
    return sorted(lines, key=lambda line: line.split()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets that contains only CDNOW."""
    data = tmp_path_factory.mktemp("data")
    (data / "cdnow").mkdir()
    (data / "cdnow" / "CDNOW_master.txt").write_text("\n".join(make_purchases()) + "\n")
    return data


TASK = ChurnTask("cdnow", "cdnow:{}/cdnow", "no purchase in 14 days", 14, ("purchase",))


@pytest.fixture(scope="module")
def results(folder: Path) -> list[evaluation.ChurnResult]:
    return evaluate(TASK, folder)


def test_all_figures_exist_for_the_same_rows(results: list[evaluation.ChurnResult]) -> None:
    """All measures pooled, two of them by week; the protocol for all users has more rows than the look-back."""
    found = {(result.protocol, result.metric) for result in results}
    expected = {(f"{protocol.name}, pooled", metric) for protocol in PROTOCOLS for metric in MEASURES}
    expected |= {(f"{protocol.name}, mean of weeks", metric) for protocol in PROTOCOLS for metric in WEEKLY}
    assert found == expected
    rows = {protocol.name: {r.rows for r in results if r.protocol.startswith(protocol.name)} for protocol in PROTOCOLS}
    (everybody,), (within_lookback,) = rows.values()
    assert everybody > within_lookback > 500


def test_the_model_beats_recency_if_users_have_different_rates(results: list[evaluation.ChurnResult]) -> None:
    """The time since the last activity alone says little if every user has an individual rate."""
    by = {(result.protocol, result.metric): result for result in results}
    for protocol, min_lead in zip(PROTOCOLS, (0.0, 0.03), strict=True):
        auc = by[f"{protocol.name}, pooled", "roc_auc"]
        assert auc.value > auc.recency + min_lead
        assert auc.value > auc.gradient_boosting - 0.01


def test_no_label_is_used_before_it_is_known() -> None:
    """Labels that arrive after a week has begun do not change the scores of that week."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(100 * DAY, 200 * DAY, 2_000))
    rows = rng.normal(size=(2_000, 3)).astype(np.float32)
    churned, until = rows[:, 0] > 0, times + 10 * DAY
    weeks = weeks_of(times)
    week = int(weeks[1_200])
    late = until > (week * 7 - 3) * DAY
    scores, other = (Boosting(100)(rows, labels, times, until) for labels in (churned, churned ^ late))
    assert np.array_equal(scores[weeks <= week], other[weeks <= week], equal_nan=True)
    assert not np.array_equal(scores[weeks > week + 2], other[weeks > week + 2])
    assert np.isnan(scores[times < 110 * DAY]).all()
    assert not np.isnan(scores[times > 130 * DAY]).any()


def test_online_models_use_no_label_before_it_is_known() -> None:
    """A label changes only the scores of rows scored after it was known, with all features or one."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 50 * DAY, 400))
    rows = rng.normal(size=(400, len(features.NAMES))).astype(np.float32)
    churned, until = rows[:, 3] > 0, times + 10 * DAY
    known = until <= 30 * DAY
    for feature_names in (features.NAMES, (features.NAMES[3],)):
        scores, other = (
            score_online(logistic_pipeline(), rows, labels, times, until, feature_names)
            for labels in (churned, churned ^ ~known)
        )
        assert (scores[times <= 30 * DAY] == other[times <= 30 * DAY]).all()
        assert (scores[times > 31 * DAY] != other[times > 31 * DAY]).all()
        assert (scores[times < 10 * DAY] == 0.5).all()


def test_boosting_counts_fits_and_rows() -> None:
    """Of more rows than the limit, it uses a sample of that size."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(100 * DAY, 170 * DAY, 1_000))
    rows = rng.normal(size=(1_000, 3)).astype(np.float32)
    columns = rows, rows[:, 0] > 0, times, times + DAY
    few, all_ = Boosting(100, max_rows=300), Boosting(100)
    output = few(*columns), all_(*columns)
    assert few.largest_fit == 300
    assert 900 < all_.largest_fit <= 1_000
    assert few.fits == all_.fits == len(np.unique(weeks_of(times[~np.isnan(output[0])])))
    assert np.isnan(output[0]).sum() == np.isnan(output[1]).sum() > 0


def test_weeks_begin_on_monday() -> None:
    """5 January 1970 was a Monday."""
    assert weeks_of(np.array([3.99, 4.0, 10.99, 11.0]) * DAY).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_sampled_users_keep_all_their_events(folder: Path, share: float) -> None:
    """The sample is the same each time, and a larger sample contains a smaller one."""
    source = open_source(f"cdnow:{folder}/cdnow")
    everybody: dict[str, int] = {}
    for entry in source:
        everybody[entry.event.user_id] = everybody.get(entry.event.user_id, 0) + 1
    played: dict[str, int] = {}
    for entry in SampledSource(source, share):
        played[entry.event.user_id] = played.get(entry.event.user_id, 0) + 1
    assert share - 0.2 < len(played) / len(everybody) < share + 0.2
    assert all(everybody[user] == count for user, count in played.items())
    assert {e.event.id for e in SampledSource(source, share)} <= {
        e.event.id for e in SampledSource(source, share + 0.3)
    }


def test_json_is_one_object_per_line(
    results: list[evaluation.ChurnResult], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing data sets are reported, and a second run gives the same results."""
    monkeypatch.setattr("streams.evaluation.command.ALL_TASKS", (TASK,))
    monkeypatch.setattr(
        "streams.evaluation.command.TASKS", (TASK, ChurnTask("oulad", "oulad:{}/oulad", "-", 14, ("login",)))
    )
    output = CliRunner().invoke(cli, ["evaluate", "--data", str(folder), "--json"])
    assert output.exit_code == 0
    lines = [json.loads(line) for line in output.stdout.splitlines()]
    assert lines == [msgspec.to_builtins(result) for result in results]
    for line in lines:
        assert line.keys() >= {"dataset", "task", "protocol", "metric", "value", "recency", "gradient_boosting", "rows"}
    assert f"oulad: skipped, there is no {folder}/oulad" in output.stderr.replace("\n", "")


def test_the_table_marks_results_as_good_as_the_baselines(results: list[evaluation.ChurnResult]) -> None:
    """The table also has the baselines."""
    shown = table(results)
    assert [str(column.header) for column in shown.columns][3:7] == ["model", "recency", "logistic", "boosting weekly"]
    assert shown.row_count == len(results)
    for result, cell in zip(results, shown.columns[3].cells, strict=True):
        sign = -1 if result.metric in ("log_loss", "ece") else 1
        best = max(sign * other for other in (result.recency, result.reference, result.gradient_boosting))
        assert ("green" in str(cell)) == (sign * result.value >= best - 0.001)


def test_details_state_rows_and_fits(results: list[evaluation.ChurnResult]) -> None:
    """One line per data set and protocol: rows, users, weeks, and the rows of the largest fit."""
    lines = details(results)
    assert len(lines) == 2 * len(PROTOCOLS)
    for line, result in zip(lines, {(r.dataset, r.protocol): r for r in results}.values(), strict=True):
        assert line.startswith(f"{result.dataset}, {result.protocol}: {result.rows:,} rows of all users")
        assert line.endswith(f"boosting fitted {result.fits} times, to {result.largest_fit:,} rows at most")
        assert 0 < result.fits <= result.weeks + 30
        assert result.largest_fit >= 500
    some = msgspec.structs.replace(results[0], people=0.2)
    assert "rows of 20% of the users, by the hash of their id" in details([some])[0]


def test_cdnow_is_found_in_the_package_lifetimes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used if the folder has no CDNOW and `lifetimes` is installed."""
    (tmp_path / "lifetimes" / "datasets").mkdir(parents=True)
    (tmp_path / "lifetimes" / "__init__.py").touch()
    shutil.copy(folder / "cdnow" / "CDNOW_master.txt", tmp_path / "lifetimes" / "datasets")
    monkeypatch.syspath_prepend(str(tmp_path))
    output = CliRunner().invoke(cli, ["evaluate", "--data", str(tmp_path), "--dataset", "cdnow", "--people", "0.3"])
    assert output.exit_code == 0
    assert "lifetimes" in output.stderr.replace("\n", "")


def test_the_sample_is_measured_without_any_data() -> None:
    """It is in the package."""
    assert Path(SAMPLE.source).is_file()


@pytest.mark.parametrize(
    ("names", "data", "reason"),
    [
        (("criteo",), "", "no such data set: criteo"),
        (("oulad",), None, "--data: give the folder of oulad"),
        ((), "/no/such/folder", "no such folder"),
        (("oulad",), "", "none of the data sets was found"),
    ],
)
def test_a_wrong_request_is_reported(folder: Path, names: tuple[str, ...], data: str | None, reason: str) -> None:
    """The error is one line."""
    with pytest.raises(OperatorError, match=reason):
        run(None if data is None else Path(data or folder), names, None, False)
