"""What would have been said and sent: reasons on alerts, and decisions with theirs."""

from __future__ import annotations

from typing import NamedTuple

from models.offers.campaign import REASONS
from streams.report.aggregates import ReasonCount, ReasonCounts
from streams.report.figure import Bar, Bars, Figure, Numbers
from streams.report.formatting import count, percent

GROUPS = {
    "silence": "how long they have been silent",
    "rhythm": "how often they come",
    "tenure": "how long they have been there",
    "progress": "how far they are in their course",
    "effort": "how much they learn",
    "money": "what they buy",
    "satisfaction": "how they rate",
}
"""The groups of features that an alert names, in words."""

CANDIDATES = {"coupon": ("coupon", "coupons"), "contact": ("ordinary message", "ordinary messages")}


class Side(NamedTuple):
    """The alerts of one direction: what they say, how that looks, how many they are, and what they named."""

    name: str
    look: str
    alerts: int
    why: list[ReasonCount]


def reasons(collected: ReasonCounts) -> Figure:
    """What alerts of risk gave as reasons, most often first."""
    name, title = "reasons", "Reasons given on alerts"
    sides = [
        Side("more at risk", "high", collected.rising, collected.why(True)),
        Side("less at risk", "low", collected.falling, collected.why(False)),
    ]
    told = [side for side in sides if side.why]
    if not told:
        alerts = collected.rising + collected.falling
        none = f"{count(alerts, 'alert')} of risk, and no reason on any of them." if alerts else "No alert of risk."
        return Figure(name, title, none)
    says = " ".join(
        f"Of {count(side.alerts, 'alert')} that somebody is {side.name}, {percent(side.why[0].times / side.alerts)} "
        f"name {_group(side.why[0].group)}."
        for side in told
    )
    bars = [Bars(f"{side.name.capitalize()}: {count(side.alerts, 'alert')}", _reasons(side)) for side in told]
    rows = [(side.name.capitalize(), _group(why.group), f"{why.times:,}") for side in told for why in side.why]
    note = (
        "An alert names up to three reasons, those that move the score most; under each stands "
        "how it read where it moved the score most of all."
    )
    return Figure(name, title, says, note=note, bars=bars, numbers=Numbers(("Alerts", "Reason", "Times"), rows))


def decisions(taken: dict[str, dict[str, int]]) -> Figure:
    """What became of every coupon and message that was considered, and why."""
    name, title = "decisions", "Decisions by reason"
    considered = {kind: reasons for kind, reasons in sorted(taken.items(), reverse=True) if sum(reasons.values())}
    if not considered:
        return Figure(
            name, title, "Nothing was decided: nobody came into a tier that asks for it, and no course ended."
        )
    says = " ".join(_decided(kind, reasons) for kind, reasons in considered.items())
    bars = [
        Bars(f"{_kind(kind)}: considered {count(sum(reasons.values()), 'time')}", _decisions(reasons))
        for kind, reasons in considered.items()
    ]
    rows = [
        (_kind(kind), _reason(reason), f"{times:,}")
        for kind, reasons in considered.items()
        for reason, times in _largest(reasons)
    ]
    return Figure(name, title, says, bars=bars, numbers=Numbers(("What", "Reason", "Times"), rows))


def _reasons(side: Side) -> list[Bar]:
    return [
        Bar(why.times / side.alerts, side.look, _group(why.group), f"{percent(why.times / side.alerts)}", why.words)
        for why in side.why
    ]


def _decisions(reasons: dict[str, int]) -> list[Bar]:
    all_of_them = sum(reasons.values())
    return [
        Bar(times / all_of_them, "model" if reason == "sent" else "recency", _reason(reason), f"{times:,}")
        for reason, times in _largest(reasons)
    ]


def _decided(kind: str, reasons: dict[str, int]) -> str:
    all_of_them, sent = sum(reasons.values()), reasons.get("sent", 0)
    held = _largest({reason: times for reason, times in reasons.items() if reason != "sent"})
    says = (
        f"Of {count(all_of_them, CANDIDATES.get(kind, (kind, kind))[0])} considered, {sent:,} "
        f"({percent(sent / all_of_them)}) would have gone out"
    )
    if held:
        reason, times = held[0]
        says += f"; of the others most ({times:,}) did not for this reason: {_reason(reason)}"
    return says + "."


def _kind(kind: str) -> str:
    return CANDIDATES.get(kind, (kind, kind))[1].capitalize()


def _reason(reason: str) -> str:
    return REASONS.get(reason, reason)


def _group(group: str) -> str:
    return GROUPS.get(group, group)


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
