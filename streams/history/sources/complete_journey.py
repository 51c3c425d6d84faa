"""The Complete Journey of dunnhumby: purchases of 2,500 households, campaigns that reached them, and their redemptions.

A folder with transactions, campaigns, campaign_descriptions and coupon_redemptions (Parquet or CSV, of the packages
`completejourney` for R and Python, CC0), or dunnhumby's own CSV files transaction_data, campaign_table, campaign_desc
and coupon_redempt.

| row of | becomes | with |
|---|---|---|
| transactions: the lines of a basket | one `purchase` | the sum of sales_value, what the household paid, in USD |
| campaigns | `coupon_delivered` | `completejourney-campaign-18` as `offer_id`, on the day the campaign starts |
| coupon_redemptions | `coupon_redeemed` | the same `offer_id`, on its day; the discount is not known |

A basket is one visit, so it is one purchase; products are not used. Times are local to the stores and are read as UTC.
Days without a time of day get one from `streams.history.sources.days`. dunnhumby's own files count days; day 1 is read
as 1 January 2016. A user id is `household-` and the household's number. An event id names the table and the row, for a
basket its first row. The lines of a basket are adjacent in all layouts; otherwise each group of them is a purchase.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from models.person.activity import DAY
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.history.sources import days, tables
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.history.sources.tables import Batch, Columns, UnusableRow

DAY_ZERO = datetime(2015, 12, 31, tzinfo=UTC).timestamp() / DAY
"""The day before day 1 of dunnhumby's own files, counted from 1970."""
MAX_ID = 1e15
MAX_PAID = 1e9
LAST_DAY = ev.LAST_TIME / DAY - 1
FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")
CURRENCY = "USD"

_HOUSEHOLD = {"household": ("household_id", "household_key")}
_CAMPAIGN = {"campaign": ("campaign_id", "CAMPAIGN")}
_LINES = {**_HOUSEHOLD, "basket": ("basket_id", "BASKET_ID"), "paid": ("sales_value", "SALES_VALUE")}
_TIMED: Columns = {**_LINES, "time": ("transaction_timestamp",)}
_COUNTED: Columns = {**_LINES, "day": ("DAY",), "clock": ("TRANS_TIME",)}


class Basket(Struct, frozen=True):
    """The lines of a basket that were read so far; `row` is the first of them."""

    row: int
    id: float
    household: float
    time: float
    paid: float


class CompleteJourney:
    """The whole data set in a folder, table by table.

    Raises:
        OperatorError: a table is missing, cannot be read or lacks a column.
    """

    repeatable = True
    has_log_time = False
    skipped = 0

    def __init__(self, folder: str) -> None:
        self.name = f"completejourney:{folder}"
        find = tables.table_finder(self.name, Path(folder))
        self._lines = find("transactions", "transaction_data")
        self._campaigns = find("campaigns", "campaign_table")
        self._descriptions = find("campaign_descriptions", "campaign_desc")
        self._redemption_file = find("coupon_redemptions", "coupon_redempt")

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        return tables.number_entries(self._deliveries(), self._redemptions(), self._purchases())

    def describe_position(self, position: int) -> str:
        """Return the number of the entry; campaigns come first, then redemptions and baskets."""
        return f"entry {position + 1}"

    def _purchases(self) -> Iterator[ev.Event | UnusableRow]:
        open_basket: Basket | None = None
        counted = "DAY" in tables.column_names(self._lines)
        for batch in tables.read_batches(self._lines, _COUNTED if counted else _TIMED):
            yield from batch.unusable
            times = _day_times(batch) if counted else batch.times("time", *FORMATS)
            columns = [batch.numbers(name).tolist() for name in ("household", "basket", "paid")]
            for row, (time, household, basket, paid) in enumerate(zip(times.tolist(), *columns, strict=True)):
                if not (
                    0 <= time <= ev.LAST_TIME
                    and abs(household) <= MAX_ID
                    and basket == basket
                    and 0 <= paid <= MAX_PAID
                ):
                    yield UnusableRow(batch.row_json(row), _row_error(batch, row, "day" if counted else "time", time))
                elif open_basket and (open_basket.id, open_basket.household) == (basket, household):
                    open_basket = replace(open_basket, paid=open_basket.paid + paid)
                else:
                    if open_basket:
                        yield _purchase(open_basket)
                    open_basket = Basket(batch.first + row, basket, household, time, paid)
        if open_basket:
            yield _purchase(open_basket)

    def _deliveries(self) -> Iterator[ev.Event | UnusableRow]:
        starts = self._starts()
        for batch in tables.read_batches(self._campaigns, {**_HOUSEHOLD, **_CAMPAIGN}):
            yield from batch.unusable
            campaigns = batch.numbers("campaign").tolist()
            dates = np.array([starts.get(campaign, float("nan")) for campaign in campaigns])
            for row, household, campaign, time in _rows_with_time(batch, dates):
                if time != time:
                    yield UnusableRow(batch.row_json(row), _row_error(batch, row, "campaign", time))
                    continue
                yield ev.CouponDelivered(
                    id=f"completejourney-campaign-{batch.first + row}", user_id=_user_id(household), time=time,
                    offer_id=_offer_id(campaign),
                )  # fmt: skip

    def _redemptions(self) -> Iterator[ev.Event | UnusableRow]:
        counted = "DAY" in tables.column_names(self._redemption_file)
        columns = {**_HOUSEHOLD, **_CAMPAIGN, "date": ("redemption_date", "DAY")}
        for batch in tables.read_batches(self._redemption_file, columns):
            yield from batch.unusable
            dates = DAY_ZERO + batch.numbers("date") if counted else batch.times("date", *FORMATS) / DAY
            for row, household, campaign, time in _rows_with_time(batch, dates):
                if time != time:
                    yield UnusableRow(batch.row_json(row), _row_error(batch, row, "date", time))
                    continue
                yield ev.CouponRedeemed(
                    id=f"completejourney-redemption-{batch.first + row}", user_id=_user_id(household), time=time,
                    offer_id=_offer_id(campaign),
                )  # fmt: skip

    def _starts(self) -> dict[float, float]:
        """Return the day on which each campaign starts, counted from 1970."""
        counted = "START_DAY" in tables.column_names(self._descriptions)
        starts: dict[float, float] = {}
        for batch in tables.read_batches(self._descriptions, {**_CAMPAIGN, "date": ("start_date", "START_DAY")}):
            dates = DAY_ZERO + batch.numbers("date") if counted else batch.times("date", *FORMATS) / DAY
            starts |= zip(batch.numbers("campaign").tolist(), dates.tolist(), strict=True)
        return starts


