"""Figures about scores: quality by week, reliability of probabilities, and lift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from models.churn import quality
from streams.report import statistics, svg
from streams.report.axes import numbers
from streams.report.collector import ReplayCollector
from streams.report.figure import Figure, Numbers, time_axis
from streams.report.formatting import and_list, count, day, percent, points
from streams.report.markup import Markup
from streams.report.matured_scores import BOOSTING, MaturedScores, ScoredRows, ScoredWeek
from streams.report.svg import NARROW, WIDE, AxisMark, LineSeries, PlotPoint
from streams.report.weeks import WEEK

MODEL, RECENCY = "the model", "recency alone"
CSS_CLASSES = {MODEL: "model", RECENCY: "recency"}
OTHER_MODELS = {
    BOOSTING: "gradient boosting, fitted every week",
    "reference": "logistic regression, trained in parallel",
    "challenger": "the challenger",
}
"""Names of the other models that score the same rows, by the CSS class of their line."""
MAX_DAYS = 5
"""The most days of drift that the page lists one by one."""
MIN_LIFT_SCORES = 20
"""The lift curve begins at the share that holds this many scores."""
SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)


class ScoreComparison(NamedTuple):
    """AUC and log-loss of the model, and of another model on the same rows."""

    model: tuple[float, float]
    other: tuple[float, float]
    rows: int


def quality_by_week(collector: ReplayCollector, labels: int, challenger: str = "") -> Figure:
    """Quality of each week's scores, once their labels have arrived.

    Args:
        collector: the scores, and the moments of detected drift.
        labels: the number of all labels.
        challenger: the name of the challenger, if there is one.
    """
    name, title = "quality", "Quality by week"
    weeks, pooled = collector.matured.weeks(), collector.matured.pooled()
    if pooled is None or not weeks:
        return Figure(name, title, _too_few(collector.matured.scores(), labels))
    finding = _quality_finding(weeks, pooled)
    details = [*_comparisons(collector.matured, challenger), *_drift_sentence(collector.drift_times)]
    drawn = _aucs_by_line(weeks)
    css_classes = CSS_CLASSES | {line: look for look, line in OTHER_MODELS.items()}
    lines = [_weekly_line(weeks, aucs, line, css_classes[line]) for line, aucs in drawn.items()]
    values = [auc for aucs in drawn.values() for auc in aucs.values()]
    span = weeks[0].begins, max(weeks[-1].begins, *collector.drift_times, weeks[0].begins)
    drifts = [moment for moment in collector.drift_times if moment >= span[0]]
    marks = [AxisMark(moment, f"Drift detected: {day(moment)}") for moment in drifts]
    label = " ".join((f"{title}.", finding, *details))

    def drawing(width: float, height: float) -> Markup:
        y = numbers(min(0.5, *values), max(values), 6, ".2f", "AUC")
        return svg.lines(width, height, label, time_axis(span, width), y, lines[::-1], marks)

    return Figure(
        name=name,
        title=title,
        finding=finding,
        details=details,
        note="AUC: how often a user who left had a higher score than a user who stayed; 0.5 is chance, 1 is perfect. "
        "Every score was given before its outcome was known, by a model of that time.",
        wide=drawing(WIDE, 300),
        narrow=drawing(NARROW, 250),
        key=[(css_classes[line], line) for line in drawn],
        numbers=_table(weeks),
    )


def reliability(collector: ReplayCollector, labels: int) -> Figure:
    """Predicted probabilities compared with outcomes."""
    name, title = "reliability", "Reliability"
    scores, pooled = collector.matured.scores(), collector.matured.pooled()
    if pooled is None:
        return Figure(name, title, _too_few(scores, labels))
    parts = statistics.tenths(scores.model, scores.churned)
    finding = (
        f"The riskiest tenth of all scores predicted {percent(parts[-1].score)} on average, and "
        f"{percent(parts[-1].churned)} of them left. Over all tenths, prediction and outcome are "
        f"{points(pooled.model.calibration_error)} apart on average."
    )
    dots = [
        PlotPoint(
            part.score, part.churned, f"predicted {percent(part.score)}, left {percent(part.churned)} of {part.rows:,}"
        )
        for part in parts
    ]
    even = LineSeries("even", (PlotPoint(0, 0), PlotPoint(1, 1)))
    x, y = numbers(0, 1, 5, ".0%", "predicted"), numbers(0, 1, 5, ".0%", "left")
    return Figure(
        name=name,
        title=title,
        finding=finding,
        note="Each dot is a tenth of all scores, by size. On the dashed line, prediction and outcome are equal. "
        "Below it, fewer users left than predicted.",
        narrow=svg.lines(NARROW, 330, f"{title}. {finding}", x, y, [even, LineSeries("model", dots, dots=True)]),
        numbers=Numbers(
            ("Predicted, on average", "Left", "Scores"),
            [(percent(part.score), percent(part.churned), f"{part.rows:,}") for part in parts],
        ),
    )


def lift(collector: ReplayCollector, labels: int) -> Figure:
    """The churn rate among the riskiest users, compared with the overall rate."""
    name, title = "lift", "Lift"
    scores, pooled = collector.matured.scores(), collector.matured.pooled()
    if pooled is None:
        return Figure(name, title, _too_few(scores, labels))
    columns = {MODEL: scores.model, RECENCY: scores.recency}
    tenth = {line: statistics.lift(column, scores.churned, np.array([0.1]))[0] for line, column in columns.items()}
    finding = (
        f"Of the riskiest 10% by the model, {percent(tenth[MODEL] * pooled.churned)} left: {tenth[MODEL]:.1f} times "
        f"the overall {percent(pooled.churned)}. By recency alone, it is {tenth[RECENCY]:.1f} times."
    )
    shares = np.arange(1, 101) / 100
    shares = shares[shares * pooled.rows >= min(MIN_LIFT_SCORES, pooled.rows)]
    curves = {line: statistics.lift(column, scores.churned, shares) for line, column in columns.items()}
    drawn = [
        LineSeries(
            CSS_CLASSES[line], [PlotPoint(*place) for place in zip(shares.tolist(), curve.tolist(), strict=True)]
        )
        for line, curve in reversed(curves.items())
    ]
    x = numbers(0, 1, 5, ".0%", "chosen, riskiest first")
    y = numbers(0, max(1.0, *(float(curve.max()) for curve in curves.values())), 5, ".1f", "times the overall rate")
    even = LineSeries("even", (PlotPoint(0, 1), PlotPoint(1, 1)))
    return Figure(
        name=name,
        title=title,
        finding=finding,
        note="The dashed line is a random choice: it finds users who left at the overall rate.",
        narrow=svg.lines(NARROW, 330, f"{title}. {finding}", x, y, [even, *drawn]),
        key=[(CSS_CLASSES[line], line) for line in columns],
        numbers=_lifts(columns, scores),
    )


def _too_few(scores: ScoredRows, labels: int) -> str:
    """Return why nothing can be measured."""
    if not labels:
        return "There are no labels: no score is older than one horizon at the end of the history."
    if not len(scores.churned):
        return f"{count(labels, 'label')} arrived, too few for a model: no score of a model has a label."
    outcome = "every user left" if scores.churned.all() else "no user left"
    return f"Of {count(len(scores.churned), 'score')} with a label, {outcome}: the figure needs both outcomes."


def _compare(scores: ScoredRows, name: str) -> ScoreComparison | None:
    scored = scores.scored_by(name)
    if not scored.churned.any() or scored.churned.all():
        return None
    model, other = (
        (quality.auc(column, scored.churned), quality.log_loss(column, scored.churned))
        for column in (scored.model, scored.others[name])
    )
    return ScoreComparison(model, other, len(scored.churned))


def _quality_finding(weeks: Sequence[ScoredWeek], pooled: ScoredWeek) -> str:
    better_weeks = sum(week.model.auc > week.recency_auc for week in weeks)
    return (
        f"Over {count(pooled.rows, 'score')}, the AUC of the model is {pooled.model.auc:.3f}, and that of recency "
        f"alone {pooled.recency_auc:.3f}. The model was better in {better_weeks:,} of {count(len(weeks), 'week')}."
    )


def _comparisons(matured: MaturedScores, challenger: str) -> Iterator[str]:
    """Yield the quality of other models, and of the model on the same rows."""
    scores = matured.scores()
    for name in (name for name in OTHER_MODELS if name in scores.others):
        compared = _compare(scores, name)
        if compared is None:
            continue
        who = f"{OTHER_MODELS[name]}, {challenger}," if name == "challenger" else f"{OTHER_MODELS[name]},"
        is_sampled = name == BOOSTING and matured.user_share < 1
        sampled = f", from {percent(matured.user_share)} of the users" if is_sampled else ""
        (auc, loss), (model_auc, model_loss) = compared.other, compared.model
        yield (
            f"{who[0].upper()}{who[1:]} has an AUC of {auc:.3f} (log-loss {loss:.3f}); the model has {model_auc:.3f} "
            f"({model_loss:.3f}), on the same {count(compared.rows, 'score')}{sampled}."
        )


def _drift_sentence(drift_times: Sequence[float]) -> Iterator[str]:
    """Yield the days on which drift was detected; of many days, their number and the last one."""
    if not drift_times:
        return
    days = list(dict.fromkeys(day(moment) for moment in sorted(drift_times)))
    when = f"on {and_list(days)}" if len(days) <= MAX_DAYS else f"on {len(days):,} days, last on {days[-1]}"
    yield (
        f"Drift was detected {when} (◆): labels surprised the model more than earlier labels, beyond chance. "
        "The model continued to learn; nothing was reset."
    )


def _aucs_by_line(weeks: Sequence[ScoredWeek]) -> dict[str, dict[float, float]]:
    """Return the AUC by week start for each line that has one."""
    aucs = {
        MODEL: {week.begins: week.model.auc for week in weeks},
        RECENCY: {week.begins: week.recency_auc for week in weeks},
    }
    for other, line in OTHER_MODELS.items():
        aucs[line] = {week.begins: week.others_auc[other] for week in weeks if other in week.others_auc}
    return {line: by_week for line, by_week in aucs.items() if by_week}


def _weekly_line(weeks: Sequence[ScoredWeek], aucs: dict[float, float], name: str, look: str) -> LineSeries:
    """Return a line with one point at the start of each week; weeks without a value interrupt it."""
    drawn, at = list[PlotPoint](), weeks[0].begins
    while at <= weeks[-1].begins:
        auc = aucs.get(at)
        drawn.append(PlotPoint(at, auc, "" if auc is None else f"{name}, week of {day(at)}: {auc:.3f}"))
        at += WEEK
    return LineSeries(look, drawn)


def _table(weeks: Sequence[ScoredWeek]) -> Numbers:
    others = [other for other in OTHER_MODELS if any(other in week.others_auc for week in weeks)]
    headings = ("Week of", "Scores", "Left", "AUC", "Log-loss", "Calibration error", "AUC of recency")
    rows = [
        (
            day(week.begins),
            f"{week.rows:,}",
            percent(week.churned),
            f"{week.model.auc:.3f}",
            f"{week.model.log_loss:.3f}",
            f"{week.model.calibration_error:.3f}",
            f"{week.recency_auc:.3f}",
            *(f"{week.others_auc[other]:.3f}" if other in week.others_auc else "" for other in others),
        )
        for week in weeks
    ]
    return Numbers((*headings, *(f"AUC of {other}" for other in others)), rows)


def _lifts(columns: dict[str, statistics.Column], scores: ScoredRows) -> Numbers:
    shares = np.array([share for share in SHARES if share * len(scores.churned) >= 1] or [1.0])
    lifts = [statistics.lift(column, scores.churned, shares).tolist() for column in columns.values()]
    rows = [
        (percent(share), *(f"{lift:.2f}" for lift in row)) for share, *row in zip(shares.tolist(), *lifts, strict=True)
    ]
    return Numbers(("Chosen", "Model", "Recency"), rows)
