"""Axes: map values to positions in a picture, and choose the values of the ticks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import NamedTuple

from streams.report.weeks import WEEK, week_number, week_start

MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
"""Possible numbers of months between two ticks."""


class AxisTick(NamedTuple):
    """A value on an axis, and its label."""

    value: float
    label: str


class Axis(NamedTuple):
    """One axis of a picture: the range of values, the ticks, and a name."""

    low: float
    high: float
    ticks: tuple[AxisTick, ...]
    name: str = ""

    def place(self, value: float, start: float, end: float) -> float:
        """Return the position of a value between two positions of the picture."""
        return start + (end - start) * (value - self.low) / ((self.high - self.low) or 1.0)


def steps(low: float, high: float, max_ticks: int) -> list[float]:
    """Return round values from at most `low` to at least `high`, about `max_ticks` of them.

    Examples:
        >>> steps(0.52, 0.87, 5)
        [0.5, 0.6, 0.7, 0.8, 0.9]
        >>> steps(0, 130, 4)
        [0.0, 50.0, 100.0, 150.0]
        >>> steps(3, 3, 4)
        [3.0, 3.5]
    """
    span = (high - low) or 1.0
    power = 10.0 ** floor(log10(span / max_ticks))
    step = next(power * by for by in (1, 2, 5, 10, 20) if span / (power * by) <= max_ticks)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]


def numbers(
    low: float, high: float, max_ticks: int, number_format: str = ",.0f", name: str = "", exact: bool = False
) -> Axis:
    """Return an axis with round numbers around a range; an exact axis shows no value outside the range."""
    values = steps(low, high, max_ticks)
    if number_format.endswith(".0f"):
        values = [value for value in values if value == int(value)] or [floor(low), ceil(high) or 1]
    if exact:
        values = [value for value in values if low <= value <= high]
    ticks = tuple(AxisTick(value, f"{value:{number_format}}") for value in values)
    return Axis(low, high, ticks, name) if exact else Axis(values[0], values[-1], ticks, name)


def days(first: float, last: float, max_ticks: int, name: str = "") -> Axis:
    """Return a time axis. Ticks are Mondays for a short range, and first days of months for a longer one."""
    if last - first <= max_ticks * WEEK:
        mondays = range(week_number(first - 1) + 1, week_number(last) + 1)
        ticks = [
            AxisTick(week_start(week), f"{datetime.fromtimestamp(week_start(week), UTC):%-d %b}") for week in mondays
        ]
    else:
        every = next((every for every in MONTHS if len(list(_months(first, last, every))) <= max_ticks), MONTHS[-1])
        ticks = list(_months(first, last, every))
    return Axis(first, max(last, first + 1.0), tuple(ticks), name)


def _months(first: float, last: float, every: int) -> Iterator[AxisTick]:
    start = datetime.fromtimestamp(first, UTC)
    end = datetime.fromtimestamp(last, UTC)
    for month in range(start.year * 12, end.year * 12 + 12, every):
        moment = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()
        if first <= moment <= last:
            number_format = "%Y" if every >= 12 else "%b %Y"
            yield AxisTick(moment, f"{datetime.fromtimestamp(moment, UTC):{number_format}}")
