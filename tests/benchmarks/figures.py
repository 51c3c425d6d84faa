"""Figures: measured values, their number, and the table of them."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from msgspec import Struct, field


class Figure(Struct, kw_only=True):
    """One quantity, measured once a round.

    `goal` is what it is to reach: at least that with `more` (a rate), at most that otherwise (a cost).
    """

    part: str
    what: str
    unit: str
    values: list[float] = field(default_factory=list)
    goal: float | None = None
    more: bool = True
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """One word: whether the goal is reached."""
        if self.goal is None:
            return ""
        reached = self.median >= self.goal if self.more else self.median <= self.goal
        return "reached" if reached else "SHORT"


class Report:
    """All figures of a run, in the order in which they were added."""

    def __init__(self) -> None:
        self.figures: dict[tuple[str, str], Figure] = {}
        self.remarks: list[str] = []

    def add(self, part: str, what: str, unit: str, *values: float, **about: Any) -> None:
        """Add values of a quantity, to those of earlier rounds if there are any."""
        figure = self.figures.setdefault((part, what), Figure(part=part, what=what, unit=unit, **about))
        figure.values += values
        print(f"  {part} {what}: {', '.join(map(number, values))} {unit}", flush=True)

    def ratio(self, part: str, what: str, of: str, to: str, goal: float | None = None) -> None:
        """Add the ratio of `of` to `to` for each round: within a round, the load of the machine affects both alike."""
        ours, theirs = self.figures.get((part, of)), self.figures.get((part, to))
        if ours and theirs:
            ratios = [a / b for a, b in zip(ours.values, theirs.values, strict=False) if b]
            if ratios:
                self.add(part, what, "x", *ratios, goal=goal)

    def remark(self, text: str) -> None:
        """Add a remark that readers of the figures need."""
        self.remarks.append(text)
        print(f"  {text}", flush=True)

    def table(self) -> str:
        """Return the table: median, spread (least to greatest), rounds, goal."""
        head = ("", "what", "median", "least", "greatest", "n", "unit", "goal", "")
        rows = [head, *(self._row(figure) for figure in self.figures.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(_set(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*lines, "", *self.remarks])

    def write(self, file: Path, about: dict[str, Any]) -> None:
        """Write everything as JSON."""
        figures = [
            {
                **{name: getattr(one, name) for name in one.__struct_fields__},
                "median": one.median,
                "verdict": one.verdict,
            }
            for one in self.figures.values()
        ]
        file.write_text(json.dumps({**about, "figures": figures, "remarks": self.remarks}, indent=1) + "\n")

    def _row(self, one: Figure) -> tuple[str, ...]:
        goal = "" if one.goal is None else ("≥ " if one.more else "≤ ") + number(one.goal)
        spread = (number(min(one.values)), number(max(one.values)))
        return (
            one.part,
            one.what,
            number(one.median),
            *spread,
            str(len(one.values)),
            one.unit,
            goal,
            one.verdict + one.note,
        )


def number(value: float) -> str:
    """Return a number with its significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _set(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
