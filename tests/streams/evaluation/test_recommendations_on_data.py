"""The evaluation of recommendations: test, then learn, over the whole catalogue, with baselines; and its data files."""

import gzip
import json
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

pa = pytest.importorskip("pyarrow", reason="the histories are Parquet files")
papq = pytest.importorskip("pyarrow.parquet")

from models.person.activity import DAY  # noqa: E402
from models.recommend.generators import NAMES  # noqa: E402
from streams.__main__ import cli  # noqa: E402
from streams.errors import OperatorError  # noqa: E402
from streams.evaluation import recommendation_data  # noqa: E402
from streams.evaluation.recommendation_data import (  # noqa: E402
    UsageHistory,
    completejourney,
    load_history,
    movielens,
    online_retail,
    oulad,
)
from streams.evaluation.recommendation_table import table  # noqa: E402
from streams.evaluation.recommendations import RecommendationResult, evaluate  # noqa: E402
from tests.models.course_uses import make_visits  # noqa: E402


def figures(history: UsageHistory, protocol: str) -> dict[tuple[str, str], RecommendationResult]:
    results = evaluate(
        recommendation_data.RecommendationTask("test", "course", "", lambda path: history), history, protocol
    )
    return {(result.method, result.metric): result for result in results}


def fixed_order(people: int = 12, courses: int = 30) -> UsageHistory:
    """Return a history in which all users take the courses in the same order, one per day."""
    uses = [
        (f"p{person}", f"c{day}", (person + day) * DAY + person) for person in range(people) for day in range(courses)
    ]
    terms = {f"c{day}": {f"week {day // 7}": 1.0} for day in range(courses)}
    return UsageHistory(sorted(uses, key=lambda use: use[2]), terms)


def test_a_certain_next_course_is_ranked_first() -> None:
    """If the next course is certain, the directed generators rank it first, and popularity cannot."""
    results = figures(fixed_order(courses=60), "N")
    assert results["order", "MRR@20"].value > 0.8
    assert results["popularity", "MRR@20"].value < 0.5
    assert results["order", "MRR@20"].popularity == results["popularity", "MRR@20"].value
    assert results["ranker", "HR@20"].value > 0.9


def test_every_use_after_the_first_fifth_is_tested_once() -> None:
    """With repeats: every use of a user with a history. Without: only new courses."""
    uses = [("p", course, float(time) * 60) for time, course in enumerate("abcdeabcdeabcdeabcde")]
    history = UsageHistory(uses, {})
    assert figures(history, "R")["popularity", "HR@20"].rows == 16
    late = [("q", "x", 5.0), *uses, ("q", "a", 2_000.0), ("q", "a", 3_000.0)]
    history = UsageHistory(late, {})
    assert figures(history, "N")["popularity", "HR@20"].rows == 3
    assert figures(history, "N")["popularity", "HR@20"].value == 0.3333


def test_nothing_is_learned_before_it_is_tested() -> None:
    """Random courses are hit by chance: twenty of two hundred."""
    uses = [(user, f"c{(index * 7919) % 211}", time) for index, (user, _, time) in enumerate(make_visits(people=60))]
    results = figures(UsageHistory(uses, {}), "N")
    assert results["hybrid", "HR@20"].value < 0.25
    assert results["ranker", "HR@20"].value < 0.25


def test_every_method_has_every_figure() -> None:
    """Each generator, their sum, both rankers and the baselines; shares between 0 and 1; all in the table."""
    results = figures(UsageHistory(make_visits(people=60), {}), "R")
    methods = {method for method, _ in results}
    baselines = {"popularity", "window cosine", "embedding"}
    assert methods >= {*NAMES, *baselines, "hybrid", "linear ranker", "ranker", "ranker, rare place"}
    assert len(results) == len(methods) * 5
    assert all(0.0 <= result.value <= 1.0 for result in results.values())
    shown = table(list(results.values()))
    assert set(shown.columns[0].cells) == methods
    assert [str(column.header) for column in shown.columns[1:]] == [
        "HR@20", "MRR@20", "coverage", "diversity", "new", "tests",
    ]  # fmt: skip


