"""Reads tables of published data sets, CSV or Parquet, in batches of rows with bounded memory.

Cells are never trusted: missing values and text in number columns are found cell by cell. A line with too many or
too few cells is passed on with its batch, and reading continues.
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
"""Cells of a CSV file that mean a missing value."""
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".txt", ".txt.gz")

Columns = Mapping[str, tuple[str, ...]]
"""The columns to read by their name in this code, each with its possible names in the files."""


class UnusableRow(NamedTuple):
    """A row or line that is not a valid event, in its original form, and the reason."""

    raw: bytes
    error: InvalidEvent


class Batch(msgspec.Struct, dict=True):
    """Some rows of a table.

    Attributes:
        first: the number of the first row, from 0.
        rows: the rows, with the column names of this code.
        names: the names in the file by the names in this code.
        unusable: lines that are not rows, read since the batch before.
    """

    first: int
    rows: pa.RecordBatch
    names: dict[str, str]
    unusable: list[UnusableRow] = []

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as numbers; NaN where there is none."""
        if name not in self._number_columns:
            self._number_columns[name] = _numbers(self.rows.column(name))
        return self._number_columns[name]

    def texts(self, name: str) -> list[str | None]:
        """Return a column as texts; a whole number has no decimal point, as ids need."""
        column = self.rows.column(name)
        if pa.types.is_floating(column.type):
            return [None if cell is None else f"{cell:.15g}" for cell in column.to_pylist()]
        return [None if cell is None else str(cell).strip() or None for cell in column.to_pylist()]

    def join(self, *names: str) -> list[str | None]:
        """Return text columns with few distinct values, joined by `-`; None where one of them is missing."""
        column = pc.binary_join_element_wise(*(self.rows.column(name) for name in names), "-")
        coded = pc.dictionary_encode(column)
        texts = [*coded.dictionary.to_pylist(), None]
        return [texts[code] for code in pc.fill_null(coded.indices, len(texts) - 1).to_pylist()]

    def is_present(self, name: str) -> NDArray[np.bool_]:
        """Return which cells of a column have a value."""
        return np.asarray(pc.is_valid(self.rows.column(name)))

    def times(self, name: str, *formats: str) -> NDArray[np.float64]:
        """Return a column of dates and times as seconds since 1970 in UTC; NaN where there is none."""
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

    def row_json(self, row: int) -> bytes:
        """Return a row as JSON with the names of the file, for a dead letter."""
        cells = {self.names[name]: cell for name, cell in self._row_dicts[row].items()}
        return orjson.dumps(cells, default=str)

    def cell_error(self, row: int, name: str, field: str) -> InvalidEvent:
        """Return what is wrong with a cell."""
        cell = self._row_dicts[row][name]
        if cell is None or cell != cell:
            return InvalidEvent("missing_field", field, f"the row has no {self.names[name]}")
        reason = "wrong_type" if isinstance(cell, str) and np.isnan(_number(cell)) else "impossible_value"
        return InvalidEvent(reason, field, f"{self.names[name]} is {str(cell)[:50]!r}")

    @cached_property
    def _number_columns(self) -> dict[str, NDArray[np.float64]]:
        return {}

    @cached_property
    def _row_dicts(self) -> list[dict[str, Any]]:
        return list(self.rows.to_pylist())


def table_finder(spec: str, place: Path) -> Callable[..., Path]:
    """Return a function that finds the file of a table in a folder, by possible names without suffix.

    If the place is a file, the function returns it whatever its name. It raises OperatorError if there is no such file.
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


def number_entries(*tables: Iterable[ev.AnyEvent | UnusableRow]) -> Iterator[HistoryEntry | UnusableEntry]:
    """Number the rows of tables, one table after the other."""
    for position, found in enumerate(itertools.chain(*tables)):
        yield UnusableEntry(position, *found) if isinstance(found, UnusableRow) else HistoryEntry(position, found)


def column_names(file: Path) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        OperatorError: it cannot be read.
    """
    with _as_operator_errors(file):
        return _read_column_names(file)


def read_batches(file: Path, columns: Columns) -> Iterator[Batch]:
    """Read columns of a table from its beginning.

    Raises:
        OperatorError: it cannot be read, or a column is missing.
    """
    first = 0
    with _as_operator_errors(file):
        is_present = _read_column_names(file)
        file_names = {name: _find_column(file, is_present, names) for name, names in columns.items()}
        for rows, unusable in (_parquet if file.suffix == ".parquet" else _csv)(file, list(file_names.values())):
            yield Batch(first, rows.rename_columns(list(file_names)), file_names, unusable)
            first += rows.num_rows


@contextmanager
def _as_operator_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise OperatorError(f"{file}: {str(error).splitlines()[0]}") from None


def _read_column_names(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        return list(pa.parquet.read_schema(file).names)
    parse_options = pa.csv.ParseOptions(invalid_row_handler=lambda _: "skip")
    with pa.csv.open_csv(file, pa.csv.ReadOptions(block_size=BYTES, use_threads=False), parse_options) as head:
        return list(head.schema.names)


def _find_column(file: Path, is_present: list[str], names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in is_present), None)
    if found is None:
        raise OperatorError(f"{file}: has no column {' or '.join(names)}; it has {', '.join(is_present[:12])}")
    return found


def _parquet(file: Path, names: list[str]) -> Iterator[tuple[pa.RecordBatch, list[UnusableRow]]]:
    for rows in pa.parquet.ParquetFile(file).iter_batches(batch_size=ROWS, columns=names):
        yield rows.select(names), []


def _csv(file: Path, names: list[str]) -> Iterator[tuple[pa.RecordBatch, list[UnusableRow]]]:
    unusable: list[UnusableRow] = []

    def handle(row: Any) -> str:
        detail = f"{row.actual_columns} cells where there are {row.expected_columns} columns"
        unusable.append(UnusableRow(str(row.text).encode()[:10_000], InvalidEvent("malformed", None, detail)))
        return "skip"

    read_options = pa.csv.ReadOptions(block_size=BYTES, use_threads=False)
    parse_options = pa.csv.ParseOptions(invalid_row_handler=handle)
    convert_options = pa.csv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        null_values=NULLS,
        strings_can_be_null=True,
    )
    with pa.csv.open_csv(file, read_options, parse_options, convert_options) as reader:
        for rows in reader:
            yield rows, _take(unusable)


def _take(unusable: list[UnusableRow]) -> list[UnusableRow]:
    """Move the rows out of the list. The reader thread is ahead and may add rows; each arrives with some batch."""
    rows_taken = unusable[: len(unusable)]
    del unusable[: len(rows_taken)]
    return rows_taken


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
