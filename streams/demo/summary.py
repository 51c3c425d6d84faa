"""The demo's text: a progress line now and then, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import isnan

from models.offers.campaign import REASONS
from streams.demo.state import DemoState, EffectEstimate, ModelQuality

WIDTH = 12


def progress(state: DemoState) -> str:
    """Return one line about the current state."""
    tiers, coupons = state.tiers, state.coupons
    parts = [
        f"{day_text(state)}: {state.events:,} events ({state.events_per_second:,.0f}/s)",
        f"lag {state.lag_seconds / 3_600:.0f} h",
        f"high {tiers['high']} medium {tiers['medium']} low {tiers['low']}",
        f"{state.alerts.total():,} alerts",
    ]
    if state.knows_truth:
        parts.append(
            f"coupons: {coupons.sent} sent, {coupons.held_back.total()} held back, {coupons.redeemed} redeemed"
        )
    if not isnan(state.quality.model):
        parts.append(f"AUC {auc_text(state.quality.model)} (recency {auc_text(state.quality.recency)})")
    return ", ".join(parts)


def day_text(state: DemoState) -> str:
    """Return the day of the demo as text."""
    return f"day {state.day:,}" if state.forever else f"day {min(state.day, state.days)} of {state.days}"


def auc_text(share: float) -> str:
    """Return an AUC without its leading zero, such as .823; a dash if it is unknown."""
    return "-" if isnan(share) else f"{share:.3f}".removeprefix("0")


def summary(state: DemoState, elapsed: float) -> str:
    """Return the summary: events and outputs, the effect of coupons, and the quality of the model.

    Args:
        state: what was observed.
        elapsed: how many seconds of real time the demo took.
    """
    rows = [("", f"{state.title}: {_span_text(state)} in {_duration_text(elapsed)}")]
    rate = state.events / max(elapsed, 1e-9)
    rows.append(("Events", f"{state.events:,} of {state.users:,} users, {rate:,.0f} per second"))
    alerts = state.alerts
    about = f"{alerts['risk']:,} about risk, {alerts['stalled']:,} stalled, {alerts['finished']:,} finished a course"
    rows.append(("Alerts", about))
    if state.knows_truth:
        rows += _coupons(state)
    rows += _model(state)
    rows += _lists(state)
    return "\n" + "\n".join(f"{name:<{WIDTH}}{text}".rstrip() for name, text in rows) + "\n"


def effect_text(effect: EffectEstimate) -> tuple[str, str]:
    """Return the shares kept with and without messages, and the difference with its interval, as text."""
    sent, held, gap = effect.sent, effect.held_out, effect.difference
    if not sent.users or not held.users:
        return "too few users to compare yet", "no difference can be claimed"
    shares = f"{sent.share:.0%} of {sent.users:,}; in the hold-out {held.share:.0%} of {held.users:,}"
    interval = f"95% interval {_points_text(gap.low)} to {_points_text(gap.high)}"
    if not gap.can_be_claimed:
        return shares, f"{_points_text(gap.value)} percentage points, {interval}: no difference can be claimed"
    return shares, f"{_points_text(gap.value)} percentage points, {interval}"


def _coupons(state: DemoState) -> Iterator[tuple[str, str]]:
    coupons = state.coupons
    used = f" ({coupons.redeemed / coupons.sent:.0%})" if coupons.sent else ""
    yield "Coupons", f"{coupons.sent:,} sent, {coupons.redeemed:,} redeemed{used}, {coupons.too_late} too late to send"
    for reason, count in coupons.held_back.most_common():
        yield "", f"{count:,} held back: {REASONS.get(reason, reason)}"
    yield from _kept(state.by_coupon, "a coupon")
    yield from _kept(state.by_anything, "a first coupon or message")


def _kept(effect: EffectEstimate, after: str) -> Iterator[tuple[str, str]]:
    shares, gap = effect_text(effect)
    yield "Kept", f"14 days after {after}: {shares}"
    yield "", gap
    if effect.difference.can_be_claimed:
        value, low, high = (effect.sent.users * share for share in effect.difference)
        yield "", f"about {value:,.0f} users kept who would have left ({low:,.0f} to {high:,.0f})"
    yield "", f"true effect, known only to the simulation: {_points_text(effect.truth)}"


def _model(state: DemoState) -> Iterator[tuple[str, str]]:
    everything, recent = state.quality, state.recent_quality
    if isnan(everything.model):
        yield "Model", "too few labels to measure it"
        return
    churned = f"{everything.churned:.0%} churned (no activity for {_days_text(state.horizon)})"
    yield "Model", f"{everything.labels:,} labels, {churned}"
    yield "", _aucs("AUC", everything)
    yield "", _aucs("AUC, last four weeks", recent)


def _lists(state: DemoState) -> Iterator[tuple[str, str]]:
    forecast = state.forecast
    if not forecast.courses:
        return
    recommended, popular = (count / forecast.courses for count in (forecast.recommended, forecast.popular))
    yield "Lists", f"{state.lists:,} recommendation lists; afterwards, users came to {forecast.courses:,} new courses"
    yield "", f"{recommended:.0%} of these were in the top five of the list, {popular:.0%} among the five most popular"


def _aucs(name: str, quality: ModelQuality) -> str:
    text = f"{name}: model {auc_text(quality.model)}, recency alone {auc_text(quality.recency)}"
    return text if isnan(quality.truth) else f"{text}, with the hidden state {auc_text(quality.truth)}"


def _points_text(share: float) -> str:
    return f"{100 * share:+.1f}"


def _days_text(seconds: float) -> str:
    return f"{seconds / 86_400:g} days"


def _span_text(state: DemoState) -> str:
    first, last = (datetime.fromtimestamp(at, UTC) for at in (state.begins, max(state.begins, state.now)))
    return f"{(last - first).days} days, {first:%d %b %Y} to {last:%d %b %Y},"


def _duration_text(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds >= 60 else f"{seconds:.0f} s"