def test_known_courses_are_listed_only_with_repeats() -> None:
    """Three courses in turn, then a fourth: without repeats, only new courses are listed."""
    uses = [(f"p{time % 2}", course, 60.0 * time) for time, course in enumerate("aabbccaabbcc")]
    repeated = figures(UsageHistory(uses, {}), "R")
    assert repeated["window cosine", "coverage"].value == repeated["popularity", "coverage"].value == 1.0
    once = figures(UsageHistory([*uses, ("p1", "d", 1e6), ("p0", "d", 2e6)], {}), "N")
    for method in ("window cosine", "popularity"):
        assert once[method, "coverage"].value == 0.75
        assert once[method, "HR@20"].value == 0.5


def wheel(folder: Path, uses: int = 60) -> Path:
    """Write a wheel in RecBole's layout with a few ratings, in the folder where the command looks for it."""
    path = folder / "movielens" / "recbole-1.2.1-py3-none-any.whl"
    path.parent.mkdir()
    ratings = [f"{k % 6}\t{k % 7}\t{3 + k % 3}\t{k * 60}" for k in range(uses)]
    films = [f"{film}\tFilm {film}\t199{film}\tDrama Comedy" for film in range(7)]
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in (("inter", ratings), ("item", films)):
            archive.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{name}", "\n".join(["head", *lines]))
    return path


def test_movielens_is_read_from_the_wheel(tmp_path: Path) -> None:
    """In time order, with the minimum number of stars."""
    path = wheel(tmp_path)
    whole, best = movielens(path), movielens(path, 5.0)
    assert (len(whole.uses), len(best.uses)) == (60, 20)
    assert whole.uses == sorted(whole.uses, key=lambda use: use[2])
    assert whole.terms["3"] == {"film": 1.0, "3": 1.0, "#drama": 1.0, "drama": 1.0, "#comedy": 1.0, "comedy": 1.0,
                                "#1990s": 1.0, "1990s": 1.0}  # fmt: skip


def test_the_command_prints_results_and_missing_data_sets(tmp_path: Path) -> None:
    """One object per figure; missing data sets are reported."""
    wheel(tmp_path)
    done = CliRunner().invoke(cli, ["evaluate", "--data", str(tmp_path), "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert {"dataset", "task", "protocol", "method", "metric", "value", "popularity", "rows"} == set(rows[0])
    assert {(row["dataset"], row["task"], row["protocol"]) for row in rows} == {
        ("movielens", "film rated 5", "N"), ("movielens", "film rated", "N"),
    }  # fmt: skip
    errors = done.stderr.replace("\n", "")
    for missing in ("oulad, the next page of a course", "completejourney, the next product", "cdnow: skipped"):
        assert missing in errors
    table_run = CliRunner().invoke(
        cli, ["evaluate", "--data", str(tmp_path), "--dataset", "movielens", "--only", "recommendations"]
    )
    assert table_run.exit_code == 0
    assert "movielens, the next film rated 5" in table_run.stdout
    assert "cdnow" not in table_run.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--dataset", "nothing"], "no such data set: nothing; there are oulad, "),
        (["--only", "recommendations"], "none of the data sets was found"),
        (["--only", "recommendations", "--dataset", "cdnow"], "none of the data sets was found"),
    ],
)
def test_a_wrong_request_is_reported(tmp_path: Path, arguments: list[str], reason: str) -> None:
    """One line, and an exit code other than 0."""
    done = CliRunner().invoke(cli, ["evaluate", "--data", str(tmp_path), *arguments])
    assert done.exit_code != 0
    assert isinstance(done.exception, OperatorError)
    assert reason in str(done.exception)


def test_the_value_taste_is_refused_with_the_value_to_use() -> None:
    """One line that names `recommendations`, and exit code 2."""
    done = CliRunner().invoke(cli, ["evaluate", "--only", "taste"])
    assert done.exit_code == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert line == "Error: Invalid value for '--only': `taste` is not a part: use `--only recommendations`"


def test_a_broken_wheel_is_named(tmp_path: Path) -> None:
    """The error contains its path."""
    path = wheel(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OperatorError, match=f"{path}: movielens cannot be read"):
        load_history(recommendation_data.TASKS[0], path)


