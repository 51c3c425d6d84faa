"""The demo's view: a calm page at a terminal, plain lines of progress anywhere else."""

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
from streams.demo.summary import day_of, number, progress

LEFT = 42
BAR = 16
LINES_EVERY = 5.0
COLOURS = {"high": "red", "medium": "yellow", "low": "green", "new": "blue", "left": "bright_black"}
TIERS = {"high": "high", "medium": "medium", "low": "low", "new": "not yet", "left": "gone quiet"}
HELD = {
    "hold_out": "hold-out",
    "quiet_hours": "quiet hours",
    "no_consent": "no consent",
    "cool_down": "cool-down",
    "open_offer": "offer open",
    "cap": "cap",
    "no_campaign": "no campaign",
    "shadow": "shadow",
}


class View:
    """Shows a `DemoState`; enter it, call `show` as often as you like, and leave it."""

    def __init__(self, seen: DemoState, console: Console | None = None) -> None:
        self._seen = seen
        self._console = console or Console()
        self._next_line = 0.0
        self._said = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(page(self._seen), console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._seen.events:
            self._line(progress(self._seen))

    def show(self) -> None:
        """Show things as they stand; without a terminal, a line every few seconds."""
        if self._live is not None:
            self._live.update(page(self._seen), refresh=True)
        elif monotonic() >= self._next_line:
            self._next_line = monotonic() + LINES_EVERY
            self._line(progress(self._seen) if self._seen.events else f"{self._seen.doing} ...")

    def _line(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self.say(text)

    def say(self, text: str) -> None:
        """Write plain text below what was shown; only before the view is entered or after it was left at a terminal."""
        self._console.file.write(f"{text}\n")
        self._console.file.flush()


def page(seen: DemoState) -> Layout:
    """Return the whole page: what goes through above, people, coupons and model at the left, alerts at the right."""
    left = Layout(name="left", size=LEFT)
    left.split_column(
        Layout(_panel("people by risk", _people(seen)), size=len(TIERS) + 2),
        Layout(_panel("how well churn is foretold (AUC)", _model(seen)), size=7),
        Layout(_panel("coupons", _coupons(seen)) if seen.knows_truth else _panel("alerts", _alerts(seen))),
    )
    body = Layout(name="body")
    body.split_row(left, Layout(_panel("newest alerts", _Alerts(seen))))
    whole = Layout()
    whole.split_column(Layout(_header(seen), size=4), body, Layout(_footer(seen), size=1))
    return whole


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=f"[dim]{title}[/]", title_align="left", border_style="bright_black", padding=(0, 1))


def _header(seen: DemoState) -> RenderableType:
    top, bottom = _line(), _line()
    moment = datetime.fromtimestamp(seen.now or seen.begins, UTC)
    top.add_row(Text.assemble(("Encore", "bold cyan"), ("   " + seen.title, "dim")), f"{moment:%a %d %b %Y, %H:00}")
    flow = Text.assemble((f"{seen.events:,}", "bold"), " events   ", (f"{seen.per_second:,.0f}", "bold"), "/s   ")
    flow.append(f"lag {seen.lag_records:,} events, {seen.lag_seconds / 3_600:.0f} h")
    bottom.add_row(flow, Text.assemble((seen.doing, "dim"), "   ", day_of(seen)))
    share = 1.0 if seen.forever else seen.share
    return Group(top, Bar(1.0, 0, share, color="cyan", bgcolor="grey23"), bottom, Text())


def _line() -> Table:
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    return line


def _bars() -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=12, no_wrap=True)
    table.add_column(width=BAR)
    table.add_column(justify="right", no_wrap=True)
    return table


def _people(seen: DemoState) -> RenderableType:
    table = _bars()
    most = max([1, *seen.tiers.values()])
    for tier, name in TIERS.items():
        count, colour = seen.tiers[tier], COLOURS[tier]
        table.add_row(Text(name, style=colour), Bar(most, 0, count, width=BAR, color=colour), f"{count:,}")
    return table


