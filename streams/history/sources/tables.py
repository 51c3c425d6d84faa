"""Tables of published data sets, CSV or Parquet, read in batches of rows with bounded memory.

Cells are never trusted: what is missing or no number is found cell by cell and named, and a line that has too many
or too few cells is handed on with the batch instead of ending the reading.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.errors import OperatorError
from streams.history.sources.source import HistoryEntry, UnusableEntry

ROWS = 1 << 15
"""Rows in a batch of Parquet."""
BYTES = 1 << 20
"""Bytes in a batch of CSV."""
NULLS = ["", "?", "NA", "NULL"]
"""What stands in a CSV for a value that is missing."""
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".txt", ".txt.gz")

Columns = Mapping[str, tuple[str, ...]]
"""The columns that are read, by our name, each with the names it has in one layout or another."""


class Fault(NamedTuple):
    """A row or line of which no event can be made, as it came, and why."""

    raw: bytes
    error: InvalidEvent


class Batch(msgspec.Struct, dict=True):
    """Some rows of a table.

    Attributes:
        first: the number of the first row, from 0.
        rows: the rows, with our names of the columns.
        names: the names in the file by ours.
        broken: lines that were no rows, met since the batch before.
    """

    first: int
    rows: pa.RecordBatch
    names: dict[str, str]
    broken: list[Fault] = []

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers; NaN where there is none."""
        if name not in self._known:
            self._known[name] = _numbers(self.rows.column(name))
        return self._known[name]

    def texts(self, name: str) -> list[str | None]:
        """Return a column as texts; a whole number is written without a point, as ids are."""
        column = self.rows.column(name)
        if pa.types.is_floating(column.type):
            return [None if cell is None else f"{cell:.15g}" for cell in column.to_pylist()]
        return [None if cell is None else str(cell).strip() or None for cell in column.to_pylist()]

    def joined(self, *names: str) -> list[str | None]:
        """Return columns of texts that repeat, joined by `-`; none where one of them is missing."""
        column = pc.binary_join_element_wise(*(self.rows.column(name) for name in names), "-")
        coded = pc.dictionary_encode(column)
        texts = [*coded.dictionary.to_pylist(), None]
        return [texts[code] for code in pc.fill_null(coded.indices, len(texts) - 1).to_pylist()]

    def present(self, name: str) -> NDArray[np.bool_]:
        """Return which cells of a column hold anything."""
        return np.asarray(pc.is_valid(self.rows.column(name)))

    def moments(self, name: str, *formats: str) -> NDArray[np.float64]:
        """Return a column of dates and times as seconds since 1970, read as UTC; NaN where there is none."""
        column = self.rows.column(name)
        if pa.types.is_string(column.type):
            parsed = [pc.strptime(column, format=form, unit="s", error_is_null=True) for form in formats]
            column = pc.coalesce(*parsed)
        if pa.types.is_date(column.type):
            column = pc.cast(column, pa.timestamp("s"))
        if not pa.types.is_timestamp(column.type):
            return np.full(len(self), float("nan"))
        micros = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
        return np.asarray(pc.fill_null(pc.cast(micros, pa.float64()), float("nan")), dtype=np.float64) / 1e6

    def raw(self, row: int) -> bytes:
        """Return a row as JSON with the file's names, which is what a dead letter holds of it."""
        cells = {self.names[name]: cell for name, cell in self._lists[row].items()}
        return orjson.dumps(cells, default=str)

    def fault(self, row: int, name: str, field: str) -> InvalidEvent:
        """Return what is wrong with a cell of which nothing can be made."""
        cell = self._lists[row][name]
        if cell is None or cell != cell:
            return InvalidEvent("missing_field", field, f"the row has no {self.names[name]}")
        reason = "wrong_type" if isinstance(cell, str) and np.isnan(_number(cell)) else "impossible_value"
        return InvalidEvent(reason, field, f"{self.names[name]} is {str(cell)[:50]!r}")

    @cached_property
    def _known(self) -> dict[str, NDArray[np.float64]]:
        return {}

    @cached_property
    def _lists(self) -> list[dict[str, Any]]:
        return list(self.rows.to_pylist())


