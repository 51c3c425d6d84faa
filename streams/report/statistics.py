"""Statistics of the figures: calibration, recall and lift of scores, retention and cohorts of users."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.report.aggregates import Cohorts

Column = NDArray[np.float64]


class Tenth(NamedTuple):
    """A tenth of all scores: their mean, the share that churned, and the number of scores."""

    score: float
    churned: float
    rows: int


def tenths(scores: Column, churned: Column, parts: int = 10) -> list[Tenth]:
    """Return the mean score and the share that churned in ten equal parts, as the calibration error uses them."""
    order = np.argsort(scores, kind="stable")
    return [
        Tenth(float(scores[part].mean()), float(churned[part].mean()), len(part))
        for part in np.array_split(order, parts)
        if len(part)
    ]


def recall(scores: Column, churned: Column, shares: Column) -> Column:
    """Return the share of all churned rows among the highest scores, for several shares of all rows.

    Rows with the same score count as the average over all their orders.

    Examples:
        >>> recall(np.array([0.9, 0.8, 0.1, 0.1]), np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.25, 0.5, 0.75, 1.0]))
        array([0.5 , 0.5 , 0.75, 1.  ])
    """
    _, inverse, rows = np.unique(-scores, return_inverse=True, return_counts=True)
    positives = np.bincount(inverse, weights=churned)
    taken = np.concatenate(([0.0], rows.cumsum() / len(scores)))
    return np.interp(shares, taken, np.concatenate(([0.0], positives.cumsum() / positives.sum())))


def lift(scores: Column, churned: Column, shares: Column) -> Column:
    """Return the churn rate among the highest scores divided by the overall rate, for several shares of all rows."""
    return recall(scores, churned, shares) / shares


class RetentionPoint(NamedTuple):
    """Activity a number of weeks after the first week: how many users could be observed, and how many were active."""

    weeks: int
    observed: int
    active: int

    @property
    def share(self) -> float:
        """The share of observed users who were active."""
        return self.active / self.observed


def retention(cohorts: Cohorts, min_share: float = 0.1) -> list[RetentionPoint]:
    """Return retention week by week, while at least a tenth of all users can be observed."""
    observed, active = cohorts.observed.sum(0).tolist(), cohorts.active.sum(0).tolist()
    return [
        RetentionPoint(weeks, users, active_users)
        for weeks, (users, active_users) in enumerate(zip(observed, active, strict=True))
        if users >= max(1, min_share * observed[0])
    ]


class Cohort(NamedTuple):
    """Users with the same first weeks.

    Attributes:
        week: the first of these weeks.
        users: the number of users.
        active: the share active in an average week of each group of later weeks; none where it is not known.
    """

    week: int
    users: int
    active: list[float | None]


class CohortTable(NamedTuple):
    """Cohorts of one or more first weeks each, with columns of one or more later weeks each."""

    rows: list[Cohort]
    weeks_per_row: int
    weeks_per_column: int

    def column(self, index: int) -> str:
        """Return the heading of a column: its weeks after the first."""
        first, last = index * self.weeks_per_column + 1, (index + 1) * self.weeks_per_column
        return f"{first}" if first == last else f"{first}-{last}"


def by_cohort(cohorts: Cohorts, max_rows: int = 16, max_columns: int = 16) -> CohortTable:
    """Return retention by first week. Weeks are grouped until rows and columns fit; no user is left out."""
    starting = np.flatnonzero(cohorts.users)
    if not len(starting):
        return CohortTable([], 1, 1)
    begin = int(starting[0])
    row_weeks = _group_size(int(starting[-1]) - begin + 1, max_rows)
    later = len(cohorts.users) - begin - 1
    column_weeks = _group_size(later, max_columns)
    observed, active = cohorts.observed, cohorts.active
    rows = []
    for first in range(begin, int(starting[-1]) + 1, row_weeks):
        rows_of = slice(first, first + row_weeks)
        users = int(cohorts.users[rows_of].sum())
        shares: list[float | None] = []
        for week in range(1, later + 1, column_weeks):
            observable = observed[rows_of, week : week + column_weeks].sum()
            shares.append(float(active[rows_of, week : week + column_weeks].sum() / observable) if observable else None)
        if users:
            rows.append(Cohort(cohorts.base + first, users, shares))
    return CohortTable(rows, row_weeks, column_weeks)


def _group_size(weeks: int, max_groups: int) -> int:
    return next((by for by in (1, 2, 4, 13, 26, 52) if weeks <= by * max_groups), 104)
