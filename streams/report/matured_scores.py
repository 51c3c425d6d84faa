"""Scores whose labels have arrived, together with the scores of other models on the same rows."""

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
from streams.report.labelled_rows import NO_POSITION, Floats, LabelledRows, RowScorer
from streams.report.weeks import week_number, week_start

BOOSTING = "boosting"
"""The name of gradient boosting among the other models."""


class ScoredWeek(Struct, frozen=True, kw_only=True):
    """Quality of the scores of one week of event time (from Monday, in UTC), once their labels arrived.

    `others_auc` holds the AUC of each other model on the rows that it scored.
    """

    begins: float
    rows: int
    churned: float
    model: QualityFigures
    recency_auc: float
    others_auc: dict[str, float] = {}


class ScoredRows(NamedTuple):
    """Scores whose labels have arrived, column by column.

    Attributes:
        times: the time of each score, in seconds since 1970 UTC.
        model: the probability that the model stated.
        recency: the time since the user's last activity, as a logarithm.
        churned: the outcome, 0 or 1.
        others: the scores of other models by name; NaN where a model was not asked or had no score yet.
    """

    times: Floats
    model: Floats
    recency: Floats
    churned: Floats
    others: dict[str, Floats]

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> ScoredRows:
        """Return some of the rows."""
        times, model, recency, churned, others = self
        rest = {name: column[rows] for name, column in others.items()}
        return ScoredRows(times[rows], model[rows], recency[rows], churned[rows], rest)

    def scored_by(self, name: str) -> ScoredRows:
        """Return the rows that another model scored as well."""
        return self.select(~np.isnan(self.others[name]))


class MaturedScores:
    """Every score of a model whose label has arrived: 17 bytes each, and 4 more per additional model.

    Args:
        max_rows: how many rows are kept for gradient boosting to score: some 100 bytes each.
    """

    def __init__(self, max_rows: int = 0) -> None:
        self._times, self._scores = array("d"), array("f")
        self._silences, self._outcomes = array("f"), array("B")
        self._others: dict[str, array[float]] = {}
        self._rows = LabelledRows(max_rows)
        self._boosting: Floats | None = None

    @property
    def user_share(self) -> float:
        """The share of users whose rows gradient boosting has scored."""
        return self._rows.user_share

    def add(self, example: Example, others: Mapping[str, float | None] | None = None) -> None:
        """Add a labelled row with the scores of other models. Rows scored before there was a model are left out."""
        from_model = example.model != NO_MODEL
        self._rows.add(example, len(self._times) if from_model else NO_POSITION)
        if not from_model:
            return
        for name, score in (others or {}).items():
            column = self._others.setdefault(name, array("f"))
            column.extend([np.nan] * (len(self._times) - len(column)))
            column.append(np.nan if score is None else score)
        self._times.append(example.time)
        self._scores.append(example.probability)
        self._silences.append(example.x[features.SILENCE])
        self._outcomes.append(example.churned)

    def score_with_boosting(self, scorer: RowScorer) -> None:
        """Score the rows that were kept with gradient boosting."""
        self._boosting = self._rows.score_with(scorer, len(self._times))

    def scores(self) -> ScoredRows:
        """Return all scores, in the order in which their labels arrived."""
        times, model, recency, churned = (
            np.array(column, np.float64) for column in (self._times, self._scores, self._silences, self._outcomes)
        )
        others = {} if self._boosting is None else {BOOSTING: self._boosting}
        for name, column in self._others.items():
            others[name] = np.full(len(times), np.nan)
            others[name][: len(column)] = np.array(column, np.float64)
        return ScoredRows(times, model, recency, churned, others)

    def pooled(self) -> ScoredWeek | None:
        """Return the quality of all scores together; none before both outcomes have occurred."""
        return _week(self.scores())

    def weeks(self) -> list[ScoredWeek]:
        """Return the quality week by week, without weeks that have only one outcome."""
        scores = self.scores()
        order = np.argsort(scores.times, kind="stable")
        numbers = np.array([week_number(time) for time in scores.times[order].tolist()])
        parts = np.split(order, np.flatnonzero(np.diff(numbers)) + 1) if len(order) else []
        found = (_week(scores.select(rows)) for rows in parts)
        return [week for week in found if week is not None]


def _week(scores: ScoredRows) -> ScoredWeek | None:
    churned = scores.churned
    if not churned.any() or churned.all():
        return None
    others = {name: scores.scored_by(name) for name in scores.others}
    return ScoredWeek(
        begins=week_start(week_number(float(scores.times.min()))),
        rows=len(churned),
        churned=float(churned.mean()),
        model=quality.quality_figures(scores.model, churned),
        recency_auc=quality.auc(scores.recency, churned),
        others_auc={
            name: quality.auc(scored.others[name], scored.churned)
            for name, scored in others.items()
            if scored.churned.any() and not scored.churned.all()
        },
    )