def _model(seen: DemoState) -> RenderableType:
    quality = seen.quality
    if isnan(quality.model):
        return Text("learning; the first labels come when the first horizon closes", style="dim")
    table = _bars()
    for name, value, colour in _scores(quality):
        table.add_row(name, Bar(0.5, 0, max(0.0, value - 0.5), width=BAR, color=colour), number(value))
    labels = f"{quality.labels:,} labels, {quality.churned:.0%} churned"
    lately = f"last 4 weeks {number(seen.lately.model)}, recency {number(seen.lately.recency)}"
    return Group(table, Text(labels, style="dim"), Text(lately, style="dim"))


def _scores(quality: ModelQuality) -> list[tuple[str, float, str]]:
    scores = [("model", quality.model, "cyan"), ("recency", quality.recency, "bright_black")]
    return scores if isnan(quality.truth) else [*scores, ("hidden truth", quality.truth, "bright_black")]


def _coupons(seen: DemoState) -> RenderableType:
    coupons = seen.coupons
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text("sent", style="bold"), Text(f"{coupons.sent:,}", style="bold"))
    table.add_row("redeemed", f"{coupons.redeemed:,}")
    for reason, count in coupons.held_back.most_common(5):
        table.add_row(Text(f"held back: {HELD.get(reason, reason)}", style="dim"), Text(f"{count:,}", style="dim"))
    sent, held = seen.by_coupon.sent, seen.by_coupon.held_out
    if sent.people and held.people:
        table.add_row("still there 14 days after", Text(f"{sent.share:.0%}", style="bold cyan"))
        table.add_row("the same in the hold-out", f"{held.share:.0%}")
    return table


def _alerts(seen: DemoState) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for about, name in {"risk": "risk changed", "stalled": "stalled", "finished": "finished a course"}.items():
        table.add_row(name, f"{seen.alerts[about]:,}")
    return Group(table, Text("nothing is sent: history cannot answer", style="dim"))


class _Alerts:
    """As many of the newest alerts as there is room for, each whole."""

    def __init__(self, seen: DemoState) -> None:
        self._seen = seen

    def __rich_console__(self, console: Console, options: object) -> list[RenderableType]:
        height = getattr(options, "height", None) or console.height
        rows: list[RenderableType] = []
        for alert in self._seen.newest:
            lines = _alert(alert)
            if len(rows) + len(lines) > height:
                break
            rows += lines
        return rows or [Text("none yet: the model learns first", style="dim")]


def _alert(alert: Alert) -> list[Text]:
    when = datetime.fromtimestamp(alert.time, UTC)
    head = Text.assemble((f"{when:%d %b %H:%M} ", "dim"), (alert.user_id, "bold"), " ", *_news(alert))
    done = {"coupon": ("  coupon", "bold magenta"), "contact": ("  message", "magenta")}.get(alert.action)
    if done:
        head.append(*done)
    said = [reason.words for reason in alert.reasons] or ([alert.happened] if alert.happened else [])
    if alert.about == "risk" and alert.happened:
        said = [alert.happened, *said]
    lines = [head, *(Text(f"   {words}", style="dim", no_wrap=True, overflow="ellipsis") for words in said[:3]), Text()]
    if alert.recommendations:
        liked = ", ".join(one.course_id for one in alert.recommendations)
        lines.insert(-1, Text(f"   would like {liked}", style="cyan", no_wrap=True, overflow="ellipsis"))
    head.no_wrap, head.overflow = True, "ellipsis"
    return lines


def _news(alert: Alert) -> list[tuple[str, str]]:
    if alert.about != "risk":
        return [("stalled" if alert.about == "stalled" else "finished a course", "blue")]
    before, now = alert.tier_before or "new", alert.tier
    chance = f"{alert.probability:.2f}".removeprefix("0")
    return [(before, COLOURS.get(before, "dim")), (" > ", "dim"), (now, COLOURS[now]), (f" {chance}", "")]


def _footer(seen: DemoState) -> RenderableType:
    line = _line()
    page = f"the worker's own page: {seen.page}" if seen.page else ""
    line.add_row(Text(page, style="dim"), Text("Ctrl-C ends it", style="dim"))
    return line
