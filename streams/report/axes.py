"""Axes: from what is measured to places on paper, and which values to write beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import NamedTuple

from streams.report.weeks import WEEK, begin_of, week_at

MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
"""How many months may lie between two ticks."""


class AxisTick(NamedTuple):
    """A value that is written beside an axis, and how."""

    value: float
    words: str


class Axis(NamedTuple):
    """One direction of a picture: the span of values it shows, which of them are written, and what they are."""

    low: float
    high: float
    ticks: tuple[AxisTick, ...]
    name: str = ""

    def place(self, value: float, start: float, end: float) -> float:
        """Return where a value stands between two places of the paper."""
        return start + (end - start) * (value - self.low) / ((self.high - self.low) or 1.0)


def steps(low: float, high: float, most: int) -> list[float]:
    """Return round values from at most `low` to at least `high`, about `most` of them.

    Examples:
        >>> steps(0.52, 0.87, 5)
        [0.5, 0.6, 0.7, 0.8, 0.9]
        >>> steps(0, 130, 4)
        [0.0, 50.0, 100.0, 150.0]
        >>> steps(3, 3, 4)
        [3.0, 3.5]
    """
    span = (high - low) or 1.0
    power = 10.0 ** floor(log10(span / most))
    step = next(power * by for by in (1, 2, 5, 10, 20) if span / (power * by) <= most)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def numbers(low: float, high: float, most: int, form: str = ",.0f", name: str = "", exact: bool = False) -> Axis:
    """Return an axis of round numbers around a span; an exact one shows the span and nothing beyond it."""
    values = steps(low, high, most)
    if form.endswith(".0f"):
        values = [value for value in values if value == int(value)] or [floor(low), ceil(high) or 1]
    if exact:
        values = [value for value in values if low <= value <= high]
    ticks = tuple(AxisTick(value, f"{value:{form}}") for value in values)
    return Axis(low, high, ticks, name) if exact else Axis(values[0], values[-1], ticks, name)


def days(first: float, last: float, most: int, name: str = "") -> Axis:
    """Return an axis of time: ticks on Mondays of a short span, on the first of months of a longer one."""
    if last - first <= most * WEEK:
        mondays = range(week_at(first - 1) + 1, week_at(last) + 1)
        ticks = [AxisTick(begin_of(week), f"{datetime.fromtimestamp(begin_of(week), UTC):%-d %b}") for week in mondays]
    else:
        every = next((every for every in MONTHS if len(list(_months(first, last, every))) <= most), MONTHS[-1])
        ticks = list(_months(first, last, every))
    return Axis(first, max(last, first + 1.0), tuple(ticks), name)


def _months(first: float, last: float, every: int) -> Iterator[AxisTick]:
    begun = datetime.fromtimestamp(first, UTC)
    end = datetime.fromtimestamp(last, UTC)
    for month in range(begun.year * 12, end.year * 12 + 12, every):
        moment = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()
        if first <= moment <= last:
            form = "%Y" if every >= 12 else "%b %Y"
            yield AxisTick(moment, f"{datetime.fromtimestamp(moment, UTC):{form}}")
