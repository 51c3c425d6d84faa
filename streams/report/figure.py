"""A figure of the report: a title, a sentence with the finding, a picture and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.report.axes import Axis, days
from streams.report.markup import Markup


class Numbers(NamedTuple):
    """A table: the headings of the columns, and rows of text."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Bar(NamedTuple):
    """A bar: its length (0 to 1), its CSS class, its label, its value, and an optional detail."""

    share: float
    look: str
    label: str
    value: str
    detail: str = ""


class Bars(NamedTuple):
    """A group of bars with a title."""

    title: str
    bars: Sequence[Bar]


class Figure(NamedTuple):
    """One figure. Without a picture, its sentence says why there is no data.

    Attributes:
        name: the id in the page.
        title: the subject.
        finding: what the figure shows, with numbers.
        details: further sentences.
        note: how to read the figure.
        wide: the picture for screens and paper; without it, the figure takes half the width of the page.
        narrow: the picture for phones, and for half the width of the page.
        bars: groups of bars in place of a picture.
        key: CSS classes and names of the lines or layers.
        numbers: all values of the picture as a table.
    """

    name: str
    title: str
    finding: str
    details: Sequence[str] = ()
    note: str = ""
    wide: Markup | None = None
    narrow: Markup | None = None
    bars: Sequence[Bars] = ()
    key: Sequence[tuple[str, str]] = ()
    numbers: Numbers | None = None


def time_axis(span: tuple[float, float], width: float) -> Axis:
    """Return a time axis with as many ticks as fit the width."""
    return days(*span, max_ticks=int(width // 90))
