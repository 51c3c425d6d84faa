"""Recommendations are measured as said: test, then learn, whole catalogue, beside popularity; files as they come."""

import gzip
import json
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

pa = pytest.importorskip("pyarrow", reason="the histories are Parquet files")
papq = pytest.importorskip("pyarrow.parquet")

from models.activity import DAY  # noqa: E402
from streams.evaluation.taste import Line, Run, main, table  # noqa: E402
from streams.evaluation.taste_data import History, completejourney, histories, movielens, online_retail, oulad  # noqa: E402
from tests.models.tastes import visits  # noqa: E402


def measured(history: History, protocol: str, share: float = 1.0) -> dict[tuple[str, str], Line]:
    lines = Run(history, protocol, share, seed=1).lines(history.uses, lambda count: None)
    return {(line.method, line.metric): line for line in lines}


def rounds(people: int = 12, courses: int = 30, repeats: bool = False) -> History:
    """Everybody goes through the courses in the same order, one a day, each starting a day after the one before."""
    uses = [
        (f"p{person}", f"c{day}", (person + day) * DAY + person) for person in range(people) for day in range(courses)
    ]
    terms = {f"c{day}": {f"week {day // 7}": 1.0} for day in range(courses)}
    return History("rounds", sorted(uses, key=lambda use: use[2]), terms, repeats)


def test_what_always_follows_is_found_first() -> None:
    """Where the next course is certain, the directed generators put it first, and popularity cannot."""
    said = measured(rounds(courses=60), "N")
    assert said["order", "MRR@20"].value > 0.8
    assert said["popularity", "MRR@20"].value < 0.5
    assert said["order", "MRR@20"].popularity == said["popularity", "MRR@20"].value
    assert said["ranker", "HR@20"].value > 0.9


def test_every_use_after_the_first_fifth_is_tested_once() -> None:
    """With repeats each of somebody with a past; without, only what is new to them."""
    uses = [("p", course, float(time) * 60) for time, course in enumerate("abcdeabcdeabcdeabcde")]
    history = History("one", uses, {}, repeats=True)
    assert measured(history, "R")["popularity", "HR@20"].rows == 16
    late = [("q", "x", 5.0), *uses, ("q", "a", 2_000.0), ("q", "a", 3_000.0)]
    history = History("two", late, {}, repeats=True)
    assert measured(history, "N")["popularity", "HR@20"].rows == 3
    assert measured(history, "N")["popularity", "HR@20"].value == 0.3333


def test_nothing_is_learned_before_it_is_tested() -> None:
    """Courses that come by pure chance are hit by chance: twenty of two hundred."""
    told = [(user, f"c{(index * 7919) % 211}", time) for index, (user, _, time) in enumerate(visits(people=60))]
    said = measured(History("chance", told, {}, repeats=False), "N")
    assert said["hybrid", "HR@20"].value < 0.25
    assert said["ranker", "HR@20"].value < 0.25


def test_every_method_has_every_figure() -> None:
    """Shares lie between 0 and 1, and the table names all methods."""
    said = measured(History("visits", visits(people=60), {}, repeats=True), "R")
    methods = {method for method, _ in said}
    assert {"popularity", "own", "hybrid", "ranker linear", "ranker", "ranker, rare place", "embedding"} <= methods
    assert len(said) == len(methods) * 5
    assert all(0.0 <= line.value <= 1.0 for line in said.values())
    printed = table(list(said.values()))
    assert all(method in printed for method in methods)


def wheel(folder: Path, uses: int = 60) -> Path:
    """A wheel of RecBole's form with a few ratings."""
    path = folder / "recbole.whl"
    ratings = [f"{k % 6}\t{k % 7}\t{3 + k % 3}\t{k * 60}" for k in range(uses)]
    films = [f"{film}\tFilm {film}\t199{film}\tDrama Comedy" for film in range(7)]
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in (("inter", ratings), ("item", films)):
            archive.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{name}", "\n".join(["head", *lines]))
    return path


