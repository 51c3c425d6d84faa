"""The proof that a model is good: the same rows for all, no label before its time, and every figure said."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from streams.__main__ import cli
from streams.errors import OperatorError
from streams.evaluation import churn as evaluation
from streams.evaluation.churn import MEASURES, PROTOCOLS, WEEKLY, Sampled, Task, evaluate
from streams.evaluation.command import run, table
from streams.evaluation.yardsticks import boosted, weeks_of
from streams.sources import open_source

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


TASK = Task("cdnow", "cdnow:{}/cdnow", "no purchase in 14 days", 14, ("purchase",))


@pytest.fixture(scope="module")
def results(folder: Path) -> list[evaluation.Result]:
    return evaluate(TASK, folder)


def test_every_figure_is_there_of_the_same_rows(results: list[evaluation.Result]) -> None:
    """Pooled all measures, by week two; everybody is more rows than those within the look-back."""
    found = {(result.protocol, result.metric) for result in results}
    expected = {(f"{protocol.name}, pooled", metric) for protocol in PROTOCOLS for metric in MEASURES}
    expected |= {(f"{protocol.name}, mean of weeks", metric) for protocol in PROTOCOLS for metric in WEEKLY}
    assert found == expected
    rows = {protocol.name: {r.rows for r in results if r.protocol.startswith(protocol.name)} for protocol in PROTOCOLS}
    (everybody,), (lately,) = rows.values()
    assert everybody > lately > 500


def test_the_model_is_better_than_recency_on_paces_of_their_own(results: list[evaluation.Result]) -> None:
    """Silence says little where everybody has another pace; rows without that would say the same."""
    by = {(result.protocol, result.metric): result for result in results}
    for protocol in PROTOCOLS:
        auc = by[f"{protocol.name}, pooled", "roc_auc"]
        assert auc.value > auc.recency + 0.01
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
    scores, other = boosted(rows, churned, times, until, 100), boosted(rows, churned ^ late, times, until, 100)
    assert np.array_equal(scores[weeks <= week], other[weeks <= week], equal_nan=True)
    assert not np.array_equal(scores[weeks > week + 2], other[weeks > week + 2])
    assert np.isnan(scores[times < 110 * DAY]).all()
    assert not np.isnan(scores[times > 130 * DAY]).any()


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
    for entry in Sampled(source, share):
        played[entry.event.user_id] = played.get(entry.event.user_id, 0) + 1
    assert share - 0.2 < len(played) / len(everybody) < share + 0.2
    assert all(everybody[user] == count for user, count in played.items())
    assert {e.event.id for e in Sampled(source, share)} <= {e.event.id for e in Sampled(source, share + 0.3)}


def test_json_is_one_object_a_line(
    results: list[evaluation.Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there is said, not passed over; and a second time, everything comes out the same."""
    monkeypatch.setattr("streams.evaluation.command.EVERY", (TASK,))
    monkeypatch.setattr(
        "streams.evaluation.command.TASKS", (TASK, Task("oulad", "oulad:{}/oulad", "-", 14, ("login",)))
    )
    said = CliRunner().invoke(cli, ["evaluate", "--data", str(folder), "--json"])
    assert said.exit_code == 0
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert lines == [msgspec.to_builtins(result) for result in results]
    for line in lines:
        assert line.keys() >= {"dataset", "task", "protocol", "metric", "value", "recency", "gradient_boosting", "rows"}
    assert f"oulad: skipped, there is no {folder}/oulad" in said.stderr.replace("\n", "")


def test_the_table_marks_what_is_level_or_better(results: list[evaluation.Result]) -> None:
    """And says what stands beside it."""
    shown = table(results)
    assert [str(column.header) for column in shown.columns][3:7] == ["model", "recency", "logistic", "boosting weekly"]
    assert shown.row_count == len(results)
    for result, cell in zip(results, shown.columns[3].cells, strict=True):
        sign = -1 if result.metric in ("log_loss", "ece") else 1
        best = max(sign * other for other in (result.recency, result.reference, result.gradient_boosting))
        assert ("green" in str(cell)) == (sign * result.value >= best - 0.001)


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
