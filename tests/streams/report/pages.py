"""A report page, parsed, with the sentences and tables of its figures."""

from __future__ import annotations

from xml.etree import ElementTree

from models.person import features
from models.person.rules import Rules
from models.schema.outputs import Example
from streams.agents.training.challengers import ChallengerPanel
from streams.metrics import Metrics
from streams.report.collector import OutputFiles, ReplayCollector
from streams.report.page import page
from streams.report.summary import summarize
from streams.settings import Settings

MONDAY = 19_002 * 86_400.0  # 10 January 2022
DAY = 86_400.0


class Page:
    """A parsed report. A page that is not well-formed does not parse."""

    def __init__(self, html: str) -> None:
        self.html = html
        assert html.startswith("<!DOCTYPE html>\n")
        self.root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))

    def figure(self, name: str) -> ElementTree.Element:
        found = self.root.find(f".//figure[@id='{name}']")
        assert found is not None
        return found

    def finding(self, name: str) -> str:
        """Return the sentences of a figure."""
        elements = [self.figure(name).find("p"), *self.figure(name).findall("ul[@class='points']/li")]
        return " ".join(element.text or "" for element in elements if element is not None)

    def table(self, name: str) -> list[list[str]]:
        """Return the numbers of a figure, without the headings."""
        return [[cell.text or "" for cell in row] for row in self.figure(name).findall(".//tbody/tr")]

    def text(self) -> str:
        """Return all visible text."""
        return "\n".join(text for text in self.root.find("body").itertext())  # type: ignore[union-attr]


def example(time: float, probability: float, churned: bool, silence: float, **other: object) -> Example:
    x = [0.0] * len(features.NAMES)
    x[features.SILENCE] = silence
    fields = {"id": "", "user": "u", "until": time + 14 * DAY, "features": "f", "model": "m", "treated": False, **other}
    return Example(time=time, probability=probability, churned=churned, x=tuple(x), **fields)


def make_collector(max_rows: int = 0, **options: str) -> ReplayCollector:
    return ReplayCollector(
        OutputFiles(None), Rules(), ChallengerPanel(Settings(**options), Metrics(), model_only=not options), max_rows
    )


def render_page(
    collector: ReplayCollector,
    metrics: Metrics | None = None,
    end: float = MONDAY,
    title: str = "history",
    users: int = 0,
    challenger: str = "",
) -> Page:
    summary = summarize(collector, metrics or Metrics(), entries=0, users=users, time_range=(MONDAY, end), seconds=1.0)
    return Page(page(summary, collector, Rules(), title, challenger))
