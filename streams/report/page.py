"""The report as one HTML page. The page loads nothing, so it can be sent as a file and opened anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from models.person.activity import DAY
from models.person.rules import Rules
from models.schema import errors
from streams.report import decision_figures, people_figures, score_figures, svg
from streams.report.collector import ReplayCollector
from streams.report.figure import Bars, Figure, Numbers
from streams.report.formatting import count, day, percent
from streams.report.markup import Markup, join, tag
from streams.report.stylesheet import STYLE
from streams.report.summary import Summary

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for this page: nothing, whatever the page contains."""


def page(summary: Summary, collector: ReplayCollector, rules: Rules, title: str, challenger: str = "") -> str:
    """Return the report of a finished replay as HTML.

    Args:
        summary: the counts of the replay.
        collector: the figures collected during the replay.
        rules: the rules of the replay.
        title: the name of the history, as the reader knows it.
        challenger: the challenger model as the settings name it, if there was one.
    """
    figures = (
        score_figures.quality_by_week(collector, summary.labels, challenger),
        score_figures.reliability(collector, summary.labels),
        score_figures.lift(collector, summary.labels),
        people_figures.tiers(collector.tiers, summary.last),
        people_figures.retention(collector.activity, summary.last),
        people_figures.cohorts(collector.activity, summary.last),
        decision_figures.reasons(collector.reasons),
        decision_figures.decisions(summary.decisions),
    )
    body = tag(
        "main",
        _header(summary, title),
        _summary(summary),
        *map(_figure, figures),
        tag("footer", tag("p", _definitions(rules))),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", f"Encore: {title}"),
        tag("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _header(summary: Summary, title: str) -> Markup:
    span = f"{day(summary.first)} to {day(summary.last)}" if summary.applied else "no event"
    tiles = (tag("div", tag("b", number), tag("span", what), class_="tile") for number, what in _tiles(summary))
    return tag(
        "header",
        tag("h1", "What Encore would have sent"),
        tag("p", tag("bdi", title), f", {span}, replayed as if it were live", class_="soft"),
        tag("div", *tiles, class_="tiles"),
    )


def _tiles(summary: Summary) -> Iterator[tuple[str, str]]:
    alerts = sum(summary.alerts.values())
    yield f"{summary.applied:,}", "event" if summary.applied == 1 else "events"
    yield f"{summary.people:,}", "user" if summary.people == 1 else "users"
    yield f"{alerts:,}", "alert" if alerts == 1 else "alerts"
    yield f"{summary.coupons:,}", "coupon" if summary.coupons == 1 else "coupons"
    if summary.quality is not None:
        recency = f"AUC of the model; recency alone {summary.quality.recency_auc:.3f}"
        yield f"{summary.quality.model.auc:.3f}", recency


def _summary(summary: Summary) -> Markup:
    inputs = [(summary.applied, "events applied")]
    inputs += [(number, what) for number, what in _other_inputs(summary) if number]
    contacts = summary.decisions.get("contact", {}).get("sent", 0)
    outputs = [
        (summary.alerts.get("risk", 0), "alerts about a changed risk"),
        (summary.alerts.get("stalled", 0), "alerts about a stalled course"),
        (summary.alerts.get("finished", 0), "alerts about a finished course"),
        (contacts, "messages without a coupon"),
        (summary.coupons, "coupons"),
    ]
    return tag(
        "section",
        tag("div", _list("Input", inputs), _list("What would have been sent", outputs), class_="pair"),
        class_="whole",
    )


def _other_inputs(summary: Summary) -> Iterator[tuple[int, str]]:
    yield summary.labels, "labels: scores whose outcome was known before the history ended"
    yield summary.late, "late events: counted, not scored"
    yield summary.duplicates, "duplicates: ignored"
    for reason, number in sorted(summary.dead_letters.items(), key=lambda item: (-item[1], item[0])):
        yield number, f"dead letters ({reason}): {errors.REASONS.get(reason, reason)}"


def _list(head: str, rows: list[tuple[int, str]]) -> Markup:
    items = (join(tag("dt", f"{number:,}"), tag("dd", what)) for number, what in rows)
    return tag("div", tag("h2", head), tag("dl", *items))


def _figure(figure: Figure) -> Markup:
    half = figure.narrow is not None and figure.wide is None
    return tag(
        "figure",
        tag("h2", figure.title),
        tag("p", figure.finding),
        tag("ul", *(tag("li", point) for point in figure.details), class_="points") if figure.details else Markup(),
        _key(figure) if figure.key else Markup(),
        tag("div", figure.wide, class_="wide") if figure.wide else Markup(),
        tag("div", figure.narrow, class_="narrow") if figure.narrow else Markup(),
        tag("div", *map(_bars, figure.bars), class_="pair") if figure.bars else Markup(),
        tag("p", figure.note, class_="note") if figure.note and (figure.narrow or figure.bars) else Markup(),
        _numbers(figure.numbers) if figure.numbers else Markup(),
        id=figure.name,
        class_="half" if half else "whole",
    )


def _key(figure: Figure) -> Markup:
    return tag("ul", *(tag("li", svg.key_sample(look), name) for look, name in figure.key), class_="key")


def _bars(bars: Bars) -> Markup:
    items = (
        tag(
            "li",
            tag("div", tag("span", bar.label), tag("b", bar.value), class_="words"),
            svg.bar(bar.share, bar.look),
            tag("div", bar.detail, class_="more") if bar.detail else Markup(),
        )
        for bar in bars.bars
    )
    return tag("div", tag("h3", bars.title), tag("ul", *items, class_="bars"))


def _numbers(numbers: Numbers) -> Markup:
    head = tag("tr", *(tag("th", name) for name in numbers.headings))
    rows = (tag("tr", *(tag("td", value) for value in row)) for row in numbers.rows)
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    return tag("details", tag("summary", "The numbers"), tag("div", table, class_="scroll"))


def _definitions(rules: Rules) -> str:
    """Return the definitions that the figures use."""
    horizon, lookback = (f"{span / DAY:g} days" for span in (rules.horizon, rules.lookback))
    timing = "once" if rules.alerts_wait else "even before"
    return (
        f"A user left if there was no activity for {horizon} after the score. Only users active within "
        f"{lookback} are scored. High risk begins at {percent(rules.high)}, medium risk at {percent(rules.medium)}. "
        f"Tiers and alerts begin {timing} {count(rules.labels_needed, 'label')} have been learned. "
        "Weeks begin on Monday; days and weeks are in UTC."
    )