def finder(spec: str, place: Path) -> Callable[..., Path]:
    """Return what finds a table's file by the names it may have, without their endings, in a folder.

    Where the place is a file it is that file whatever its name. What it returns raises OperatorError if there is none.
    """

    def find(*stems: str) -> Path:
        if place.is_file():
            return place
        if not place.is_dir():
            raise OperatorError(f"{spec}: no such folder")
        files = [place / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise OperatorError(f"{spec}: the folder has no {' or '.join(stems)} ({', '.join(SUFFIXES)})")
        return found

    return find


def numbered(*tables: Iterable[ev.AnyEvent | Fault]) -> Iterator[HistoryEntry | UnusableEntry]:
    """Number what tables give, one after the other."""
    for position, found in enumerate(itertools.chain(*tables)):
        yield UnusableEntry(position, *found) if isinstance(found, Fault) else HistoryEntry(position, found)


def columns_of(file: Path) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        OperatorError: it cannot be read.
    """
    with _readable(file):
        return _columns_of(file)


def read(file: Path, columns: Columns) -> Iterator[Batch]:
    """Read columns of a table from its beginning.

    Raises:
        OperatorError: it cannot be read, or a column is missing.
    """
    first = 0
    with _readable(file):
        present = _columns_of(file)
        theirs = {name: _present(file, present, names) for name, names in columns.items()}
        for rows, broken in (_parquet if file.suffix == ".parquet" else _csv)(file, list(theirs.values())):
            yield Batch(first, rows.rename_columns(list(theirs)), theirs, broken)
            first += rows.num_rows


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise OperatorError(f"{file}: {str(error).splitlines()[0]}") from None


def _columns_of(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        return list(pa.parquet.read_schema(file).names)
    parsing = pa.csv.ParseOptions(invalid_row_handler=lambda _: "skip")
    with pa.csv.open_csv(file, pa.csv.ReadOptions(block_size=BYTES, use_threads=False), parsing) as head:
        return list(head.schema.names)


def _present(file: Path, present: list[str], names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in present), None)
    if found is None:
        raise OperatorError(f"{file}: has no column {' or '.join(names)}; it has {', '.join(present[:12])}")
    return found


def _parquet(file: Path, names: list[str]) -> Iterator[tuple[pa.RecordBatch, list[Fault]]]:
    for rows in pa.parquet.ParquetFile(file).iter_batches(batch_size=ROWS, columns=names):
        yield rows.select(names), []


def _csv(file: Path, names: list[str]) -> Iterator[tuple[pa.RecordBatch, list[Fault]]]:
    broken: list[Fault] = []

    def handle(row: Any) -> str:
        detail = f"{row.actual_columns} cells where there are {row.expected_columns} columns"
        broken.append(Fault(str(row.text).encode()[:10_000], InvalidEvent("malformed", None, detail)))
        return "skip"

    reading = pa.csv.ReadOptions(block_size=BYTES, use_threads=False)
    parsing = pa.csv.ParseOptions(invalid_row_handler=handle)
    converting = pa.csv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        null_values=NULLS,
        strings_can_be_null=True,
    )
    with pa.csv.open_csv(file, reading, parsing, converting) as reader:
        for rows in reader:
            yield rows, _taken(broken)


def _taken(broken: list[Fault]) -> list[Fault]:
    """Take what is there now. The reader is ahead and may be adding; as it gives a batch a block, none stays."""
    taken = broken[: len(broken)]
    del broken[: len(taken)]
    return taken


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    try:
        return np.asarray(pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan")), dtype=np.float64)
    except pa.ArrowException:
        return np.array([_number(cell) for cell in column.to_pylist()], dtype=np.float64)


def _number(cell: Any) -> float:
    try:
        return float(cell) if cell else float("nan")
    except (TypeError, ValueError):
        return float("nan")