def test_uses_of_one_moment_are_shuffled(tmp_path: Path) -> None:
    """The order of a basket in the file has no effect, and the order is the same each time."""
    times = [datetime(2017, 1, day) for day in (1, 2) for _ in range(40)]
    products = [*range(40), *range(40)]
    columns = {"household_id": [1] * 80, "product_id": products, "transaction_timestamp": times}
    papq.write_table(pa.table(columns), tmp_path / "transactions.parquet")
    about = {"product_id": products, "manufacturer_id": products, **dict.fromkeys(
        ("department", "product_category", "product_type"), ["FOOD"] * 80)}  # fmt: skip
    papq.write_table(pa.table(about), tmp_path / "products.parquet")
    listed = [item for _, item, _ in completejourney(tmp_path).uses]
    first, second = listed[:40], listed[40:]
    assert sorted(first) == sorted(second) == sorted(map(str, range(40)))
    assert len({*map(str, range(40))} & {a for a, b in zip(first, map(str, range(40)), strict=True) if a == b}) < 10
    assert first != second
    assert listed == [item for _, item, _ in completejourney(tmp_path).uses]


def test_households_are_read_from_parquet(tmp_path: Path) -> None:
    """Purchases of some households in time order, with the terms of their products."""
    times = [datetime(2017, 1, 1, 12, minute) for minute in (5, 4, 3, 2)]
    columns = {"household_id": [1, 1, 2, 3], "product_id": [10, 11, 10, 12], "transaction_timestamp": times}
    papq.write_table(pa.table(columns), tmp_path / "transactions.parquet")
    products = {"product_id": [10, 11, 12], "manufacturer_id": [1, 2, 3], "department": ["FOOD", "FOOD", None],
                "product_category": ["MILK", None, None], "product_type": ["FRESH MILK", None, None]}  # fmt: skip
    papq.write_table(pa.table(products), tmp_path / "products.parquet")
    history = completejourney(tmp_path)
    assert [(who, what) for who, what, _ in history.uses] == [("3", "12"), ("2", "10"), ("1", "11"), ("1", "10")]
    assert history.uses[1][2] == datetime.fromisoformat("2017-01-01T12:03:00+00:00").timestamp()
    assert {"#milk", "#fresh milk", "fresh", "food"} <= set(history.terms["10"])
    assert set(history.terms) == {"10", "11", "12"}
    some = completejourney(tmp_path, households=2).uses
    assert some == [use for use in history.uses if use[0] in {who for who, _, _ in some}]
    assert len({who for who, _, _ in some}) == 2


def test_invoices_are_read_from_csv(tmp_path: Path) -> None:
    """Refunds and lines without a customer are left out."""
    lines = [
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
        "1,A,RED MUG,1,2010-12-01 08:26:00,2.5,1.0,UK",
        "2,B,BLUE MUG,1,2010-12-01 08:20:00,2.5,1.0,UK",
        "C3,B,BLUE MUG,-1,2010-12-01 08:30:00,2.5,1.0,UK",
        "4,B,BLUE MUG,1,2010-12-01 08:31:00,2.5,,UK",
    ]
    with gzip.open(tmp_path / "retail.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    history = online_retail(tmp_path / "retail.csv.gz", share=1)
    assert [(who, what) for who, what, _ in history.uses] == [("1", "B"), ("1", "A")]
    assert history.terms["A"] == {"red": 1.0, "mug": 1.0}


def test_page_visits_are_read_from_their_folders(tmp_path: Path) -> None:
    """Days count from the start of the presentation; rarely visited pages are left out."""
    for presentation, students in (("2013J", [1.0, 1.0, 2.0]), ("2014B", [1.0])):
        folder = tmp_path / "studentVle_ds" / "code_module=AAA" / f"code_presentation={presentation}"
        folder.mkdir(parents=True)
        sites = [5.0, 5.0, 6.0][: len(students)]
        days = [3.0, 1.0, 2.0][: len(students)]
        papq.write_table(pa.table({"id_student": students, "id_site": sites, "date": days}), folder / "part.parquet")
    pages = {"id_site": [5.0, 6.0], "code_module": ["AAA"] * 2, "code_presentation": ["2013J"] * 2,
             "activity_type": ["quiz", "url"]}  # fmt: skip
    papq.write_table(pa.table(pages), tmp_path / "vle.parquet")
    history = oulad(tmp_path, students=2, min_count=2)
    starts = [datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp() for day in ("2013-10-01", "2014-02-01")]
    expected = [("1", "5", starts[0] + DAY), ("1", "5", starts[0] + 3 * DAY), ("1", "5", starts[1] + 3 * DAY)]
    assert history.uses == expected
    assert "#quiz" in history.terms["5"]
