"""Pictures as SVG: lines, stacked areas, heat maps and bars. Colours come from the page, to suit its light."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from streams.report.axes import Axis
from streams.report.markup import Markup, joined, tag

WIDE, NARROW = 860, 400
"""Widths that pictures are drawn at: for a screen or paper, and for a phone or half a page."""
LEFT, RIGHT, TOP, BOTTOM = 48.0, 14.0, 26.0, 30.0
NAMES, NAME = 72.0, 34.0
"""Room for the names of a heat map's rows, and of a column."""
CELL_WITH_WORDS = 34.0
"""Least width of a heat map's cell that has room for a percentage."""


AREAS = ("high", "medium", "low")
"""Looks that are filled, not drawn as lines."""


class PlotPoint(NamedTuple):
    """A point of a line, and what is said when one points at it. Without a `y`, the line is interrupted."""

    x: float
    y: float | None
    words: str = ""


class LineSeries(NamedTuple):
    """A line: its looks are a class of the page's style."""

    look: str
    points: Sequence[PlotPoint]
    dots: bool = False


class AxisMark(NamedTuple):
    """A moment that is marked across a picture."""

    x: float
    words: str


class HeatCell(NamedTuple):
    """A cell of a heat map: how strong it is, from 0 to 1, what it says, and what when one points at it."""

    share: float
    words: str
    more: str


class HeatRow(NamedTuple):
    """A row of a heat map; where nothing is known there is no cell."""

    name: str
    cells: Sequence[HeatCell | None]