def _rows_with_time(batch: Batch, dates: NDArray[np.float64]) -> Iterator[tuple[int, float, float, float]]:
    """Yield row, household, campaign and time; the time is NaN if any of them is unknown."""
    households, campaigns = batch.numbers("household"), batch.numbers("campaign")
    valid = (np.abs(households) <= MAX_ID) & (np.abs(campaigns) <= MAX_ID) & (dates >= 0) & (dates < LAST_DAY)
    users, day = np.where(valid, households, 0.0), np.floor(np.where(valid, dates, 0.0))
    times = days.day_starts(users, day) + days.seconds_in_day(users, batch.first + np.arange(len(batch)))
    known = np.where(valid, times, float("nan"))
    return zip(range(len(batch)), households.tolist(), campaigns.tolist(), known.tolist(), strict=True)


def _day_times(batch: Batch) -> NDArray[np.float64]:
    """Return the times of lines with a day number and a clock; the clock is 1631 for 16:31."""
    clock = batch.numbers("clock")
    seconds = clock // 100 * 3_600 + clock % 100 * 60
    return np.where((seconds >= 0) & (seconds < DAY), (DAY_ZERO + batch.numbers("day")) * DAY + seconds, float("nan"))


def _purchase(basket: Basket) -> ev.Purchase | UnusableRow:
    if basket.paid > MAX_PAID:
        return UnusableRow(
            msgspec.json.encode(basket), InvalidEvent("impossible_value", "amount", f"{basket.paid:.0f} in all")
        )
    return ev.Purchase(
        id=f"completejourney-basket-{basket.row}", user_id=_user_id(basket.household), time=basket.time,
        amount=round(basket.paid, 2), currency=CURRENCY,
    )  # fmt: skip


def _user_id(household: float) -> str:
    return f"household-{household:.0f}"


def _offer_id(campaign: float) -> str:
    return f"completejourney-campaign-{campaign:.0f}"


def _row_error(batch: Batch, row: int, date: str, time: float) -> InvalidEvent:
    if not abs(batch.numbers("household")[row]) <= MAX_ID:
        return batch.cell_error(row, "household", "user_id")
    if time == time and 0 <= time <= ev.LAST_TIME:
        basket = batch.numbers("basket")[row]
        return batch.cell_error(row, "paid", "amount") if basket == basket else batch.cell_error(row, "basket", "id")
    if date == "day" and abs(batch.numbers("day")[row]) < LAST_DAY - DAY_ZERO:
        return batch.cell_error(row, "clock", "time")
    return batch.cell_error(row, date, "time")
