"""Every figure Encore exports: one typed table of plain integers, bumped as things happen, collected at a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CounterName = Literal[
    "encore_records_total",  # records read, by agent
    "encore_events_total",  # events of people by what became of them: applied, late, erased
    "encore_duplicates_total",  # records left out, by how they were known: id, offset, origin
    "encore_ticks_total",  # ticks read
    "encore_dead_letters_total",  # records buried, by reason
    "encore_skipped_total",  # records that a mapping file leaves out, by topic
    "encore_scores_total",  # scores taken, by model
    "encore_not_eligible_total",  # people not scored on their grid time, by reason
    "encore_labels_total",  # labels that matured, by what they say: churned, stayed
    "encore_outputs_total",  # outputs that Kafka has, by topic
    "encore_decisions_total",  # decisions taken, by candidate and reason
    "encore_outcomes_total",  # what became of offers that were sent: redeemed, purchased, expired
    "encore_undelivered_total",  # outputs not sent because they were old news
    "encore_erasures_total",  # people forgotten
    "encore_learned_total",  # labelled rows learned
    "encore_lists_learned_total",  # short lists that the ranker has learned from
    "encore_examples_left_out_total",  # labelled rows not learned, by reason: repeat, treated, unreadable, features
    "encore_drift_total",  # times the log-loss of matured scores has risen beyond chance (ADWIN)
    "encore_snapshots_refused_total",  # model snapshots refused, by reason
    "encore_interactions_total",  # uses of courses that their courses hear of: new to the person, again
    "encore_courses_heard_total",  # interactions by what became of them: counted, repeat, unreadable
    "encore_lists_total",  # lists of recommendations made, by what for: told, unchanged, example
    "encore_rebalances_total",  # times partitions were given out anew
    "encore_failures_total",  # defects, by where: step, wake, list, challenger
]
GaugeName = Literal[
    "encore_people",  # people by tier ("none" before their first score or after the look-back)
    "encore_partitions",  # partitions this worker owns
    "encore_hot_people",  # people held decoded
    "encore_state_bytes",  # bytes of encoded people
    "encore_outbox",  # outputs on their way
    "encore_unacknowledged",  # records given to the producer that Kafka has not acknowledged
    "encore_clock_seconds",  # a partition's clock, seconds since 1970
    "encore_clock_held",  # 1 while ticks are held because a busy log fell silent
    "encore_lag_records",  # records not yet committed, by group and topic partition, from the broker's own offsets
    "encore_model_auc",  # rolling ROC-AUC of matured scores: model, recency alone, reference, challenger
    "encore_model_log_loss",  # their rolling log-loss
    "encore_model_calibration_error",  # their expected calibration error, ten bins
    "encore_model_lift",  # how many times more churn there is in their highest tenth than in all
    "encore_pace",  # how many times as fast as usual people come back lately; bends scores
    "encore_model_labels",  # labelled rows the model in use has learned from
    "encore_model_age_seconds",  # time since the model in use arrived
    "encore_rows",  # courses whose rows this worker keeps
    "encore_courses",  # courses that this worker knows of
    "encore_lists_waiting",  # people whose list is to be made anew
    "encore_ranker_lists",  # lists that the ranker in use has learned from
    "encore_ranker_surprise",  # mean of minus log chance of the course taken among 21, newest lists: net, linear
    "encore_recovery_seconds",  # how long the last recovery took
    "encore_recovered_people",  # people it brought back
    "encore_ready",  # 1 when recovered, snapshots read and consuming
]
HistogramName = Literal[
    "encore_decision_seconds",  # from an event's arrival in the log to its decision's acknowledgement
]
Name = Literal[CounterName, GaugeName, HistogramName]

LABELS: dict[str, tuple[str, ...]] = {
    "encore_records_total": ("agent",),
    "encore_events_total": ("fate",),
    "encore_duplicates_total": ("how",),
    "encore_dead_letters_total": ("reason",),
    "encore_skipped_total": ("topic",),
    "encore_not_eligible_total": ("reason",),
    "encore_scores_total": ("model",),
    "encore_labels_total": ("label",),
    "encore_outputs_total": ("topic",),
    "encore_decisions_total": ("candidate", "reason"),
    "encore_outcomes_total": ("outcome",),
    "encore_examples_left_out_total": ("reason",),
    "encore_snapshots_refused_total": ("reason",),
    "encore_interactions_total": ("kind",),
    "encore_courses_heard_total": ("fate",),
    "encore_lists_total": ("fate",),
    "encore_failures_total": ("where",),
    "encore_people": ("tier",),
    "encore_clock_seconds": ("partition",),
    "encore_lag_records": ("group", "topic", "partition"),
    "encore_model_auc": ("score",),
    "encore_model_log_loss": ("score",),
    "encore_model_calibration_error": ("score",),
    "encore_model_lift": ("score",),
    "encore_ranker_surprise": ("ranker",),
}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Seconds: from an unloaded broker's 10 ms up to a minute, where it no longer matters how late."""

