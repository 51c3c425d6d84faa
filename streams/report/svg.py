"""Pictures as SVG: lines, stacked areas, heat maps and bars. The page's style sheet sets the colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from streams.report.axes import Axis
from streams.report.markup import Markup, join, tag

WIDE, NARROW = 860, 400
"""Widths of pictures: for a screen or paper, and for a phone or half a page."""
LEFT, RIGHT, TOP, BOTTOM = 48.0, 14.0, 26.0, 30.0
ROW_LABEL_WIDTH, COLUMN_LABEL_WIDTH = 72.0, 34.0
"""Widths of the row labels and of a column label of a heat map."""
MIN_CELL_WITH_TEXT = 34.0
"""The minimum width of a heat map cell that shows its percentage."""


AREAS = ("high", "medium", "low")
"""CSS classes of filled layers; all others are lines."""


class PlotPoint(NamedTuple):
    """A point of a line, and its tooltip. A point without `y` interrupts the line."""

    x: float
    y: float | None
    text: str = ""


class LineSeries(NamedTuple):
    """A line; `look` is its CSS class."""

    look: str
    points: Sequence[PlotPoint]
    dots: bool = False


class AxisMark(NamedTuple):
    """A moment that is marked across the picture, and its tooltip."""

    x: float
    text: str


class HeatCell(NamedTuple):
    """A cell of a heat map: its strength from 0 to 1, its text, and its tooltip."""

    share: float
    text: str
    tooltip: str


class HeatRow(NamedTuple):
    """A row of a heat map; an unknown value has no cell."""

    name: str
    cells: Sequence[HeatCell | None]


class Frame(NamedTuple):
    """The area of a picture between its axes."""

    width: float
    height: float
    x: Axis
    y: Axis

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a pair of values."""
        return (
            self.x.place(x, LEFT, self.width - RIGHT),
            self.y.place(y, self.height - BOTTOM, TOP),
        )

    def axes(self) -> Markup:
        """Draw the grid, the tick labels, and the names of the axes."""
        foot = self.height - BOTTOM
        across = [
            join(
                tag("line", class_="grid", x1=LEFT, x2=self.width - RIGHT, y1=y, y2=y),
                tag("text", tick.label, x=LEFT - 7, y=y + 4, text_anchor="end"),
            )
            for tick in self.y.ticks
            for y in (self.position(0, tick.value)[1],)
        ]
        up = [
            join(
                tag("line", class_="tick", x1=x, x2=x, y1=foot, y2=foot + 4),
                tag("text", tick.label, x=x, y=foot + 17, text_anchor=_anchor(x, self.width)),
            )
            for tick in self.x.ticks
            for x in (self.position(tick.value, 0)[0],)
        ]
        names = (
            tag("text", self.y.name, class_="name", x=0, y=12),
            tag("text", self.x.name, class_="name", x=self.width - RIGHT, y=foot - 6, text_anchor="end"),
        )
        return join(*across, *up, *names)


