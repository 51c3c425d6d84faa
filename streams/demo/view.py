"""The demo's view: a page on a terminal, plain progress lines anywhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan
from types import TracebackType
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from models.schema.outputs import Alert
from streams.clock import monotonic
from streams.demo.state import DemoState, ModelQuality
from streams.demo.summary import auc_text, day_text, progress

LEFT_WIDTH = 42
BAR_WIDTH = 16
LINE_EVERY = 5.0
COLOURS = {"high": "red", "medium": "yellow", "low": "green", "new": "blue", "left": "bright_black"}
TIERS = {"high": "high", "medium": "medium", "low": "low", "new": "no score yet", "left": "inactive"}
HELD_BACK = {
    "hold_out": "hold-out",
    "quiet_hours": "quiet hours",
    "no_consent": "no consent",
    "cool_down": "cool-down",
    "open_offer": "open offer",
    "cap": "limit reached",
    "no_campaign": "no campaign",
    "shadow": "shadow mode",
}


class View:
    """Shows a `DemoState`. Enter it, call `show` as often as needed, and leave it."""

    def __init__(self, state: DemoState, console: Console | None = None) -> None:
        self._state = state
        self._console = console or Console()
        self._next_line = 0.0
        self._last_line = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(page(self._state), console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._state.events:
            self._line(progress(self._state))

    def show(self) -> None:
        """Show the current state. Without a terminal, print a line every few seconds."""
        if self._live is not None:
            self._live.update(page(self._state), refresh=True)
        elif monotonic() >= self._next_line:
            self._next_line = monotonic() + LINE_EVERY
            self._line(progress(self._state) if self._state.events else f"{self._state.status} ...")

    def _line(self, text: str) -> None:
        if text != self._last_line:
            self._last_line = text
            self.say(text)

    def say(self, text: str) -> None:
        """Write plain text below the page. On a terminal, only before the view is entered or after it was left."""
        self._console.file.write(f"{text}\n")
        self._console.file.flush()


def page(state: DemoState) -> Layout:
    """Return the whole page: throughput at the top, users, model and coupons at the left, alerts at the right."""
    left = Layout(name="left", size=LEFT_WIDTH)
    left.split_column(
        Layout(_panel("users by risk tier", _users(state)), size=len(TIERS) + 2),
        Layout(_panel("churn prediction quality (AUC)", _model(state)), size=7),
        Layout(_panel("coupons", _coupons(state)) if state.knows_truth else _panel("alerts", _alerts(state))),
    )
    body = Layout(name="body")
    body.split_row(left, Layout(_panel("newest alerts", _Alerts(state))))
    whole = Layout()
    whole.split_column(Layout(_header(state), size=4), body, Layout(_footer(state), size=1))
    return whole


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=f"[dim]{title}[/]", title_align="left", border_style="bright_black", padding=(0, 1))


def _header(state: DemoState) -> RenderableType:
    top, bottom = _line(), _line()
    moment = datetime.fromtimestamp(state.now or state.begins, UTC)
    top.add_row(Text.assemble(("Encore", "bold cyan"), ("   " + state.title, "dim")), f"{moment:%a %d %b %Y, %H:00}")
    flow = Text.assemble(
        (f"{state.events:,}", "bold"), " events   ", (f"{state.events_per_second:,.0f}", "bold"), "/s   "
    )
    flow.append(f"lag {state.lag_records:,} events, {state.lag_seconds / 3_600:.0f} h")
    bottom.add_row(flow, Text.assemble((state.status, "dim"), "   ", day_text(state)))
    share = 1.0 if state.forever else state.share
    return Group(top, Bar(1.0, 0, share, color="cyan", bgcolor="grey23"), bottom, Text())


def _line() -> Table:
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    return line


def _bars() -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=12, no_wrap=True)
    table.add_column(width=BAR_WIDTH)
    table.add_column(justify="right", no_wrap=True)
    return table


def _users(state: DemoState) -> RenderableType:
    table = _bars()
    largest = max([1, *state.tiers.values()])
    for tier, name in TIERS.items():
        count, colour = state.tiers[tier], COLOURS[tier]
        table.add_row(Text(name, style=colour), Bar(largest, 0, count, width=BAR_WIDTH, color=colour), f"{count:,}")
    return table


def _model(state: DemoState) -> RenderableType:
    quality = state.quality
    if isnan(quality.model):
        return Text("learning: the first labels come after one horizon", style="dim")
    table = _bars()
    for name, value, colour in _scores(quality):
        table.add_row(name, Bar(0.5, 0, max(0.0, value - 0.5), width=BAR_WIDTH, color=colour), auc_text(value))
    labels = f"{quality.labels:,} labels, {quality.churned:.0%} churned"
    recent = f"last 4 weeks {auc_text(state.recent_quality.model)}, recency {auc_text(state.recent_quality.recency)}"
    return Group(table, Text(labels, style="dim"), Text(recent, style="dim"))


def _scores(quality: ModelQuality) -> list[tuple[str, float, str]]:
    scores = [("model", quality.model, "cyan"), ("recency", quality.recency, "bright_black")]
    return scores if isnan(quality.truth) else [*scores, ("hidden truth", quality.truth, "bright_black")]


def _coupons(state: DemoState) -> RenderableType:
    coupons = state.coupons
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text("sent", style="bold"), Text(f"{coupons.sent:,}", style="bold"))
    table.add_row("redeemed", f"{coupons.redeemed:,}")
    for reason, count in coupons.held_back.most_common(5):
        table.add_row(Text(f"held back: {HELD_BACK.get(reason, reason)}", style="dim"), Text(f"{count:,}", style="dim"))
    sent, held = state.by_coupon.sent, state.by_coupon.held_out
    if sent.users and held.users:
        table.add_row("kept after 14 days", Text(f"{sent.share:.0%}", style="bold cyan"))
        table.add_row("kept in the hold-out", f"{held.share:.0%}")
    return table


def _alerts(state: DemoState) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for about, name in {"risk": "risk changed", "stalled": "stalled", "finished": "finished a course"}.items():
        table.add_row(name, f"{state.alerts[about]:,}")
    return Group(table, Text("no offers: history cannot respond", style="dim"))


class _Alerts:
    """As many of the newest alerts as fit; each is shown completely."""

    def __init__(self, state: DemoState) -> None:
        self._state = state

    def __rich_console__(self, console: Console, options: object) -> list[RenderableType]:
        height = getattr(options, "height", None) or console.height
        rows: list[RenderableType] = []
        for alert in self._state.newest_alerts:
            lines = _alert(alert)
            if len(rows) + len(lines) > height:
                break
            rows += lines
        return rows or [Text("none yet: the model is still learning", style="dim")]


def _alert(alert: Alert) -> list[Text]:
    when = datetime.fromtimestamp(alert.time, UTC)
    head = Text.assemble((f"{when:%d %b %H:%M} ", "dim"), (alert.user_id, "bold"), " ", *_cause(alert))
    done = {"coupon": ("  coupon", "bold magenta"), "contact": ("  message", "magenta")}.get(alert.action)
    if done:
        head.append(*done)
    details = [reason.words for reason in alert.reasons] or ([alert.happened] if alert.happened else [])
    if alert.about == "risk" and alert.happened:
        details = [alert.happened, *details]
    lines = [
        head,
        *(Text(f"   {words}", style="dim", no_wrap=True, overflow="ellipsis") for words in details[:3]),
        Text(),
    ]
    if alert.recommendations:
        courses = ", ".join(one.course_id for one in alert.recommendations)
        lines.insert(-1, Text(f"   recommended: {courses}", style="cyan", no_wrap=True, overflow="ellipsis"))
    head.no_wrap, head.overflow = True, "ellipsis"
    return lines


def _cause(alert: Alert) -> list[tuple[str, str]]:
    if alert.about != "risk":
        return [("stalled" if alert.about == "stalled" else "finished a course", "blue")]
    before, now = alert.tier_before or "new", alert.tier
    chance = f"{alert.probability:.2f}".removeprefix("0")
    return [(before, COLOURS.get(before, "dim")), (" > ", "dim"), (now, COLOURS[now]), (f" {chance}", "")]


def _footer(state: DemoState) -> RenderableType:
    line = _line()
    page = f"worker metrics: {state.metrics_url}" if state.metrics_url else ""
    line.add_row(Text(page, style="dim"), Text("Ctrl-C to stop", style="dim"))
    return line
