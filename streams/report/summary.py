"""The summary of a replay: figures for programs, and text for the terminal."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from msgspec import Struct

from models.offers.campaign import REASONS
from streams.metrics import Metrics
from streams.report.collector import ReplayCollector
from streams.report.matured_scores import ScoredWeek

WIDTH = 14


class Summary(Struct, frozen=True, kw_only=True):
    """Counts of a replay, by reason where there is one. Times are in seconds since 1970 UTC.

    `changes` are the moments at which labels showed drift.
    """

    entries: int
    applied: int
    late: int
    duplicates: int
    dead_letters: dict[str, int]
    people: int
    first: float
    last: float
    alerts: dict[str, int]
    decisions: dict[str, dict[str, int]]
    coupons: int
    labels: int
    quality: ScoredWeek | None
    changes: list[float]
    seconds: float


def summarize(
    collector: ReplayCollector,
    metrics: Metrics,
    *,
    entries: int,
    users: int,
    time_range: tuple[float, float],
    seconds: float,
) -> Summary:
    """Return the figures of a finished replay."""
    decisions: dict[str, dict[str, int]] = {}
    for (kind, reason), count in _by_label(metrics, "encore_decisions_total").items():
        decisions.setdefault(kind, {})[reason] = count
    return Summary(
        entries=entries,
        applied=metrics.value("encore_events_total", "applied"),
        late=metrics.value("encore_events_total", "late"),
        duplicates=metrics.value("encore_duplicates_total"),
        dead_letters={reason: count for (reason,), count in _by_label(metrics, "encore_dead_letters_total").items()},
        people=users,
        first=time_range[0],
        last=time_range[1],
        alerts=dict(collector.alerts),
        decisions=decisions,
        coupons=collector.coupons,
        labels=metrics.value("encore_labels_total"),
        quality=collector.matured.pooled(),
        changes=collector.drift_times,
        seconds=round(seconds, 3),
    )


def summary_text(summary: Summary, title: str) -> str:
    """Return a summary as text for the terminal."""
    rows = [("", f"{title}: {_day(summary.first)} to {_day(summary.last)}")]
    rate = summary.entries / max(summary.seconds, 1e-9)
    rows.append(("Events", f"{summary.applied:,} of {summary.people:,} users, {rate:,.0f} per second"))
    for count, what in ((summary.late, "late: counted, not scored"), (summary.duplicates, "duplicates: ignored")):
        if count:
            rows.append(("", f"{count:,} {what}"))
    rows += [("", f"{count:,} dead letters: {reason}") for reason, count in _largest(summary.dead_letters)]
    alerts = Counter(summary.alerts)
    about = f"{alerts['risk']:,} about risk, {alerts['stalled']:,} stalled, {alerts['finished']:,} finished a course"
    rows.append(("Alerts", about))
    for kind, reasons in sorted(summary.decisions.items()):
        for index, (reason, count) in enumerate(_largest(reasons)):
            rows.append((f"{kind}s".capitalize() if not index else "", f"{count:,} {reason}: {REASONS[reason]}"))
    return "\n" + "\n".join(f"{name:<{WIDTH}}{text}".rstrip() for name, text in [*rows, *_quality(summary)]) + "\n"


def _quality(summary: Summary) -> list[tuple[str, str]]:
    pooled = summary.quality
    if pooled is None:
        return [("Model", f"{summary.labels:,} labels: too few to measure it")]
    figures = pooled.model
    return [
        ("Model", f"{summary.labels:,} labels, {pooled.churned:.0%} churned"),
        ("", f"AUC {figures.auc:.3f}, recency alone {pooled.recency_auc:.3f}"),
        ("", f"log-loss {figures.log_loss:.3f}, calibration error {figures.calibration_error:.3f}"),
        *[("", f"drift detected on {_day(moment)}") for moment in summary.changes],
    ]


def _by_label(metrics: Metrics, counter: str) -> dict[tuple[str, ...], int]:
    return {labels: int(value) for name, labels, value in metrics.samples() if name == counter}


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b %Y}"
