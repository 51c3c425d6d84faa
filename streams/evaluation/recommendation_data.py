"""Real histories for the evaluation of recommendations, as uses (user, item, time) and the terms of the items.

A fixed sample of each data set is used, so that an evaluation takes minutes: randomly chosen households, customers or
students, and the most used items. Uses of the same moment (a basket, a day's pages, ratings of one second) are
shuffled with a fixed seed. Files list them by item, and a model that learned that order would look too good.

MovieLens 100K (Harper & Konstan 2015) is read from RecBole's wheel on PyPI, without installing it.
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
    """Uses in time order, and the terms of the items used."""

    uses: list[Use]
    terms: dict[str, dict[str, float]]


class RecommendationTask(NamedTuple):
    """A prediction task on a data set: which item comes next, with `question` as text.

    Attributes:
        file: what `read` gets, as a pattern in the folder of all data sets.
        protocols: N lists and tests only new items, R all items; a data set without repeats has only N.
    """

    dataset: str
    question: str
    file: str
    read: Callable[[Path], UsageHistory]
    protocols: str = "RN"

    def path(self, folder: Path) -> Path | None:
        """Return where the data set is; none if it is missing."""
        return max(folder.glob(self.file), default=None)


def load_history(task: RecommendationTask, path: Path) -> UsageHistory:
    """Read a history.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return task.read(path)
    except (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise OperatorError(f"{path}: {task.dataset} cannot be read: {error}") from None


def movielens(wheel: Path, min_stars: float = 0.0) -> UsageHistory:
    """Read the ratings with at least `min_stars` stars; each is a use."""
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(wheel) as archive:
        ratings = archive.read(f"{folder}.inter").decode().splitlines()[1:]
        films = archive.read(f"{folder}.item").decode().splitlines()[1:]
    rated = [line.split("\t") for line in ratings]
    uses = [(user, item, float(time)) for user, item, rating, time in rated if float(rating) >= min_stars]
    terms: dict[str, dict[str, float]] = {}
    for line in films:
        item, title, year, genres = line.split("\t")
        terms[item] = _terms(title, [*genres.split(), f"{year[:3]}0s"])
    return UsageHistory([uses[index] for index in _time_order(np.array([time for _, _, time in uses]))], terms)


def completejourney(folder: Path, households: int = 200, products: int = 2_500) -> UsageHistory:
    """Read the purchases of some households, limited to the products they buy most."""
    columns = ["household_id", "product_id", "transaction_timestamp"]
    table = papq.read_table(folder / "transactions.parquet", columns=columns)
    users, items_used = (table[column].to_numpy() for column in columns[:2])
    times = table[columns[2]].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    all_households = np.unique(users)
    count = min(households, len(all_households))
    selected = np.isin(users, np.random.default_rng(0).choice(all_households, count, replace=False))
    uses = _most_used(users[selected], items_used[selected], times[selected], products)
    used_items, terms = {item for _, item, _ in uses}, {}
    for product in papq.read_table(folder / "products.parquet").to_pylist():
        if str(product["product_id"]) in used_items:
            labels = [product["product_category"], product["product_type"], f"by {product['manufacturer_id']}"]
            terms[str(product["product_id"])] = _terms(
                product["department"] or "", [label for label in labels if label]
            )
    return UsageHistory(uses, terms)


def online_retail(file: Path, share: int = 5, products: int = 2_500) -> UsageHistory:
    """Read the invoices of every fifth customer, drawn at random, limited to the products they buy most."""
    bought: list[tuple[int, str, float]] = []
    terms: dict[str, dict[str, float]] = {}
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            terms.setdefault(line["StockCode"], _terms(line["Description"], []))
            if line["CustomerID"] and not line["InvoiceNo"].startswith("C"):
                moment = datetime.fromisoformat(line["InvoiceDate"]).replace(tzinfo=UTC).timestamp()
                bought.append((int(float(line["CustomerID"])), line["StockCode"], moment))
    users, items_used, times = (np.array(column) for column in zip(*bought, strict=True))
    customers = np.unique(users)
    selected = np.isin(users, np.random.default_rng(0).choice(customers, len(customers) // share, replace=False))
    uses = _most_used(users[selected], items_used[selected], times[selected], products)
    used_items = {item for _, item, _ in uses}
    return UsageHistory(uses, {item: terms[item] for item in used_items})


def oulad(folder: Path, students: int = 275, min_count: int = 20) -> UsageHistory:
    """Read the page visits of some students, limited to pages with at least 20 visits. A visit is a page and a day."""
    table = pads.dataset(folder / "studentVle_ds", partitioning="hive").to_table(
        columns=["id_student", "id_site", "date", "code_presentation"]
    )
    users, items_used = (table[column].to_numpy().astype(np.int64) for column in ("id_student", "id_site"))
    selected = np.isin(users, np.random.default_rng(0).choice(np.unique(users), students, replace=False))
    presentations = np.array(table["code_presentation"].to_pylist())[selected]
    starts = {name: start.replace(tzinfo=UTC).timestamp() for name, start in STARTS.items()}
    times = np.array([starts[name] for name in presentations]) + table["date"].to_numpy()[selected] * DAY
    uses = _most_used(users[selected], items_used[selected], times, len(items_used), min_count)
    used_items, terms = {item for _, item, _ in uses}, {}
    for page in papq.read_table(folder / "vle.parquet").to_pylist():
        if (item := str(int(page["id_site"]))) in used_items:
            module, presentation = page["code_module"], page["code_presentation"]
            terms[item] = _terms("", [page["activity_type"], module, f"{module} {presentation}"])
    return UsageHistory(uses, terms)


def _terms(text: str, labels: Iterable[str]) -> dict[str, float]:
    counts = Counter(split_words(text))
    for label in labels:
        counts.update((f"#{label.casefold()}", *split_words(label)))
    return {term: float(count) for term, count in counts.items()}


def _most_used(
    users: NDArray[np.generic],
    items_used: NDArray[np.generic],
    times: NDArray[np.float64],
    max_items: int,
    min_count: int = 1,
) -> list[Use]:
    """Return uses in time order, limited to the most used items that have at least `min_count` uses."""
    items, counts = np.unique(items_used, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:max_items]
    kept = items[order[counts[order] >= min_count]]
    selected = np.flatnonzero(np.isin(items_used, kept))
    selected = selected[_time_order(times[selected])]
    user_ids, item_ids = users[selected].astype(str).tolist(), items_used[selected].astype(str).tolist()
    return list(zip(user_ids, item_ids, times[selected].tolist(), strict=True))


def _time_order(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the indices of moments in time order, with equal moments shuffled."""
    order: NDArray[np.int64] = np.lexsort((np.random.default_rng(0).random(len(times)), times))
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
