"""The metric table is data, and renamed metrics still answer to their old names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streams import metrics
from streams.metrics import Metrics

ROOT = Path(__file__).parents[2]
NO_SOURCES = """
import inspect

def missing(*_):
    raise OSError("could not get source code")

inspect.getsource = inspect.getsourcelines = inspect.findsource = missing
from streams.metrics import METRICS
print(len(METRICS))
"""


def exported(collector: Metrics) -> str:
    """The text that /metrics answers."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def test_every_metric_has_a_family_with_its_help_text() -> None:
    """Also before anything was counted."""
    text = exported(Metrics())
    for name, info in metrics.METRICS.items():
        assert f"# HELP {name} {info.help}\n" in text
    assert len(metrics.METRICS) == len(metrics.COUNTERS) + len(metrics.GAUGES) + len(metrics.HISTOGRAMS)


def test_the_help_texts_need_no_sources() -> None:
    """A compiled installation has none."""
    done = subprocess.run([sys.executable, "-c", NO_SOURCES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(metrics.METRICS)


def test_a_renamed_metric_is_also_exported_under_its_old_name() -> None:
    """With the same type, labels and values, and with a help text that gives the new name."""
    collector = Metrics()
    collector.add("encore_course_interactions_total", "counted", by=3)
    collector.watch(lambda: {("encore_drift_correction", ()): 1.5, ("encore_ranker_log_loss", ("net",)): 0.25})
    families = {family.name: family for family in text_string_to_metric_families(exported(collector))}
    for old, name in metrics.RENAMED.items():
        before, after = families[old.removesuffix("_total")], families[name.removesuffix("_total")]
        assert before.documentation == f"renamed to {name}"
        assert before.type == after.type
        assert [(one.labels, one.value) for one in before.samples] == [(one.labels, one.value) for one in after.samples]
    assert families["encore_pace"].samples[0].value == 1.5
    assert families["encore_courses_heard"].samples[0].labels == {"fate": "counted"}


def test_no_old_name_is_used_again() -> None:
    """An old name that meant something else would be ambiguous."""
    assert not set(metrics.RENAMED) & set(metrics.METRICS)
    assert set(metrics.RENAMED.values()) <= set(metrics.METRICS)
