"""What watches Encore knows what there is to see: rules and dashboard name metrics, labels and commands of the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.offers import campaign
from models.schema import errors
from streams import metrics
from streams.kafka import topics
from streams.settings import Settings
from tests.test_deploy import is_command

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "encore.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
EXPRESSIONS = [*TARGETS, *(rule["expr"] for rule in RULES)]


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Every metric of ours in an expression with what stands in its braces; histograms by their own name."""
    for name, labels in re.findall(r"\b(encore_\w+)(?:\{([^}]*)\})?", expression):
        yield re.sub(r"(encore_\w+_seconds)_(bucket|sum|count)$", r"\1", name), labels


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_exists(expression: str) -> None:
    """A name or label that was changed in the code would show nothing, and alarm nobody."""
    for name, labels in selectors(expression):
        assert name in metrics.METRICS
        assert set(re.findall(r"(\w+)!?=", labels)) <= set(metrics.METRICS[name].labels)
    grouped = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(",")}
    known = {label for name, _ in selectors(expression) for label in metrics.METRICS[name].labels}
    assert grouped <= known | {"instance", "le"}


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("reason", {*campaign.REASONS, *errors.REASONS}),
        ("topic", {topic.name for topic in topics.topics(Settings())}),
        ("agent", set(Settings().agents)),
    ],
)
def test_every_value_of_a_label_exists(label: str, values: set[str]) -> None:
    """What is looked for is what is counted."""
    sought = [found for one in EXPRESSIONS for found in re.findall(rf'\b{label}!?=~?"([^"]*)"', one)]
    assert sought and {value for found in sought for value in found.split("|")} <= values


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alerts_can_be_understood(rule: dict[str, Any]) -> None:
    """A sentence without names of metrics for whoever keeps people, more for whoever runs it, and how bad it is."""
    summary = rule["annotations"]["summary"]

    assert summary.endswith(".") and "encore_" not in summary and "{{" not in summary
    assert rule["annotations"]["description"]
    assert rule["labels"]["severity"] in {"warning", "critical"}


def test_alerts_name_commands_that_exist() -> None:
    """What an alert tells an operator to run can be run."""
    told = [found for rule in RULES for found in re.findall(r"encore ([a-z-]+ [a-z]+)", str(rule["annotations"]))]
    assert {"clock release", "dead-letters list", "dead-letters replay"} <= set(told)
    assert all(is_command(words.split()) for words in told)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_come_when_they_should() -> None:
    """Prometheus's own tool plays the days that deploy/prometheus/rules_test.yml describes."""
    tests = DEPLOY / "prometheus" / "rules_test.yml"
    played = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stdout + played.stderr


def test_the_dashboard_speaks_to_two_kinds_of_people() -> None:
    """A row for those who keep people, a row for those who run it; every panel says what it shows."""
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Retention", "Operations"]
    assert all(panel["description"] for panel in PANELS if panel["type"] != "row")
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_panels_do_not_lie_on_each_other() -> None:
    """Every place of the grid is one panel's, and none sticks out."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_every_metric_is_shown_or_watched() -> None:
    """What is counted is visible: on the dashboard, but for a few that are only asked for by hand."""
    seen = {name for expression in EXPRESSIONS for name, _ in selectors(expression)}
    assert set(metrics.METRICS) - seen == {"encore_erasures_total", "encore_partitions", "encore_cached_users"}
