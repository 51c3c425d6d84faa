"""UCI Online Retail: the invoices of a wholesaler of gifts, as CSV or Parquet (the workbook, saved as either).

Chen D., UCI Machine Learning Repository (2015), CC BY 4.0, https://doi.org/10.24432/C5BW33. A folder with
online_retail, OnlineRetail, data or Online Retail, or the file itself; the columns of Online Retail II
(https://doi.org/10.24432/C5CG6D) are known too.

| lines of | becomes | with |
|---|---|---|
| an invoice | one `purchase` | the sum of Quantity times UnitPrice, in GBP |
| an invoice whose number starts with C | one `refund` | the same sum, turned positive |

An invoice is one visit to the shop, so it is one event, at the time of its first line; products are not used. Times
are London's and are read as UTC. A person is `customer-` and the number. Ids name the row of the invoice's first line;
if lines of an invoice do not stand together, each group of them is an event. Unusable, line by line: no CustomerID,
no date, a quantity or price that is no number. An invoice that comes to less than nothing is unusable as a whole.
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
from streams.history.sources.tables import Batch, Fault

FORMATS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M", "%Y-%m-%dT%H:%M:%S", "%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M")
CURRENCY = "GBP"
REFUND = "C"
MOST = 1e9

_COLUMNS = {
    "invoice": ("InvoiceNo", "Invoice"),
    "quantity": ("Quantity",),
    "date": ("InvoiceDate",),
    "price": ("UnitPrice", "Price"),
    "customer": ("CustomerID", "Customer ID"),
}


class Invoice(Struct, frozen=True):
    """The lines of an invoice met so far; `row` is its first."""

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

    again = True
    logged = False
    skipped = 0

    def __init__(self, place: str) -> None:
        self.name = f"onlineretail:{place}"
        find = tables.finder(self.name, Path(place))
        self._file = find("online_retail", "OnlineRetail", "Online Retail", "online_retail_II", "data")

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        return tables.numbered(self._invoices())

    def where(self, position: int) -> str:
        """Return the entry's number: invoices, and lines that are unusable."""
        return f"entry {position + 1}"

    def _invoices(self) -> Iterator[ev.Event | Fault]:
        invoice: Invoice | None = None
        for batch in tables.read(self._file, _COLUMNS):
            yield from batch.broken
            times, sums = batch.moments("date", *FORMATS), batch.numbers("quantity") * batch.numbers("price")
            columns = zip(
                batch.texts("invoice"), batch.numbers("customer").tolist(), times.tolist(), sums.tolist(), strict=True
            )
            for row, (number, customer, time, amount) in enumerate(columns):
                if number is None or not (0 < customer < MOST and 0 <= time <= ev.LAST_TIME and abs(amount) < MOST):
                    yield Fault(batch.raw(row), _fault(batch, row))
                elif invoice and (invoice.number, invoice.customer) == (number, customer):
                    invoice = replace(invoice, sum=invoice.sum + amount)
                else:
                    if invoice:
                        yield _event(invoice)
                    invoice = Invoice(batch.first + row, number, customer, time, amount)
        if invoice:
            yield _event(invoice)


def _event(invoice: Invoice) -> ev.Event | Fault:
    refund = invoice.number.startswith(REFUND)
    amount = round(-invoice.sum if refund else invoice.sum, 2) + 0.0
    if not 0 <= amount <= MOST:
        return Fault(
            msgspec.json.encode(invoice), InvalidEvent("impossible_value", "amount", f"the invoice comes to {amount}")
        )
    kind = ev.Refund if refund else ev.Purchase
    return kind(
        id=f"onlineretail-{invoice.row}", user_id=f"customer-{invoice.customer:.0f}", time=invoice.time, amount=amount,
        currency=CURRENCY,
    )  # fmt: skip


def _fault(batch: Batch, row: int) -> InvalidEvent:
    customer = batch.numbers("customer")[row]
    if not 0 < customer < MOST:
        return batch.fault(row, "customer", "user_id")
    if batch.texts("invoice")[row] is None:
        return batch.fault(row, "invoice", "id")
    moment = batch.moments("date", *FORMATS)[row]
    if not 0 <= moment <= ev.LAST_TIME:
        return batch.fault(row, "date", "time")
    quantity = batch.numbers("quantity")[row]
    return batch.fault(row, "price" if abs(quantity) < MOST else "quantity", "amount")
