"""A page as its reader sees it: parsed, with its figures' sentences and tables."""

from __future__ import annotations

from xml.etree import ElementTree

from models.person import features
from models.person.rules import Rules
from models.schema.outputs import Example
from streams.agents.training.challengers import ChallengerPanel
from streams.metrics import Metrics
from streams.report.collector import Files, ReplayCollector
from streams.report.page import page
from streams.report.summary import summarised
from streams.settings import Settings

MONDAY = 19_002 * 86_400.0  # 10 January 2022
DAY = 86_400.0


class Page:
    """A report, parsed. What is no well-formed document does not parse."""

    def __init__(self, html: str) -> None:
        self.html = html
        assert html.startswith("<!DOCTYPE html>\n")
        self.root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))

    def figure(self, name: str) -> ElementTree.Element:
        found = self.root.find(f".//figure[@id='{name}']")
        assert found is not None
        return found

    def says(self, name: str) -> str:
        """A figure's sentences."""
        said = [self.figure(name).find("p"), *self.figure(name).findall("ul[@class='points']/li")]
        return " ".join(one.text or "" for one in said if one is not None)

    def table(self, name: str) -> list[list[str]]:
        """A figure's numbers, without the head."""
        return [[cell.text or "" for cell in row] for row in self.figure(name).findall(".//tbody/tr")]

    def words(self) -> str:
        """All that is to be read."""
        return "\n".join(text for text in self.root.find("body").itertext())  # type: ignore[union-attr]


def example(time: float, probability: float, churned: bool, silence: float, **other: object) -> Example:
    x = [0.0] * len(features.NAMES)
    x[features.SILENCE] = silence
    given = {"id": "", "user": "u", "until": time + 14 * DAY, "features": "f", "model": "m", "treated": False, **other}
    return Example(time=time, probability=probability, churned=churned, x=tuple(x), **given)


def account(most_rows: int = 0, **chosen: str) -> ReplayCollector:
    return ReplayCollector(
        Files(None), Rules(), ChallengerPanel(Settings(**chosen), Metrics(), model_only=not chosen), most_rows
    )


def paged(
    account: ReplayCollector,
    metrics: Metrics | None = None,
    end: float = MONDAY,
    title: str = "history",
    people: int = 0,
    challenger: str = "",
) -> Page:
    summary = summarised(account, metrics or Metrics(), entries=0, people=people, span=(MONDAY, end), seconds=1.0)
    return Page(page(summary, account, Rules(), title, challenger))