def picture(width: float, height: float, label: str, *parts: object) -> Markup:
    """Return an SVG that scales with its container; `label` is its text for screen readers."""
    return tag("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label)


def lines(
    width: float,
    height: float,
    label: str,
    x: Axis,
    y: Axis,
    drawn: Iterable[LineSeries],
    marks: Iterable[AxisMark] = (),
) -> Markup:
    """Draw lines between two axes."""
    frame = Frame(width, height, x, y)
    parts = [_line(frame, line) for line in drawn]
    return picture(width, height, label, frame.axes(), *(_mark(frame, mark) for mark in marks), *parts)


def areas(
    width: float,
    height: float,
    label: str,
    x: Axis,
    y: Axis,
    layers: Sequence[LineSeries],
    marks: Iterable[AxisMark] = (),
) -> Markup:
    """Draw stacked layers, the first at the bottom. All layers have the same `x` values."""
    frame = Frame(width, height, x, y)
    below = [0.0] * (len(layers[0].points) if layers else 0)
    parts = []
    for layer in layers:
        above = [base + (point.y or 0.0) for base, point in zip(below, layer.points, strict=True)]
        moments = [point.x for point in layer.points]
        edge = [frame.position(*place) for place in zip(moments, above, strict=True)]
        back = [frame.position(*place) for place in zip(moments, below, strict=True)]
        shape = tag("path", class_=f"area {layer.look}", d=_path([*edge, *reversed(back)]) + "Z")
        tooltips = [
            tag("circle", tag("title", point.text), class_="spot", cx=at[0], cy=at[1], r=6)
            for point, at in zip(layer.points, edge, strict=True)
        ]
        parts.append(join(shape, *tooltips))
        below = above
    return picture(width, height, label, *parts, frame.axes(), *(_mark(frame, mark) for mark in marks))


def heat_map(width: float, label: str, columns: Sequence[str], rows: Sequence[HeatRow]) -> Markup:
    """Draw a heat map with row labels on the left and column labels at the top."""
    size = (width - ROW_LABEL_WIDTH) / max(1, len(columns))
    row_height = min(28.0, max(18.0, size))
    every = int(COLUMN_LABEL_WIDTH // size) + 1
    column_labels = [
        tag("text", column, x=ROW_LABEL_WIDTH + (index + 0.5) * size, y=TOP - 4, text_anchor="middle")
        for index, column in enumerate(columns)
        if index % every == 0
    ]
    drawn = [
        join(
            tag("text", row.name, x=ROW_LABEL_WIDTH - 8, y=TOP + (index + 0.5) * row_height + 4, text_anchor="end"),
            *(
                _cell(cell, ROW_LABEL_WIDTH + place * size, TOP + index * row_height, size, row_height)
                for place, cell in enumerate(row.cells)
                if cell is not None
            ),
        )
        for index, row in enumerate(rows)
    ]
    return picture(width, TOP + 2 + row_height * len(rows), label, *column_labels, *drawn)


def bar(share: float, look: str) -> Markup:
    """Draw one bar whose length is a share of the available width."""
    return tag(
        "svg",
        tag("rect", class_="trough", width=100, height=10),
        tag("rect", class_=look, width=max(0.4, 100.0 * share) if share else 0.0, height=10),
        class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true",
    )  # fmt: skip


def key_sample(look: str) -> Markup:
    """Draw a sample of a line or layer for the key."""
    parts = (
        tag("rect", class_=look, width=26, height=10, rx=2)
        if look in AREAS
        else tag("path", class_=f"line {look}", d="M1 5L25 5")
    )
    return tag("svg", parts, viewBox="0 0 26 10", aria_hidden="true")


def _line(frame: Frame, line: LineSeries) -> Markup:
    runs = [
        [frame.position(point.x, point.y) for point in run if point.y is not None]
        for known_run, run in groupby(line.points, lambda point: point.y is not None)
        if known_run
    ]
    strokes = [tag("path", class_=f"line {line.look}", d=_path(run)) for run in runs if len(run) > 1]
    isolated = [run[0] for run in runs if len(run) == 1]
    dots = [tag("circle", class_=f"dot {line.look}", cx=x, cy=y, r=3) for x, y in ([] if line.dots else isolated)]
    for point in line.points:
        if point.y is not None and (line.dots or point.text):
            x, y = frame.position(point.x, point.y)
            looks, radius = (f"dot {line.look}", 3.5) if line.dots else ("spot", 6.0)
            dots.append(
                tag("circle", *([tag("title", point.text)] if point.text else []), class_=looks, cx=x, cy=y, r=radius)
            )
    return join(*strokes, *dots)


def _mark(frame: Frame, mark: AxisMark) -> Markup:
    x, _ = frame.position(mark.x, 0)
    where = _anchor(x, frame.width)
    return tag(
        "g",
        tag("title", mark.text),
        tag("line", class_="mark", x1=x, x2=x, y1=TOP - 4, y2=frame.height - BOTTOM),
        tag("text", "◆", class_="mark", x=x, y=TOP - 7, text_anchor="middle" if where == "middle" else where),
    )


def _cell(cell: HeatCell, x: float, y: float, size: float, row_height: float) -> Markup:
    text = tag(
        "text", cell.text,
        class_="over" if cell.share > 0.7 else "cell", x=x + size / 2, y=y + row_height / 2 + 4, text_anchor="middle",
    )  # fmt: skip
    box = tag(
        "rect", tag("title", cell.tooltip),
        class_="heat", x=x + 0.75, y=y + 0.75, width=max(1.0, size - 1.5), height=row_height - 1.5, rx=2,
        fill_opacity=0.04 + 0.96 * cell.share,
    )  # fmt: skip
    return join(box, text) if size >= MIN_CELL_WITH_TEXT else box


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _anchor(x: float, width: float) -> str:
    return "end" if x > width - RIGHT - 18 else "middle"
