"""A figure of the report: its title, the sentence that says what is to be seen, its picture and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.report.axes import Axis, days
from streams.report.markup import Markup


class Numbers(NamedTuple):
    """Figures as a table: what the columns are, and rows of text."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class Bar(NamedTuple):
    """A bar with its words: how long it is (0 to 1), how it looks, what it stands for, and what is to be added."""

    share: float
    look: str
    words: str
    figure: str
    more: str = ""


class Bars(NamedTuple):
    """Bars that belong together."""

    title: str
    bars: Sequence[Bar]


class Figure(NamedTuple):
    """One figure. Without pictures its sentence says why there is nothing to be seen.

    Attributes:
        name: in the page's address.
        title: what it is about.
        says: what it shows, with its numbers.
        points: what is to be said besides, a sentence or two each.
        note: how to read it.
        wide: the picture for screens and paper; without one the figure takes half the page's width.
        narrow: the picture for phones, and for half the page's width.
        bars: instead of a picture.
        key: looks and names of what is drawn.
        numbers: all that is drawn, as a table.
    """

    name: str
    title: str
    says: str
    points: Sequence[str] = ()
    note: str = ""
    wide: Markup | None = None
    narrow: Markup | None = None
    bars: Sequence[Bars] = ()
    key: Sequence[tuple[str, str]] = ()
    numbers: Numbers | None = None


def time_axis(span: tuple[float, float], width: float) -> Axis:
    """Return an axis of time with as many ticks as a width has room for."""
    return days(*span, most=int(width // 90))