class Frame(NamedTuple):
    """The part of a picture between its axes."""

    width: float
    height: float
    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the place of a value of each axis."""
        return (
            self.x.place(x, LEFT, self.width - RIGHT),
            self.y.place(y, self.height - BOTTOM, TOP),
        )

    def axes(self) -> Markup:
        """Draw a grid, the values beside it, and what they are."""
        foot = self.height - BOTTOM
        across = [
            joined(
                tag("line", class_="grid", x1=LEFT, x2=self.width - RIGHT, y1=y, y2=y),
                tag("text", tick.words, x=LEFT - 7, y=y + 4, text_anchor="end"),
            )
            for tick in self.y.ticks
            for y in (self.at(0, tick.value)[1],)
        ]
        up = [
            joined(
                tag("line", class_="tick", x1=x, x2=x, y1=foot, y2=foot + 4),
                tag("text", tick.words, x=x, y=foot + 17, text_anchor=_anchor(x, self.width)),
            )
            for tick in self.x.ticks
            for x in (self.at(tick.value, 0)[0],)
        ]
        names = (
            tag("text", self.y.name, class_="name", x=0, y=12),
            tag("text", self.x.name, class_="name", x=self.width - RIGHT, y=foot - 6, text_anchor="end"),
        )
        return joined(*across, *up, *names)


def picture(width: float, height: float, said: str, *parts: object) -> Markup:
    """Return an SVG that scales with its place; `said` is for those who cannot see it."""
    return tag("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=said)


def lines(
    width: float,
    height: float,
    said: str,
    x: Axis,
    y: Axis,
    drawn: Iterable[LineSeries],
    marks: Iterable[AxisMark] = (),
) -> Markup:
    """Draw lines between two axes."""
    frame = Frame(width, height, x, y)
    parts = [_line(frame, line) for line in drawn]
    return picture(width, height, said, frame.axes(), *(_mark(frame, mark) for mark in marks), *parts)


def areas(
    width: float,
    height: float,
    said: str,
    x: Axis,
    y: Axis,
    layers: Sequence[LineSeries],
    marks: Iterable[AxisMark] = (),
) -> Markup:
    """Draw layers on top of each other, the first at the bottom. They have the same `x`, and a `y` each."""
    frame = Frame(width, height, x, y)
    below = [0.0] * (len(layers[0].points) if layers else 0)
    parts = []
    for layer in layers:
        above = [base + (point.y or 0.0) for base, point in zip(below, layer.points, strict=True)]
        moments = [point.x for point in layer.points]
        edge = [frame.at(*place) for place in zip(moments, above, strict=True)]
        back = [frame.at(*place) for place in zip(moments, below, strict=True)]
        shape = tag("path", class_=f"area {layer.look}", d=_path([*edge, *reversed(back)]) + "Z")
        spots = [
            tag("circle", tag("title", point.words), class_="spot", cx=at[0], cy=at[1], r=6)
            for point, at in zip(layer.points, edge, strict=True)
        ]
        parts.append(joined(shape, *spots))
        below = above
    return picture(width, height, said, *parts, frame.axes(), *(_mark(frame, mark) for mark in marks))


def heat(width: float, said: str, columns: Sequence[str], rows: Sequence[HeatRow]) -> Markup:
    """Draw a heat map: rows with their names on the left, columns with theirs above."""
    size = (width - NAMES) / max(1, len(columns))
    high = min(28.0, max(18.0, size))
    every = int(NAME // size) + 1
    heads = [
        tag("text", column, x=NAMES + (index + 0.5) * size, y=TOP - 4, text_anchor="middle")
        for index, column in enumerate(columns)
        if index % every == 0
    ]
    drawn = [
        joined(
            tag("text", row.name, x=NAMES - 8, y=TOP + (index + 0.5) * high + 4, text_anchor="end"),
            *(
                _cell(cell, NAMES + place * size, TOP + index * high, size, high)
                for place, cell in enumerate(row.cells)
                if cell is not None
            ),
        )
        for index, row in enumerate(rows)
    ]
    return picture(width, TOP + 2 + high * len(rows), said, *heads, *drawn)


def bar(share: float, look: str) -> Markup:
    """Draw one bar as long as a share of its place."""
    return tag(
        "svg",
        tag("rect", class_="trough", width=100, height=10),
        tag("rect", class_=look, width=max(0.4, 100.0 * share) if share else 0.0, height=10),
        class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true",
    )  # fmt: skip


def sample(look: str) -> Markup:
    """Draw what a line or a layer looks like, for the key."""
    parts = (
        tag("rect", class_=look, width=26, height=10, rx=2)
        if look in AREAS
        else tag("path", class_=f"line {look}", d="M1 5L25 5")
    )
    return tag("svg", parts, viewBox="0 0 26 10", aria_hidden="true")


def _line(frame: Frame, line: LineSeries) -> Markup:
    known = [
        [frame.at(point.x, point.y) for point in run if point.y is not None]
        for there, run in groupby(line.points, lambda point: point.y is not None)
        if there
    ]
    strokes = [tag("path", class_=f"line {line.look}", d=_path(run)) for run in known if len(run) > 1]
    lonely = [run[0] for run in known if len(run) == 1]
    dots = [tag("circle", class_=f"dot {line.look}", cx=x, cy=y, r=3) for x, y in ([] if line.dots else lonely)]
    for point in line.points:
        if point.y is not None and (line.dots or point.words):
            x, y = frame.at(point.x, point.y)
            looks, radius = (f"dot {line.look}", 3.5) if line.dots else ("spot", 6.0)
            dots.append(
                tag("circle", *([tag("title", point.words)] if point.words else []), class_=looks, cx=x, cy=y, r=radius)
            )
    return joined(*strokes, *dots)


def _mark(frame: Frame, mark: AxisMark) -> Markup:
    x, _ = frame.at(mark.x, 0)
    where = _anchor(x, frame.width)
    return tag(
        "g",
        tag("title", mark.words),
        tag("line", class_="mark", x1=x, x2=x, y1=TOP - 4, y2=frame.height - BOTTOM),
        tag("text", "◆", class_="mark", x=x, y=TOP - 7, text_anchor="middle" if where == "middle" else where),
    )


def _cell(cell: HeatCell, x: float, y: float, size: float, high: float) -> Markup:
    words = tag(
        "text", cell.words,
        class_="over" if cell.share > 0.7 else "cell", x=x + size / 2, y=y + high / 2 + 4, text_anchor="middle",
    )  # fmt: skip
    box = tag(
        "rect", tag("title", cell.more),
        class_="heat", x=x + 0.75, y=y + 0.75, width=max(1.0, size - 1.5), height=high - 1.5, rx=2,
        fill_opacity=0.04 + 0.96 * cell.share,
    )  # fmt: skip
    return joined(box, words) if size >= CELL_WITH_WORDS else box


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _anchor(x: float, width: float) -> str:
    return "end" if x > width - RIGHT - 18 else "middle"
