"""The proof that a model is good: the same rows for all, no label before its time, and every figure said."""

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
from streams.evaluation.churn import MEASURES, PROTOCOLS, SAMPLE, WEEKLY, ChurnTask, SampledSource, evaluate
from streams.evaluation.command import given, run, table
from streams.history.sources import open_source
from streams.report.baselines import Boosting, online, weeks_of

pytest.importorskip("sklearn", reason="scikit-learn is not installed: there is nothing to compare with")

DAY = 86_400.0


def bought(people: int = 60, days: int = 190, seed: int = 3) -> list[str]:
    """Lines of CDNOW's layout: everybody buys at their own pace, a third of them stops somewhere."""
    dice, lines = random.Random(seed), []
    for number in range(people):
        pace, day = dice.choice([2, 5, 12, 30]), dice.randrange(60)
        end = dice.randrange(90, days) if number % 3 == 0 else days
        while day < end:
            moment = np.datetime64("2001-01-01") + np.timedelta64(day, "D")
            lines.append(f" {number:05d} {str(moment).replace('-', '')} 1 {dice.uniform(5, 50):.2f}")
            day += max(1, round(dice.expovariate(1 / pace)))
    return sorted(lines, key=lambda line: line.split()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets in which one is there."""
    data = tmp_path_factory.mktemp("data")
    (data / "cdnow").mkdir()
    (data / "cdnow" / "CDNOW_master.txt").write_text("\n".join(bought()) + "\n")
    return data


TASK = ChurnTask("cdnow", "cdnow:{}/cdnow", "no purchase in 14 days", 14, ("purchase",))


@pytest.fixture(scope="module")
def results(folder: Path) -> list[evaluation.ChurnResult]:
    return evaluate(TASK, folder)


def test_every_figure_is_there_of_the_same_rows(results: list[evaluation.ChurnResult]) -> None:
    """Pooled all measures, by week two; everybody is more rows than those within the look-back."""
    found = {(result.protocol, result.metric) for result in results}
    expected = {(f"{protocol.name}, pooled", metric) for protocol in PROTOCOLS for metric in MEASURES}
    expected |= {(f"{protocol.name}, mean of weeks", metric) for protocol in PROTOCOLS for metric in WEEKLY}
    assert found == expected
    rows = {protocol.name: {r.rows for r in results if r.protocol.startswith(protocol.name)} for protocol in PROTOCOLS}
    (everybody,), (lately,) = rows.values()
    assert everybody > lately > 500


def test_the_model_is_better_than_recency_on_paces_of_their_own(results: list[evaluation.ChurnResult]) -> None:
    """Silence says little where everybody has another pace; rows without that would say the same."""
    by = {(result.protocol, result.metric): result for result in results}
    for protocol, ahead in zip(PROTOCOLS, (0.0, 0.03), strict=True):
        auc = by[f"{protocol.name}, pooled", "roc_auc"]
        assert auc.value > auc.recency + ahead
        assert auc.value > auc.gradient_boosting - 0.01


def test_no_label_is_used_before_it_is_known() -> None:
    """Labels that are known only after a week has begun do not change that week's scores."""
    dice = np.random.default_rng(1)
    times = np.sort(dice.uniform(100 * DAY, 200 * DAY, 2_000))
    rows = dice.normal(size=(2_000, 3)).astype(np.float32)
    churned, until = rows[:, 0] > 0, times + 10 * DAY
    weeks = weeks_of(times)
    week = int(weeks[1_200])
    late = until > (week * 7 - 3) * DAY
    scores, other = (Boosting(100)(rows, labels, times, until) for labels in (churned, churned ^ late))
    assert np.array_equal(scores[weeks <= week], other[weeks <= week], equal_nan=True)
    assert not np.array_equal(scores[weeks > week + 2], other[weeks > week + 2])
    assert np.isnan(scores[times < 110 * DAY]).all()
    assert not np.isnan(scores[times > 130 * DAY]).any()


def test_online_models_know_no_label_before_it_is_known() -> None:
    """A label changes the scores of rows scored after it was known, and of no others; all features or one are seen."""
    dice = np.random.default_rng(1)
    times = np.sort(dice.uniform(0, 50 * DAY, 400))
    rows = dice.normal(size=(400, len(features.NAMES))).astype(np.float32)
    churned, until = rows[:, 3] > 0, times + 10 * DAY
    known = until <= 30 * DAY
    for only in (features.NAMES, (features.NAMES[3],)):
        scores, other = (
            online(logistic_pipeline(), rows, labels, times, until, only) for labels in (churned, churned ^ ~known)
        )
        assert (scores[times <= 30 * DAY] == other[times <= 30 * DAY]).all()
        assert (scores[times > 31 * DAY] != other[times > 31 * DAY]).all()
        assert (scores[times < 10 * DAY] == 0.5).all()


def test_boosting_says_what_it_was_given() -> None:
    """Of more rows than it may be given it draws as many as it may."""
    dice = np.random.default_rng(1)
    times = np.sort(dice.uniform(100 * DAY, 170 * DAY, 1_000))
    rows = dice.normal(size=(1_000, 3)).astype(np.float32)
    columns = rows, rows[:, 0] > 0, times, times + DAY
    few, all_ = Boosting(100, most=300), Boosting(100)
    said = few(*columns), all_(*columns)
    assert few.largest == 300
    assert 900 < all_.largest <= 1_000
    assert few.fits == all_.fits == len(np.unique(weeks_of(times[~np.isnan(said[0])])))
    assert np.isnan(said[0]).sum() == np.isnan(said[1]).sum() > 0


def test_weeks_begin_on_monday() -> None:
    """5 January 1970 was one."""
    assert weeks_of(np.array([3.99, 4.0, 10.99, 11.0]) * DAY).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_the_people_who_are_played_are_played_whole(folder: Path, share: float) -> None:
    """A share of the people, the same each time, with all their events."""
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


def test_json_is_one_object_a_line(
    results: list[evaluation.ChurnResult], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there is said, not passed over; and a second time, everything comes out the same."""
    monkeypatch.setattr("streams.evaluation.command.EVERY", (TASK,))
    monkeypatch.setattr(
        "streams.evaluation.command.TASKS", (TASK, ChurnTask("oulad", "oulad:{}/oulad", "-", 14, ("login",)))
    )
    said = CliRunner().invoke(cli, ["evaluate", "--data", str(folder), "--json"])
    assert said.exit_code == 0
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert lines == [msgspec.to_builtins(result) for result in results]
    for line in lines:
        assert line.keys() >= {"dataset", "task", "protocol", "metric", "value", "recency", "gradient_boosting", "rows"}
    assert f"oulad: skipped, there is no {folder}/oulad" in said.stderr.replace("\n", "")


def test_the_table_marks_what_is_level_or_better(results: list[evaluation.ChurnResult]) -> None:
    """And says what stands beside it."""
    shown = table(results)
    assert [str(column.header) for column in shown.columns][3:7] == ["model", "recency", "logistic", "boosting weekly"]
    assert shown.row_count == len(results)
    for result, cell in zip(results, shown.columns[3].cells, strict=True):
        sign = -1 if result.metric in ("log_loss", "ece") else 1
        best = max(sign * other for other in (result.recency, result.reference, result.gradient_boosting))
        assert ("green" in str(cell)) == (sign * result.value >= best - 0.001)


def test_what_was_measured_and_what_boosting_was_given_is_said(results: list[evaluation.ChurnResult]) -> None:
    """A line a data set and protocol: rows, people, weeks, and the rows of the largest fit."""
    lines = given(results)
    assert len(lines) == 2 * len(PROTOCOLS)
    for line, result in zip(lines, {(r.dataset, r.protocol): r for r in results}.values(), strict=True):
        assert line.startswith(f"{result.dataset}, {result.protocol}: {result.rows:,} rows of all people")
        assert line.endswith(f"boosting fitted {result.fits} times, to {result.largest_fit:,} rows at most")
        assert 0 < result.fits <= result.weeks + 30
        assert result.largest_fit >= 500
    some = msgspec.structs.replace(results[0], people=0.2)
    assert "rows of 20% of the people, by the hash of their id" in given([some])[0]


def test_cdnow_is_found_in_the_package_that_carries_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder has none, and `lifetimes` is installed."""
    (tmp_path / "lifetimes" / "datasets").mkdir(parents=True)
    (tmp_path / "lifetimes" / "__init__.py").touch()
    shutil.copy(folder / "cdnow" / "CDNOW_master.txt", tmp_path / "lifetimes" / "datasets")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = CliRunner().invoke(cli, ["evaluate", "--data", str(tmp_path), "--dataset", "cdnow", "--people", "0.3"])
    assert said.exit_code == 0
    assert "lifetimes" in said.stderr.replace("\n", "")


def test_the_sample_is_measured_without_any_data() -> None:
    """It is where the package keeps it."""
    assert Path(SAMPLE.source).is_file()


@pytest.mark.parametrize(
    ("names", "data", "reason"),
    [
        (("criteo",), "", "no such data set: criteo"),
        (("oulad",), None, "--data: say where oulad is"),
        ((), "/no/such/folder", "no such folder"),
        (("oulad",), "", "none of the data sets is there"),
    ],
)
def test_what_cannot_be_measured_is_said(folder: Path, names: tuple[str, ...], data: str | None, reason: str) -> None:
    """In one line."""
    with pytest.raises(OperatorError, match=reason):
        run(None if data is None else Path(data or folder), names, None, False)