def test_movielens_is_read_from_the_wheel(tmp_path: Path) -> None:
    """In order of time, only ratings of at least what is asked for."""
    whole, best = movielens(wheel(tmp_path), 0.0), movielens(wheel(tmp_path), 5.0)
    assert (len(whole.uses), len(best.uses), best.name) == (60, 20, "movielens-5")
    assert whole.uses == sorted(whole.uses, key=lambda use: use[2])
    assert whole.terms["3"] == {"film": 1.0, "3": 1.0, "#drama": 1.0, "drama": 1.0, "#comedy": 1.0, "comedy": 1.0,
                                "#1990s": 1.0, "1990s": 1.0}  # fmt: skip


def test_figures_are_printed_as_json_rows(tmp_path: Path) -> None:
    """One object a figure, with the dataset, protocol, method, metric, value, popularity and tests."""
    arguments = ["movielens", "--data", str(tmp_path), "--wheel", str(wheel(tmp_path)), "--json"]
    done = CliRunner().invoke(main, arguments)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert {"dataset", "task", "protocol", "method", "metric", "value", "popularity", "rows"} == set(rows[0])
    assert {(row["dataset"], row["protocol"]) for row in rows} == {("movielens", "N")}


def test_an_unknown_history_is_refused(tmp_path: Path) -> None:
    """With the names of those that are known."""
    done = CliRunner().invoke(main, ["nothing", "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "oulad-pages" in done.output
    assert set(histories(tmp_path, None)) == {"oulad-pages", "completejourney", "online_retail"}


def test_households_are_read_from_parquet(tmp_path: Path) -> None:
    """Purchases of the first households in order of time, with what their products are."""
    times = [datetime(2017, 1, 1, 12, minute) for minute in (5, 4, 3, 2)]
    columns = {"household_id": [1, 1, 2, 3], "product_id": [10, 11, 10, 12], "transaction_timestamp": times}
    papq.write_table(pa.table(columns), tmp_path / "transactions.parquet")
    products = {"product_id": [10, 11, 12], "manufacturer_id": [1, 2, 3], "department": ["FOOD", "FOOD", None],
                "product_category": ["MILK", None, None], "product_type": ["FRESH MILK", None, None]}  # fmt: skip
    papq.write_table(pa.table(products), tmp_path / "products.parquet")
    history = completejourney(tmp_path, households=2)
    assert [(who, what) for who, what, _ in history.uses] == [("2", "10"), ("1", "11"), ("1", "10")]
    assert history.uses[0][2] == datetime.fromisoformat("2017-01-01T12:03:00+00:00").timestamp()
    assert {"#milk", "#fresh milk", "fresh", "food"} <= set(history.terms["10"])
    assert set(history.terms) == {"10", "11"}


def test_invoices_are_read_from_csv(tmp_path: Path) -> None:
    """Without refunds and without lines that name no customer."""
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
    """Days count from the presentation's start; rarely visited pages are left out."""
    for presentation, students in (("2013J", [1.0, 1.0, 2.0]), ("2014B", [1.0])):
        folder = tmp_path / "studentVle_ds" / "code_module=AAA" / f"code_presentation={presentation}"
        folder.mkdir(parents=True)
        sites = [5.0, 5.0, 6.0][: len(students)]
        days = [3.0, 1.0, 2.0][: len(students)]
        papq.write_table(pa.table({"id_student": students, "id_site": sites, "date": days}), folder / "part.parquet")
    pages = {"id_site": [5.0, 6.0], "code_module": ["AAA"] * 2, "code_presentation": ["2013J"] * 2,
             "activity_type": ["quiz", "url"]}  # fmt: skip
    papq.write_table(pa.table(pages), tmp_path / "vle.parquet")
    history = oulad(tmp_path, students=2, least=2)
    starts = [datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp() for day in ("2013-10-01", "2014-02-01")]
    expected = [("1", "5", starts[0] + DAY), ("1", "5", starts[0] + 3 * DAY), ("1", "5", starts[1] + 3 * DAY)]
    assert history.uses == expected
    assert "#quiz" in history.terms["5"]