LabelledCounter = tuple[CounterName, tuple[str, ...]]
"""A counter with the values of its labels."""
GaugeSource = Callable[[], dict[tuple[GaugeName, tuple[str, ...]], float]]


class MetricSample(NamedTuple):
    """One figure as it stands: name, values of its labels, value."""

    name: str
    labels: tuple[str, ...]
    value: float


class Metrics(Collector):
    """Counts, and asks for gauges only when somebody looks."""

    def __init__(self) -> None:
        self._counts: Counter[LabelledCounter] = Counter()
        self._gauges: list[GaugeSource] = []
        self._seen = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def add(self, name: CounterName, *labels: str, by: int = 1) -> None:
        """Count something."""
        self._counts[name, labels] += by

    def count(self, what: LabelledCounter) -> None:
        """Count something that happens too often to be named anew every time."""
        self._counts[what] += 1

    def observe(self, name: HistogramName, seconds: float) -> None:
        """Note a duration."""
        self._seen[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def watch(self, gauges: GaugeSource) -> None:
        """Ask this for gauges at every scrape."""
        self._gauges.append(gauges)

    def value(self, name: CounterName, *labels: str) -> int:
        """Return a counter; without labels, summed over all of them."""
        if labels:
            return self._counts[name, labels]
        return sum(count for (counted, _), count in self._counts.items() if counted == name)

    def samples(self) -> list[MetricSample]:
        """Return every counter and gauge that has a value."""
        counted = [MetricSample(name, labels, float(count)) for (name, labels), count in sorted(self._counts.items())]
        measured = [
            MetricSample(name, labels, value) for gauges in self._gauges for (name, labels), value in gauges().items()
        ]
        return counted + measured

    def collect(self) -> Iterator[Metric]:
        """Yield all families for prometheus_client."""
        families: dict[str, Metric] = {}
        for name in get_args(CounterName):
            families[name] = CounterMetricFamily(name, DOCS[name], labels=LABELS.get(name, ()))
        for name in get_args(GaugeName):
            families[name] = GaugeMetricFamily(name, DOCS[name], labels=LABELS.get(name, ()))
        for sample in self.samples():
            families[sample.name].add_metric(sample.labels, sample.value)  # type: ignore[attr-defined]
        yield from families.values()
        yield self._histogram()

    def _histogram(self) -> Metric:
        total, buckets = 0, []
        for edge, count in zip((*BUCKETS, float("inf")), self._seen, strict=True):
            total += count
            buckets.append(("+Inf" if edge == float("inf") else str(edge), float(total)))
        family = HistogramMetricFamily("encore_decision_seconds", DOCS["encore_decision_seconds"])
        family.add_metric((), buckets, self._seconds)
        return family


def _docs() -> dict[str, str]:
    """Read what each name means from the comment beside it, so that table, /metrics and README cannot differ."""
    import inspect
    import re
    import sys

    source = inspect.getsource(sys.modules[__name__])
    return dict(re.findall(r'^    "(encore_\w+)",  # (.+)$', source, re.MULTILINE))


DOCS: dict[str, str] = _docs()
