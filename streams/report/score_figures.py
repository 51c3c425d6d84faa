"""How good the scores were: by week, as probabilities, and for choosing people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from models.churn import quality
from streams.report import statistics, svg
from streams.report.axes import numbers
from streams.report.collector import ReplayCollector
from streams.report.figure import Figure, Numbers, time_axis
from streams.report.formatting import both, count, day, percent, points
from streams.report.markup import Markup
from streams.report.matured_scores import BOOSTING, MaturedScores, ScoredRows, ScoredWeek
from streams.report.svg import NARROW, WIDE, AxisMark, LineSeries, PlotPoint
from streams.report.weeks import WEEK

MODEL, RECENCY = "the model", "recency alone"
LOOKS = {MODEL: "model", RECENCY: "recency"}
OTHERS = {
    BOOSTING: "gradient boosting, fitted anew every week",
    "reference": "logistic regression, learning beside it",
    "challenger": "the challenger",
}
"""Who scores beside the model, by the looks of their line."""
MOST_DAYS = 5
"""How many changes of the world are told by their days."""
LEAST_FOR_LIFT = 20
"""Scores that a share must hold to be drawn in the lift curve."""
SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)


class ScoreComparison(NamedTuple):
    """The AUC and log-loss of the model, and of another on the same rows."""

    model: tuple[float, float]
    other: tuple[float, float]
    rows: int


def quality_by_week(account: ReplayCollector, labels: int, challenger: str = "") -> Figure:
    """Quality of each week's scores, once their labels came.

    Args:
        account: with the scores, and the moments at which the world was found changed.
        labels: how many came in all.
        challenger: what learned beside the model, if anything did.
    """
    name, title = "quality", "Quality by week"
    weeks, pooled = account.matured.weeks(), account.matured.pooled()
    if pooled is None or not weeks:
        return Figure(name, title, _too_few(account.matured.scores(), labels))
    says = _beside_recency(weeks, pooled)
    points = [*_beside_others(account.matured, challenger), *_changed(account.changes)]
    drawn = {
        MODEL: {week.begins: week.model.auc for week in weeks},
        RECENCY: {week.begins: week.recency_auc for week in weeks},
    }
    for other, line in OTHERS.items():
        drawn[line] = {week.begins: week.others_auc[other] for week in weeks if other in week.others_auc}
    drawn = {line: aucs for line, aucs in drawn.items() if aucs}
    looks = LOOKS | {line: look for look, line in OTHERS.items()}
    lines = [_by_week(weeks, aucs, line, looks[line]) for line, aucs in drawn.items()]
    values = [auc for aucs in drawn.values() for auc in aucs.values()]
    span = weeks[0].begins, max(weeks[-1].begins, *account.changes, weeks[0].begins)
    marks = [AxisMark(moment, f"The world changed: {day(moment)}") for moment in account.changes if moment >= span[0]]
    said = " ".join((f"{title}.", says, *points))

    def drawing(width: float, height: float) -> Markup:
        y = numbers(min(0.5, *values), max(values), 6, ".2f", "AUC")
        return svg.lines(width, height, said, time_axis(span, width), y, lines[::-1], marks)

    return Figure(
        name=name,
        title=title,
        says=says,
        points=points,
        note="AUC: how often somebody who left had been scored higher than somebody who stayed; 0.5 is a coin, 1 is "
        "perfect. Every score was given before its outcome was known, by what had been learned until then.",
        wide=drawing(WIDE, 300),
        narrow=drawing(NARROW, 250),
        key=[(looks[line], line) for line in drawn],
        numbers=_in_numbers(weeks),
    )


def reliability(account: ReplayCollector, labels: int) -> Figure:
    """Whether what was said is what came."""
    name, title = "reliability", "Reliability"
    scores, pooled = account.matured.scores(), account.matured.pooled()
    if pooled is None:
        return Figure(name, title, _too_few(scores, labels))
    parts = statistics.tenths(scores.model, scores.churned)
    says = (
        f"The riskiest tenth of all scores said {percent(parts[-1].score)} on average, and "
        f"{percent(parts[-1].churned)} of them left; over all tenths, what was said and what came are "
        f"{points(pooled.model.calibration_error)} apart on average."
    )
    spots = [
        PlotPoint(
            part.score, part.churned, f"said {percent(part.score)}, came {percent(part.churned)} of {part.rows:,}"
        )
        for part in parts
    ]
    even = LineSeries("even", (PlotPoint(0, 0), PlotPoint(1, 1)))
    x, y = numbers(0, 1, 5, ".0%", "said"), numbers(0, 1, 5, ".0%", "left")
    return Figure(
        name=name,
        title=title,
        says=says,
        note="Each dot is a tenth of all scores, by size. On the dashed line exactly as many left as was said; "
        "below it fewer did.",
        narrow=svg.lines(NARROW, 330, f"{title}. {says}", x, y, [even, LineSeries("model", spots, dots=True)]),
        numbers=Numbers(
            ("Said, on average", "Left", "Scores"),
            [(percent(part.score), percent(part.churned), f"{part.rows:,}") for part in parts],
        ),
    )


def lift(account: ReplayCollector, labels: int) -> Figure:
    """How much better than chance the riskiest are chosen."""
    name, title = "lift", "Lift"
    scores, pooled = account.matured.scores(), account.matured.pooled()
    if pooled is None:
        return Figure(name, title, _too_few(scores, labels))
    columns = {MODEL: scores.model, RECENCY: scores.recency}
    tenth = {line: statistics.lift(column, scores.churned, np.array([0.1]))[0] for line, column in columns.items()}
    says = (
        f"Of the riskiest 10% by the model {percent(tenth[MODEL] * pooled.churned)} left, {tenth[MODEL]:.1f} times the "
        f"{percent(pooled.churned)} of all; by recency alone it is {tenth[RECENCY]:.1f} times."
    )
    shares = np.arange(1, 101) / 100
    shares = shares[shares * pooled.rows >= min(LEAST_FOR_LIFT, pooled.rows)]
    curves = {line: statistics.lift(column, scores.churned, shares) for line, column in columns.items()}
    drawn = [
        LineSeries(LOOKS[line], [PlotPoint(*place) for place in zip(shares.tolist(), curve.tolist(), strict=True)])
        for line, curve in reversed(curves.items())
    ]
    x = numbers(0, 1, 5, ".0%", "chosen, riskiest first")
    y = numbers(0, max(1.0, *(float(curve.max()) for curve in curves.values())), 5, ".1f", "times the share of all")
    even = LineSeries("even", (PlotPoint(0, 1), PlotPoint(1, 1)))
    return Figure(
        name=name,
        title=title,
        says=says,
        note="Whoever chooses at random finds as many as the dashed line says: once the share of all.",
        narrow=svg.lines(NARROW, 330, f"{title}. {says}", x, y, [even, *drawn]),
        key=[(LOOKS[line], line) for line in columns],
        numbers=_lifts(columns, scores),
    )


def _too_few(scores: ScoredRows, labels: int) -> str:
    """Say why there is nothing to be measured."""
    if not labels:
        return "No label has come: nobody was scored a horizon before the end of history."
    if not len(scores.churned):
        return f"{count(labels, 'label')} came, too few for a model: there is no score of a model with its label."
    what = "everybody left" if scores.churned.all() else "nobody left"
    return f"Of {count(len(scores.churned), 'score')} with a label, {what}: there is nothing to tell apart."


def _compared(scores: ScoredRows, name: str) -> ScoreComparison | None:
    same = scores.beside(name)
    if not same.churned.any() or same.churned.all():
        return None
    model, other = (
        (quality.auc(said, same.churned), quality.log_loss(said, same.churned))
        for said in (same.model, same.others[name])
    )
    return ScoreComparison(model, other, len(same.churned))


def _beside_recency(weeks: Sequence[ScoredWeek], pooled: ScoredWeek) -> str:
    ahead = sum(week.model.auc > week.recency_auc for week in weeks)
    return (
        f"Over {count(pooled.rows, 'score')} the model's AUC is {pooled.model.auc:.3f}, that of recency alone "
        f"{pooled.recency_auc:.3f}; the model was ahead in {ahead:,} of {count(len(weeks), 'week')}."
    )


def _beside_others(matured: MaturedScores, challenger: str) -> Iterator[str]:
    """Say how good others are on the rows that they have scored, and how good the model is on these."""
    scores = matured.scores()
    for name in (name for name in OTHERS if name in scores.others):
        compared = _compared(scores, name)
        if compared is None:
            continue
        who = f"{OTHERS[name]}, {challenger}," if name == "challenger" else f"{OTHERS[name]},"
        some = f", those of {percent(matured.part)} of the people" if name == BOOSTING and matured.part < 1 else ""
        (auc, loss), (model_auc, model_loss) = compared.other, compared.model
        yield (
            f"{who[0].upper()}{who[1:]} has {auc:.3f} (log-loss {loss:.3f}) where the model has {model_auc:.3f} "
            f"({model_loss:.3f}), on the same {count(compared.rows, 'score')}{some}."
        )


def _changed(changes: Sequence[float]) -> Iterator[str]:
    """Say when the world was found changed: on days, or, if they are many, how often and when last."""
    if not changes:
        return
    days = list(dict.fromkeys(day(moment) for moment in sorted(changes)))
    when = f"on {both(days)}" if len(days) <= MOST_DAYS else f"on {len(days):,} days, last on {days[-1]}"
    yield (
        f"The world was found changed {when} (◆): labels came that surprised the model more than those before, beyond "
        "chance. It went on learning; nothing was reset."
    )


def _by_week(weeks: Sequence[ScoredWeek], aucs: dict[float, float], name: str, look: str) -> LineSeries:
    """Draw a week's figure at its beginning; over weeks without one the line is interrupted."""
    drawn, at = list[PlotPoint](), weeks[0].begins
    while at <= weeks[-1].begins:
        auc = aucs.get(at)
        drawn.append(PlotPoint(at, auc, "" if auc is None else f"{name}, week of {day(at)}: {auc:.3f}"))
        at += WEEK
    return LineSeries(look, drawn)


def _in_numbers(weeks: Sequence[ScoredWeek]) -> Numbers:
    others = [other for other in OTHERS if any(other in week.others_auc for week in weeks)]
    heads = ("Week of", "Scores", "Left", "AUC", "Log-loss", "Calibration error", "Recency's AUC")
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
    return Numbers((*heads, *(f"{other.capitalize()}'s" for other in others)), rows)


def _lifts(columns: dict[str, statistics.Column], scores: ScoredRows) -> Numbers:
    shares = np.array([share for share in SHARES if share * len(scores.churned) >= 1] or [1.0])
    lifts = [statistics.lift(column, scores.churned, shares).tolist() for column in columns.values()]
    rows = [
        (percent(share), *(f"{lift:.2f}" for lift in row)) for share, *row in zip(shares.tolist(), *lifts, strict=True)
    ]
    return Numbers(("Chosen", "Model", "Recency"), rows)
