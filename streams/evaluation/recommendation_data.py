"""Real histories that recommendations are measured on, as plain uses: who, what, when, and what courses are about.

Of each set a fixed part is taken, so that a measurement takes minutes: households, customers or students drawn once by
a seed, and the courses that are used most. Uses of one moment (a basket, a day's pages, ratings of one second) come in
an order drawn by a seed: files list them by item, and whoever learned that order would look good for nothing.

MovieLens 100K (Harper & Konstan 2015) is read out of the wheel of RecBole that PyPI has, without installing it.
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
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as papq
from numpy.typing import NDArray

from models.person.activity import DAY
from models.recommend.content import split_words
from streams.errors import OperatorError

STARTS = {"2013B": datetime(2013, 2, 1), "2013J": datetime(2013, 10, 1),
          "2014B": datetime(2014, 2, 1), "2014J": datetime(2014, 10, 1)}  # fmt: skip
Use = tuple[str, str, float]


class UsageHistory(NamedTuple):
    """Uses in order of time, and the terms of the courses used."""

    uses: list[Use]
    terms: dict[str, dict[str, float]]


class RecommendationTask(NamedTuple):
    """A question to a data set: what comes next, `asked` in words.

    Attributes:
        file: what of the data set `read` is given, as a pattern in the folder of all data sets.
        protocols: N lists and tests what is new to the person, R everything; without repeats, only N says anything.
    """

    dataset: str
    asked: str
    file: str
    read: Callable[[Path], UsageHistory]
    protocols: str = "RN"

    def path(self, folder: Path) -> Path | None:
        """Return where the data set is; nothing if it is not there."""
        return max(folder.glob(self.file), default=None)


def opened(task: RecommendationTask, path: Path) -> UsageHistory:
    """Read a history.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return task.read(path)
    except (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise OperatorError(f"{path}: {task.dataset} cannot be read: {error}") from None


def movielens(wheel: Path, least: float = 0.0) -> UsageHistory:
    """Read the ratings of at least so many stars; each is a use."""
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
    return UsageHistory([uses[place] for place in _in_time(np.array([time for _, _, time in uses]))], terms)


def completejourney(folder: Path, households: int = 200, products: int = 2_500) -> UsageHistory:
    """Read the purchases of some households, of the products they buy most."""
    columns = ["household_id", "product_id", "transaction_timestamp"]
    table = papq.read_table(folder / "transactions.parquet", columns=columns)
    who, what = (table[column].to_numpy() for column in columns[:2])
    when = table[columns[2]].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    everybody = np.unique(who)
    part = np.isin(who, np.random.default_rng(0).choice(everybody, min(households, len(everybody)), replace=False))
    uses = _most_used(who[part], what[part], when[part], products)
    wanted, terms = {item for _, item, _ in uses}, {}
    for product in papq.read_table(folder / "products.parquet").to_pylist():
        if str(product["product_id"]) in wanted:
            kinds = [product["product_category"], product["product_type"], f"by {product['manufacturer_id']}"]
            terms[str(product["product_id"])] = _terms(product["department"] or "", [kind for kind in kinds if kind])
    return UsageHistory(uses, terms)


def online_retail(file: Path, share: int = 5, products: int = 2_500) -> UsageHistory:
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
    return UsageHistory(uses, {item: terms[item] for item in wanted})


def oulad(folder: Path, students: int = 275, least: int = 20) -> UsageHistory:
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
    return UsageHistory(uses, terms)


def _terms(text: str, labels: Iterable[str]) -> dict[str, float]:
    counts = Counter(split_words(text))
    for label in labels:
        counts.update((f"#{label.casefold()}", *split_words(label)))
    return {term: float(count) for term, count in counts.items()}


def _most_used(
    who: NDArray[np.generic], what: NDArray[np.generic], when: NDArray[np.float64], most: int, least: int = 1
) -> list[Use]:
    """Return uses in order of time, of at most so many items, each used at least so often."""
    items, counts = np.unique(what, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    kept = items[order[counts[order] >= least]]
    part = np.flatnonzero(np.isin(what, kept))
    part = part[_in_time(when[part])]
    people, things = who[part].astype(str).tolist(), what[part].astype(str).tolist()
    return list(zip(people, things, when[part].tolist(), strict=True))


def _in_time(when: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of moments in their order, equal ones shuffled."""
    order: NDArray[np.int64] = np.lexsort((np.random.default_rng(0).random(len(when)), when))
    return order


TASKS = (
    RecommendationTask(
        "movielens", "film rated 5", "movielens/recbole-*.whl", lambda wheel: movielens(wheel, 5.0), "N"
    ),
    RecommendationTask("movielens", "film rated", "movielens/recbole-*.whl", movielens, "N"),
    RecommendationTask("oulad", "page of a course", "oulad", oulad),
    RecommendationTask("completejourney", "product", "completejourney", completejourney),
    RecommendationTask("online_retail", "product", "online_retail/online_retail.csv.gz", online_retail),
)
