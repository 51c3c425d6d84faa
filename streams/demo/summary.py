"""What the demo says in words: a line of progress now and then, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import isnan

from models.offers.campaign import REASONS
from streams.demo.state import DemoState, EffectEstimate, ModelQuality

WIDTH = 12


def progress(seen: DemoState) -> str:
    """Return one line on how things stand."""
    tiers, coupons = seen.tiers, seen.coupons
    parts = [
        f"{day_of(seen)}: {seen.events:,} events ({seen.per_second:,.0f}/s)",
        f"lag {seen.lag_seconds / 3_600:.0f} h",
        f"high {tiers['high']} medium {tiers['medium']} low {tiers['low']}",
        f"{seen.alerts.total():,} alerts",
    ]
    if seen.knows_truth:
        parts.append(
            f"coupons: {coupons.sent} sent, {coupons.held_back.total()} held back, {coupons.redeemed} redeemed"
        )
    if not isnan(seen.quality.model):
        parts.append(f"AUC {number(seen.quality.model)} (recency {number(seen.quality.recency)})")
    return ", ".join(parts)


def day_of(seen: DemoState) -> str:
    """Return the day of the play in words."""
    return f"day {seen.day:,}" if seen.forever else f"day {min(seen.day, seen.days)} of {seen.days}"


def number(share: float) -> str:
    """Write an AUC as such figures are written: .823; a dash where there is none."""
    return "-" if isnan(share) else f"{share:.3f}".removeprefix("0")


def summary(seen: DemoState, took: float) -> str:
    """Return the summary: what went in and out, what the coupons changed, and how good the model was.

    Args:
        seen: everything that was seen.
        took: how many seconds of the machine's time it took.
    """
    rows = [("", f"{seen.title}: {_span(seen)} in {_minutes(took)}")]
    rows.append(("Events", f"{seen.events:,} of {seen.people:,} people, {seen.events / max(took, 1e-9):,.0f} a second"))
    about = seen.alerts
    rows.append(
        ("Alerts", f"{about['risk']:,} of risk, {about['stalled']:,} stalled, {about['finished']:,} finished a course")
    )
    if seen.knows_truth:
        rows += _offers(seen)
    rows += _model(seen)
    rows += _liked(seen)
    return "\n" + "\n".join(f"{name:<{WIDTH}}{text}".rstrip() for name, text in rows) + "\n"


def effect_in_words(effect: EffectEstimate) -> tuple[str, str]:
    """Say how many were kept beside the hold-out, and whether that is a difference that can be claimed."""
    sent, held, gap = effect.sent, effect.held_out, effect.difference
    if not sent.people or not held.people:
        return "nobody can be compared yet", "no difference can be claimed"
    shares = f"{sent.share:.0%} of {sent.people:,}; in the hold-out {held.share:.0%} of {held.people:,}"
    interval = f"95 % interval {_points(gap.low)} to {_points(gap.high)}"
    if not gap.can_be_claimed:
        return shares, f"{_points(gap.value)} percentage points, {interval}: no difference can be claimed"
    return shares, f"{_points(gap.value)} percentage points, {interval}"


def _offers(seen: DemoState) -> Iterator[tuple[str, str]]:
    coupons = seen.coupons
    used = f" ({coupons.redeemed / coupons.sent:.0%})" if coupons.sent else ""
    yield "Coupons", f"{coupons.sent:,} sent, {coupons.redeemed:,} redeemed{used}, {coupons.too_late} too late to send"
    for reason, count in coupons.held_back.most_common():
        yield "", f"{count:,} held back: {REASONS.get(reason, reason)}"
    yield from _kept(seen.by_coupon, "a coupon")
    yield from _kept(seen.by_anything, "a first coupon or message")


def _kept(effect: EffectEstimate, after: str) -> Iterator[tuple[str, str]]:
    shares, gap = effect_in_words(effect)
    yield "Kept", f"14 days after {after}: {shares}"
    yield "", gap
    if effect.difference.can_be_claimed:
        value, low, high = (effect.sent.people * share for share in effect.difference)
        yield "", f"which is {value:,.0f} people kept who would have left ({low:,.0f} to {high:,.0f})"
    yield "", f"the truth, which only the simulation knows: {_points(effect.truth)}"


def _model(seen: DemoState) -> Iterator[tuple[str, str]]:
    everything, lately = seen.quality, seen.lately
    if isnan(everything.model):
        yield "Model", "too few labels to judge it"
        return
    yield "Model", f"{everything.labels:,} labels, {everything.churned:.0%} churned (silent for {_days(seen.horizon)})"
    yield "", _aucs("AUC", everything)
    yield "", _aucs("AUC, last four weeks", lately)


def _liked(seen: DemoState) -> Iterator[tuple[str, str]]:
    foretold = seen.foretold
    if not foretold.courses:
        return
    told, popular = (count / foretold.courses for count in (foretold.told, foretold.popular))
    yield "Liked", f"{seen.lists:,} lists told; of {foretold.courses:,} courses that people came to afterwards"
    yield "", f"{told:.0%} stood among the first five of their list; of the five most popular {popular:.0%}"


def _aucs(name: str, quality: ModelQuality) -> str:
    said = f"{name}: model {number(quality.model)}, recency alone {number(quality.recency)}"
    return said if isnan(quality.truth) else f"{said}, who sees the hidden state {number(quality.truth)}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:g} days"


def _span(seen: DemoState) -> str:
    first, last = (datetime.fromtimestamp(at, UTC) for at in (seen.begins, max(seen.begins, seen.now)))
    return f"{(last - first).days} days, {first:%d %b %Y} to {last:%d %b %Y},"


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds >= 60 else f"{seconds:.0f} s"
