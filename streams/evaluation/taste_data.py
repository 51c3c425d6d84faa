"""Real histories that recommendations are measured on, as plain uses: who, what, when, and what courses are about.

Of each set a fixed part is taken, so that a measurement takes minutes: households, customers or students drawn once by
a seed, and the courses that are used most. Uses of one moment stay in the order of their file.
"""

from __future__ import annotations

import csv
import gzip
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as papq
from numpy.typing import NDArray

from models.activity import DAY
from models.content import words

STARTS = {"2013B": datetime(2013, 2, 1), "2013J": datetime(2013, 10, 1),
          "2014B": datetime(2014, 2, 1), "2014J": datetime(2014, 10, 1)}  # fmt: skip
Use = tuple[str, str, float]


class History(NamedTuple):
    """Uses in order of time, the terms of the courses used, and whether people use a course again."""

    name: str
    uses: list[Use]
    terms: dict[str, dict[str, float]]
    repeats: bool


def movielens(wheel: Path, least: float) -> History:
    """Read MovieLens 100K out of RecBole's wheel; ratings of at least `least` are uses."""
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(wheel) as archive:
        ratings = archive.read(f"{folder}.inter").decode().splitlines()[1:]
        films = archive.read(f"{folder}.item").decode().splitlines()[1:]
    rated = [line.split("\t") for line in ratings]
    uses = [(user, item, float(time)) for user, item, rating, time in rated if float(rating) >= least]
    terms: dict[str, dict[str, float]] = {}
    for line in films:
        item, title, year, genres = line.split("\t")
        terms[item] = _terms(title, [*genres.split(), f"{year[:3]}0s"])
    name = "movielens" if not least else f"movielens-{least:g}"
    return History(name, sorted(uses, key=lambda use: use[2]), terms, repeats=False)


def completejourney(folder: Path, households: int = 200, products: int = 2_500) -> History:
    """Read the purchases of the first households, of the products they buy most."""
    columns = ["household_id", "product_id", "transaction_timestamp"]
    table = papq.read_table(folder / "transactions.parquet", columns=columns)
    who, what = (table[column].to_numpy() for column in columns[:2])
    when = table[columns[2]].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    part = np.isin(who, np.unique(who)[:households])
    uses = _most_used(who[part], what[part], when[part], products)
    wanted, terms = {item for _, item, _ in uses}, {}
    for product in papq.read_table(folder / "products.parquet").to_pylist():
        if str(product["product_id"]) in wanted:
            kinds = [product["product_category"], product["product_type"], f"by {product['manufacturer_id']}"]
            terms[str(product["product_id"])] = _terms(product["department"] or "", [kind for kind in kinds if kind])
    return History("completejourney", uses, terms, repeats=True)


def online_retail(file: Path, share: int = 5, products: int = 2_500) -> History:
    """Read the invoices of every fifth customer, drawn at random, for the products they buy most."""
    bought: list[tuple[int, str, float]] = []
    terms: dict[str, dict[str, float]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            terms.setdefault(line["StockCode"], _terms(line["Description"], []))
            if line["CustomerID"] and not line["InvoiceNo"].startswith("C"):
                moment = datetime.fromisoformat(line["InvoiceDate"]).replace(tzinfo=UTC).timestamp()
                bought.append((int(float(line["CustomerID"])), line["StockCode"], moment))
    who, what, when = (np.array(column) for column in zip(*bought, strict=True))
    customers = np.unique(who)
    part = np.isin(who, np.random.default_rng(0).choice(customers, len(customers) // share, replace=False))
    uses = _most_used(who[part], what[part], when[part], products)
    wanted = {item for _, item, _ in uses}
    return History("online_retail", uses, {item: terms[item] for item in wanted}, repeats=True)


def oulad(folder: Path, students: int = 275, least: int = 20) -> History:
    """Read the page visits of some students, of the pages visited at least 20 times; a visit is a page and a day."""
    table = pads.dataset(folder / "studentVle_ds", partitioning="hive").to_table(
        columns=["id_student", "id_site", "date", "code_presentation"]
    )
    who, what = (table[column].to_numpy().astype(np.int64) for column in ("id_student", "id_site"))
    part = np.isin(who, np.random.default_rng(0).choice(np.unique(who), students, replace=False))
    presentations = np.array(table["code_presentation"].to_pylist())[part]
    starts = {name: start.replace(tzinfo=UTC).timestamp() for name, start in STARTS.items()}
    when = np.array([starts[name] for name in presentations]) + table["date"].to_numpy()[part] * DAY
    uses = _most_used(who[part], what[part], when, len(what), least)
    wanted, terms = {item for _, item, _ in uses}, {}
    for page in papq.read_table(folder / "vle.parquet").to_pylist():
        if (item := str(int(page["id_site"]))) in wanted:
            module, presentation = page["code_module"], page["code_presentation"]
            terms[item] = _terms("", [page["activity_type"], module, f"{module} {presentation}"])
    return History("oulad-pages", uses, terms, repeats=True)


def histories(data: Path, wheel: Path | None) -> dict[str, Callable[[], History]]:
    """Return readers of all histories that are there, by name."""
    found: dict[str, Callable[[], History]] = {}
    if wheel is not None:
        found["movielens-5"] = lambda: movielens(wheel, 5.0)
        found["movielens"] = lambda: movielens(wheel, 0.0)
    found["oulad-pages"] = lambda: oulad(data / "oulad")
    found["completejourney"] = lambda: completejourney(data / "completejourney")
    found["online_retail"] = lambda: online_retail(data / "online_retail" / "online_retail.csv.gz")
    return found


def _terms(text: str, labels: Iterable[str]) -> dict[str, float]:
    counts = Counter(words(text))
    for label in labels:
        counts.update((f"#{label.casefold()}", *words(label)))
    return {term: float(count) for term, count in counts.items()}


def _most_used(
    who: NDArray[np.generic], what: NDArray[np.generic], when: NDArray[np.float64], most: int, least: int = 1
) -> list[Use]:
    """Return uses in order of time, of at most so many items, each used at least so often."""
    items, counts = np.unique(what, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    kept = items[order[counts[order] >= least]]
    part = np.flatnonzero(np.isin(what, kept))
    part = part[np.argsort(when[part], kind="stable")]
    people, things = who[part].astype(str).tolist(), what[part].astype(str).tolist()
    return list(zip(people, things, when[part].tolist(), strict=True))
