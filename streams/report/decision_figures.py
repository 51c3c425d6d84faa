"""Figures about outputs: the reasons on alerts, and the decisions with their reasons."""

from __future__ import annotations

from typing import NamedTuple

from models.offers.campaign import REASONS
from streams.report.aggregates import ReasonCount, ReasonCounts
from streams.report.figure import Bar, Bars, Figure, Numbers
from streams.report.formatting import count, percent

GROUPS = {
    "silence": "the time since the last activity",
    "rhythm": "the frequency of activity",
    "tenure": "the time since the first activity",
    "progress": "the progress in the course",
    "effort": "the learning effort",
    "money": "purchases",
    "satisfaction": "ratings",
}
"""The groups of features that an alert names, as text."""

CANDIDATES = {"coupon": ("coupon", "coupons"), "contact": ("message without a coupon", "messages without a coupon")}


class Direction(NamedTuple):
    """Alerts about rising or falling risk: name, CSS class, number of alerts, and their reasons."""

    name: str
    look: str
    alerts: int
    reasons: list[ReasonCount]


def reasons(counts: ReasonCounts) -> Figure:
    """The reasons on alerts about risk, most frequent first."""
    name, title = "reasons", "Reasons on alerts"
    directions = [
        Direction("higher risk", "high", counts.rising, counts.groups(True)),
        Direction("lower risk", "low", counts.falling, counts.groups(False)),
    ]
    shown = [direction for direction in directions if direction.reasons]
    if not shown:
        alerts = counts.rising + counts.falling
        if not alerts:
            return Figure(name, title, "There is no alert about risk.")
        return Figure(name, title, f"There are no reasons on the {count(alerts, 'alert')} about risk.")
    finding = " ".join(map(_first_reason, shown))
    bars = [Bars(f"{side.name.capitalize()}: {count(side.alerts, 'alert')}", _reasons(side)) for side in shown]
    rows = [
        (side.name.capitalize(), _group(group.group), f"{group.alerts:,}") for side in shown for group in side.reasons
    ]
    note = (
        "An alert names up to three reasons, those with the largest effect on the score. "
        "Below each reason is its text from the alert with the largest effect."
    )
    return Figure(name, title, finding, note=note, bars=bars, numbers=Numbers(("Alerts", "Reason", "Times"), rows))


def decisions(by_kind: dict[str, dict[str, int]]) -> Figure:
    """The decisions about every coupon and message that was considered, by reason."""
    name, title = "decisions", "Decisions by reason"
    considered = {kind: reasons for kind, reasons in sorted(by_kind.items(), reverse=True) if sum(reasons.values())}
    if not considered:
        return Figure(
            name,
            title,
            "Nothing was decided: no user reached a tier that asks for an offer, and no course was finished.",
        )
    finding = " ".join(_finding(kind, reasons) for kind, reasons in considered.items())
    bars = [
        Bars(f"{_kind(kind)}: considered {count(sum(reasons.values()), 'time')}", _decisions(reasons))
        for kind, reasons in considered.items()
    ]
    rows = [
        (_kind(kind), _reason(reason), f"{number:,}")
        for kind, reasons in considered.items()
        for reason, number in _largest(reasons)
    ]
    return Figure(name, title, finding, bars=bars, numbers=Numbers(("Type", "Reason", "Times"), rows))


def _first_reason(direction: Direction) -> str:
    first = direction.reasons[0]
    share = percent(first.alerts / direction.alerts)
    return f"Of {count(direction.alerts, 'alert')} about {direction.name}, {share} name {_group(first.group)}."


def _reasons(direction: Direction) -> list[Bar]:
    bars = []
    for group in direction.reasons:
        share = group.alerts / direction.alerts
        bars.append(Bar(share, direction.look, _group(group.group), percent(share), group.text))
    return bars


def _decisions(reasons: dict[str, int]) -> list[Bar]:
    total = sum(reasons.values())
    return [
        Bar(number / total, "model" if reason == "sent" else "recency", _reason(reason), f"{number:,}")
        for reason, number in _largest(reasons)
    ]


def _finding(kind: str, reasons: dict[str, int]) -> str:
    total, sent = sum(reasons.values()), reasons.get("sent", 0)
    others = _largest({reason: number for reason, number in reasons.items() if reason != "sent"})
    finding = (
        f"Of {count(total, CANDIDATES.get(kind, (kind, kind))[0])} considered, {sent:,} "
        f"({percent(sent / total)}) would have been sent"
    )
    if others:
        reason, number = others[0]
        finding += f". The most frequent reason against the others ({number:,}): {_reason(reason)}"
    return finding + "."


def _kind(kind: str) -> str:
    return CANDIDATES.get(kind, (kind, kind))[1].capitalize()


def _reason(reason: str) -> str:
    return REASONS.get(reason, reason)


def _group(group: str) -> str:
    return GROUPS.get(group, group)


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
