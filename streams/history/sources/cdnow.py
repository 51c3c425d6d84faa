"""CDNOW: all purchases, over eighteen months, of customers who first bought at that music shop early in 1997.

Fader P., Hardie B., Marketing Science 24(2):275-284 (2005), in their published layout: CDNOW_master.txt, or a folder
that contains it. A line is a customer, a date (19970101), a number of CDs and dollars, separated by blanks.
CDNOW_sample.txt has another number of the customer in second place. A heading in the first line is skipped.

Each line is one `purchase` in USD, because customers did buy several times a day. Times of day come from
`streams.history.sources.days`. A user id is `customer-` and the original number; an event id names the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models.person.activity import DAY
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.errors import OperatorError
from streams.history.sources import days, tables
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.history.sources.tables import UnusableRow

CURRENCY = "USD"
MAX_LINE_BYTES = 1_000
"""The length limit of a line."""


class Cdnow:
    """All purchases of a file.

    Raises:
        OperatorError: the file is missing or cannot be read.
    """

    repeatable = True
    has_log_time = False
    skipped = 0

    def __init__(self, place: str) -> None:
        self.name = f"cdnow:{place}"
        self._file = tables.table_finder(self.name, Path(place))("CDNOW_master", "cdnow", "CDNOW_sample")

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        return tables.number_entries(self._purchases())

    def describe_position(self, position: int) -> str:
        """Return the number of the entry: its line, without the heading and empty lines."""
        return f"entry {position + 1}"

    def _purchases(self) -> Iterator[ev.Event | UnusableRow]:
        try:
            with self._file.open("rb") as lines:
                for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE_BYTES), b"")):
                    cells = line.split()
                    if cells and not (number == 0 and _is_heading(cells)):
                        yield _purchase(number, line, cells)
        except OSError as error:
            raise OperatorError(f"{self._file}: {error.strerror}") from None


def _is_heading(cells: list[bytes]) -> bool:
    return not any(character in b"0123456789" for cell in cells for character in cell)


def _purchase(row: int, line: bytes, cells: list[bytes]) -> ev.Event | UnusableRow:
    try:
        if len(cells) not in (4, 5):
            raise InvalidEvent("malformed", None, f"{len(cells)} cells describe_position there are 4 or 5 columns")
        customer = _customer(cells[0])
        day, amount = _day(cells[-3]), _dollars(cells[-1])
    except InvalidEvent as error:
        return UnusableRow(line.strip(), error)
    user, date = np.array([int(customer)]), np.array([day])
    time = days.day_starts(user, date) + days.seconds_in_day(user, np.array([row]))
    return ev.Purchase(
        id=f"cdnow-{row}", user_id=f"customer-{customer}", time=float(time[0]), amount=amount, currency=CURRENCY
    )


def _customer(cell: bytes) -> str:
    if not cell.isdigit() or len(cell) > 15:
        raise InvalidEvent("wrong_type", "user_id", f"the customer is {_quote(cell)}")
    return cell.decode()


def _day(cell: bytes) -> int:
    try:
        moment = datetime.strptime(cell.decode("ascii", "replace"), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidEvent("impossible_value", "time", f"the date is {_quote(cell)}") from None
    if not 0 <= moment.timestamp() < ev.LAST_TIME - DAY:
        raise InvalidEvent("impossible_value", "time", f"the date is {_quote(cell)}")
    return int(moment.timestamp() // DAY)


def _dollars(cell: bytes) -> float:
    try:
        amount = float(cell)
    except ValueError:
        raise InvalidEvent("wrong_type", "amount", f"the dollars are {_quote(cell)}") from None
    if not 0 <= amount <= 1e9:
        raise InvalidEvent("impossible_value", "amount", f"the dollars are {_quote(cell)}")
    return amount


def _quote(cell: bytes) -> str:
    return repr(cell[:50].decode("ascii", "replace"))
