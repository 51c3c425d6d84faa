"""Scores whose label has come, side by side with those of others on the same rows."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from models.churn import quality
from models.churn.quality import QualityFigures
from models.person import features
from models.schema.outputs import NO_MODEL, Example
from streams.report.labelled_rows import NOWHERE, Floats, LabelledRows, Rival
from streams.report.weeks import begin_of, week_at

BOOSTING = "boosting"
"""Whose scores are those of gradient boosting, among the others'."""


class ScoredWeek(Struct, frozen=True, kw_only=True):
    """Scores of one week of event time (from Monday, in UTC), once their labels came.

    `others_auc` are those of the rows which another scored as well, by whose they are.
    """

    begins: float
    rows: int
    churned: float
    model: QualityFigures
    recency_auc: float
    others_auc: dict[str, float] = {}


class ScoredRows(NamedTuple):
    """Scores whose label has come, side by side.

    Attributes:
        times: when, in seconds since 1970 UTC.
        model: the probability that was stated.
        recency: how long the person had been silent, as a logarithm.
        churned: what came, 0 or 1.
        others: what others would have stated, by whose it is; NaN where one was not asked or had nothing to say yet.
    """

    times: Floats
    model: Floats
    recency: Floats
    churned: Floats
    others: dict[str, Floats]

    def at(self, part: NDArray[np.int64] | NDArray[np.bool_]) -> ScoredRows:
        """Return some of them."""
        times, model, recency, churned, others = self
        rest = {name: column[part] for name, column in others.items()}
        return ScoredRows(times[part], model[part], recency[part], churned[part], rest)

    def beside(self, name: str) -> ScoredRows:
        """Return those that another has given as well."""
        return self.at(~np.isnan(self.others[name]))


class MaturedScores:
    """Every score of a model whose label has come: 17 bytes each, and 4 more for each that scores beside it.

    Args:
        most_rows: how many rows are kept for gradient boosting to score as well: some 100 bytes each.
    """

    def __init__(self, most_rows: int = 0) -> None:
        self._times, self._scores = array("d"), array("f")
        self._silences, self._outcomes = array("f"), array("B")
        self._others: dict[str, array[float]] = {}
        self._rows = LabelledRows(most_rows)
        self._boosting: Floats | None = None

    @property
    def part(self) -> float:
        """Of which part of the people gradient boosting has scored the rows."""
        return self._rows.part

    def add(self, example: Example, others: Mapping[str, float | None] | None = None) -> None:
        """Take a labelled row, and what others say of it. Rows scored before there was a model are left out."""
        learned = example.model != NO_MODEL
        self._rows.add(example, len(self._times) if learned else NOWHERE)
        if not learned:
            return
        for name, score in (others or {}).items():
            column = self._others.setdefault(name, array("f"))
            column.extend([np.nan] * (len(self._times) - len(column)))
            column.append(np.nan if score is None else score)
        self._times.append(example.time)
        self._scores.append(example.probability)
        self._silences.append(example.x[features.SILENCE])
        self._outcomes.append(example.churned)

    def compare(self, rival: Rival) -> None:
        """Have gradient boosting score the rows that were kept."""
        self._boosting = self._rows.scored(rival, len(self._times))

    def scores(self) -> ScoredRows:
        """Return all of them, in the order in which their labels came."""
        times, model, recency, churned = (
            np.array(column, np.float64) for column in (self._times, self._scores, self._silences, self._outcomes)
        )
        others = {} if self._boosting is None else {BOOSTING: self._boosting}
        for name, column in self._others.items():
            others[name] = np.full(len(times), np.nan)
            others[name][: len(column)] = np.array(column, np.float64)
        return ScoredRows(times, model, recency, churned, others)

    def pooled(self) -> ScoredWeek | None:
        """Return the figures of all together; nothing before both outcomes have been seen."""
        return _week(self.scores())

    def weeks(self) -> list[ScoredWeek]:
        """Return the figures week by week, without weeks in which everybody churned or nobody did."""
        scores = self.scores()
        order = np.argsort(scores.times, kind="stable")
        numbers = np.array([week_at(time) for time in scores.times[order].tolist()])
        parts = np.split(order, np.flatnonzero(np.diff(numbers)) + 1) if len(order) else []
        found = (_week(scores.at(part)) for part in parts)
        return [week for week in found if week is not None]


def _week(scores: ScoredRows) -> ScoredWeek | None:
    churned = scores.churned
    if not churned.any() or churned.all():
        return None
    others = {name: scores.beside(name) for name in scores.others}
    return ScoredWeek(
        begins=begin_of(week_at(float(scores.times.min()))),
        rows=len(churned),
        churned=float(churned.mean()),
        model=quality.quality_figures(scores.model, churned),
        recency_auc=quality.auc(scores.recency, churned),
        others_auc={
            name: quality.auc(same.others[name], same.churned)
            for name, same in others.items()
            if same.churned.any() and not same.churned.all()
        },
    )
