"""UCI Online Retail: the invoices of a gift wholesaler, as CSV or Parquet (the workbook, saved in either format).

Chen D., UCI Machine Learning Repository (2015), CC BY 4.0, https://doi.org/10.24432/C5BW33. A folder with
online_retail, OnlineRetail, data or Online Retail, or the file itself. The columns of Online Retail II
(https://doi.org/10.24432/C5CG6D) are accepted too.

| lines of | becomes | with |
|---|---|---|
| an invoice | one `purchase` | the sum of Quantity times UnitPrice, in GBP |
| an invoice whose number starts with C | one `refund` | the same sum with a positive sign |

An invoice is one visit to the shop, so it is one event, at the time of its first line; products are not used. Times
are London's and are read as UTC. A user id is `customer-` and the number. An event id names the row of the invoice's
first line. If the lines of an invoice are not adjacent, each group of them is an event. A line is unusable without
CustomerID or date, or if its quantity or price is not a number. An invoice with a negative sum is unusable as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.history.sources import tables
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.history.sources.tables import Batch, UnusableRow

FORMATS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M")
CURRENCY = "GBP"
REFUND = "C"
MAX_VALUE = 1e9

_COLUMNS = {
    "invoice": ("InvoiceNo", "Invoice"),
    "quantity": ("Quantity",),
    "date": ("InvoiceDate",),
    "price": ("UnitPrice", "Price"),
    "customer": ("CustomerID", "Customer ID"),
}


class Invoice(Struct, frozen=True):
    """The lines of an invoice that were read so far; `row` is the first of them."""

    row: int
    number: str
    customer: float
    time: float
    sum: float


class OnlineRetail:
    """All invoices of a file.

    Raises:
        OperatorError: the file is missing, cannot be read or lacks a column.
    """

    repeatable = True
    has_log_time = False
    skipped = 0

    def __init__(self, place: str) -> None:
        self.name = f"onlineretail:{place}"
        find = tables.table_finder(self.name, Path(place))
        self._file = find("online_retail", "OnlineRetail", "Online Retail", "online_retail_II", "data")

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        return tables.number_entries(self._invoices())

    def describe_position(self, position: int) -> str:
        """Return the number of the entry; entries are invoices and unusable lines."""
        return f"entry {position + 1}"

    def _invoices(self) -> Iterator[ev.Event | UnusableRow]:
        invoice: Invoice | None = None
        for batch in tables.read_batches(self._file, _COLUMNS):
            yield from batch.unusable
            times, sums = batch.times("date", *FORMATS), batch.numbers("quantity") * batch.numbers("price")
            columns = zip(
                batch.texts("invoice"), batch.numbers("customer").tolist(), times.tolist(), sums.tolist(), strict=True
            )
            for row, (number, customer, time, amount) in enumerate(columns):
                if number is None or not (
                    0 < customer < MAX_VALUE and 0 <= time <= ev.LAST_TIME and abs(amount) < MAX_VALUE
                ):
                    yield UnusableRow(batch.row_json(row), _row_error(batch, row))
                elif invoice and (invoice.number, invoice.customer) == (number, customer):
                    invoice = replace(invoice, sum=invoice.sum + amount)
                else:
                    if invoice:
                        yield _event(invoice)
                    invoice = Invoice(batch.first + row, number, customer, time, amount)
        if invoice:
            yield _event(invoice)


def _event(invoice: Invoice) -> ev.Event | UnusableRow:
    refund = invoice.number.startswith(REFUND)
    amount = round(-invoice.sum if refund else invoice.sum, 2) + 0.0
    if not 0 <= amount <= MAX_VALUE:
        return UnusableRow(
            msgspec.json.encode(invoice), InvalidEvent("impossible_value", "amount", f"the invoice comes to {amount}")
        )
    kind = ev.Refund if refund else ev.Purchase
    return kind(
        id=f"onlineretail-{invoice.row}", user_id=f"customer-{invoice.customer:.0f}", time=invoice.time, amount=amount,
        currency=CURRENCY,
    )  # fmt: skip


def _row_error(batch: Batch, row: int) -> InvalidEvent:
    customer = batch.numbers("customer")[row]
    if not 0 < customer < MAX_VALUE:
        return batch.cell_error(row, "customer", "user_id")
    if batch.texts("invoice")[row] is None:
        return batch.cell_error(row, "invoice", "id")
    moment = batch.times("date", *FORMATS)[row]
    if not 0 <= moment <= ev.LAST_TIME:
        return batch.cell_error(row, "date", "time")
    quantity = batch.numbers("quantity")[row]
    return batch.cell_error(row, "price" if abs(quantity) < MAX_VALUE else "quantity", "amount")
