"""What the pictures show of scores and people: plain numbers of plain numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.report.aggregates import Cohorts

Column = NDArray[np.float64]


class Tenth(NamedTuple):
    """A tenth of all scores: their mean, the share of them that churned, and how many they are."""

    score: float
    churned: float
    rows: int


def tenths(scores: Column, churned: Column, parts: int = 10) -> list[Tenth]:
    """Return what was said and what came in ten parts of equal size, as the calibration error takes them."""
    order = np.argsort(scores, kind="stable")
    return [
        Tenth(float(scores[part].mean()), float(churned[part].mean()), len(part))
        for part in np.array_split(order, parts)
        if len(part)
    ]


def found(scores: Column, churned: Column, shares: Column) -> Column:
    """Return which share of all who churned is among the highest scores, for several shares of all rows.

    Rows of the same score count as if they stood in every order.

    Examples:
        >>> found(np.array([0.9, 0.8, 0.1, 0.1]), np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.25, 0.5, 0.75, 1.0]))
        array([0.5 , 0.5 , 0.75, 1.  ])
    """
    _, inverse, rows = np.unique(-scores, return_inverse=True, return_counts=True)
    positives = np.bincount(inverse, weights=churned)
    taken = np.concatenate(([0.0], rows.cumsum() / len(scores)))
    return np.interp(shares, taken, np.concatenate(([0.0], positives.cumsum() / positives.sum())))


def lift(scores: Column, churned: Column, shares: Column) -> Column:
    """Return how many times more often the highest scores churned than all, for several shares of all rows."""
    return found(scores, churned, shares) / shares


class Retained(NamedTuple):
    """Who was active a number of weeks after their first: of how many that can be known, and of how many it is true."""

    weeks: int
    asked: int
    active: int

    @property
    def share(self) -> float:
        """The share of them."""
        return self.active / self.asked


def retention(cohorts: Cohorts, least: float = 0.1) -> list[Retained]:
    """Return retention week by week, as long as it is known of at least a tenth of all people."""
    asked, active = cohorts.asked.sum(0).tolist(), cohorts.active.sum(0).tolist()
    return [
        Retained(weeks, people, back)
        for weeks, (people, back) in enumerate(zip(asked, active, strict=True))
        if people >= max(1, least * asked[0])
    ]


class Cohort(NamedTuple):
    """People who came first in the same weeks.

    Attributes:
        week: the first of these weeks.
        people: how many they are.
        active: share of them active in an average week of each group of later weeks; none where that is not known.
    """

    week: int
    people: int
    active: list[float | None]


class Table(NamedTuple):
    """Cohorts of some weeks each, over groups of some later weeks each."""

    rows: list[Cohort]
    weeks_a_row: int
    weeks_a_column: int

    def column(self, index: int) -> str:
        """Return which weeks after the first a column is about."""
        first, last = index * self.weeks_a_column + 1, (index + 1) * self.weeks_a_column
        return f"{first}" if first == last else f"{first}-{last}"


def by_cohort(cohorts: Cohorts, most_rows: int = 16, most_columns: int = 16) -> Table:
    """Return retention by first week, both kinds of weeks grouped until they fit; nobody's first week is left out."""
    starting = np.flatnonzero(cohorts.people)
    if not len(starting):
        return Table([], 1, 1)
    begin = int(starting[0])
    tall = _group(int(starting[-1]) - begin + 1, most_rows)
    later = len(cohorts.people) - begin - 1
    broad = _group(later, most_columns)
    asked, active = cohorts.asked, cohorts.active
    rows = []
    for first in range(begin, int(starting[-1]) + 1, tall):
        rows_of = slice(first, first + tall)
        people = int(cohorts.people[rows_of].sum())
        shares: list[float | None] = []
        for week in range(1, later + 1, broad):
            could = asked[rows_of, week : week + broad].sum()
            shares.append(float(active[rows_of, week : week + broad].sum() / could) if could else None)
        if people:
            rows.append(Cohort(cohorts.base + first, people, shares))
    return Table(rows, tall, broad)


def _group(weeks: int, most: int) -> int:
    return next((by for by in (1, 2, 4, 13, 26, 52) if weeks <= by * most), 104)
