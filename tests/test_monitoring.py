"""Rules and dashboard use only metrics, labels and commands that exist."""

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
    """Every metric of Encore in an expression, with its label matchers; a histogram by its own name."""
    for name, labels in re.findall(r"\b(encore_\w+)(?:\{([^}]*)\})?", expression):
        yield re.sub(r"(encore_\w+_seconds)_(bucket|sum|count)$", r"\1", name), labels


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_exists(expression: str) -> None:
    """An expression with an old name or label would show nothing and never fire."""
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
    """Label values in expressions are values that Encore exports."""
    used = [found for one in EXPRESSIONS for found in re.findall(rf'\b{label}!?=~?"([^"]*)"', one)]
    assert used and {value for found in used for value in found.split("|")} <= values


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alerts_have_texts_for_both_readers(rule: dict[str, Any]) -> None:
    """A sentence without metric names for the retention team, details for operators, and a severity."""
    summary = rule["annotations"]["summary"]

    assert summary.endswith(".") and "encore_" not in summary and "{{" not in summary
    assert rule["annotations"]["description"]
    assert rule["labels"]["severity"] in {"warning", "critical"}


def test_alerts_name_commands_that_exist() -> None:
    """An operator can run every command that an alert mentions."""
    mentioned = [found for rule in RULES for found in re.findall(r"encore ([a-z-]+ [a-z]+)", str(rule["annotations"]))]
    assert {"clock release", "dead-letters list", "dead-letters replay"} <= set(mentioned)
    assert all(is_command(words.split()) for words in mentioned)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_in_the_right_scenarios() -> None:
    """promtool runs the scenarios of deploy/prometheus/rules_test.yml."""
    tests = DEPLOY / "prometheus" / "rules_test.yml"
    played = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stdout + played.stderr


def test_the_dashboard_has_two_rows() -> None:
    """One row for the retention team, one for operators; every panel has a description."""
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Retention", "Operations"]
    assert all(panel["description"] for panel in PANELS if panel["type"] != "row")
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_panels_do_not_overlap() -> None:
    """Panels do not overlap and stay within the grid."""
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_every_metric_is_used() -> None:
    """Every metric is on the dashboard or in a rule, except a few for manual queries."""
    seen = {name for expression in EXPRESSIONS for name, _ in selectors(expression)}
    assert set(metrics.METRICS) - seen == {"encore_erasures_total", "encore_partitions", "encore_cached_users"}
