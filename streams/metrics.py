"""Every metric that Encore exports: one typed table, counters as plain integers, gauges read at a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class MetricInfo(NamedTuple):
    """Help text and label names of a metric."""

    help: str
    labels: tuple[str, ...] = ()


# Each table row is a literal type with its description, so that a misspelt metric name does not type-check.
_Info = MetricInfo
CounterName = (
    Annotated[Literal["encore_records_total"], _Info("records read, by agent", ("agent",))]
    | Annotated[Literal["encore_events_total"], _Info("user events by result: applied, late, erased", ("fate",))]
    | Annotated[
        Literal["encore_duplicates_total"],
        _Info("duplicate records skipped, by how they were detected: id, offset, origin", ("how",)),
    ]
    | Annotated[Literal["encore_ticks_total"], _Info("ticks read")]
    | Annotated[Literal["encore_dead_letters_total"], _Info("dead letters, by reason", ("reason",))]
    | Annotated[Literal["encore_skipped_total"], _Info("records that a mapping file skips, by topic", ("topic",))]
    | Annotated[Literal["encore_scores_total"], _Info("users scored, by model", ("model",))]
    | Annotated[
        Literal["encore_not_eligible_total"],
        _Info("users not scored at their regular scoring time, by reason", ("reason",)),
    ]
    | Annotated[Literal["encore_labels_total"], _Info("matured labels: churned, stayed", ("label",))]
    | Annotated[Literal["encore_outputs_total"], _Info("outputs acknowledged by Kafka, by topic", ("topic",))]
    | Annotated[Literal["encore_decisions_total"], _Info("decisions, by candidate and reason", ("candidate", "reason"))]
    | Annotated[
        Literal["encore_outcomes_total"], _Info("outcomes of sent offers: redeemed, purchased, expired", ("outcome",))
    ]
    | Annotated[Literal["encore_undelivered_total"], _Info("outputs not sent because they had expired")]
    | Annotated[Literal["encore_erasures_total"], _Info("users erased")]
    | Annotated[Literal["encore_learned_total"], _Info("labelled rows that the churn model was trained on")]
    | Annotated[Literal["encore_lists_learned_total"], _Info("short lists that the ranker was trained on")]
    | Annotated[
        Literal["encore_examples_left_out_total"],
        _Info("labelled rows not used for training, by reason: repeat, treated, unreadable, features", ("reason",)),
    ]
    | Annotated[
        Literal["encore_drift_total"], _Info("significant rises of the log loss of matured scores (ADWIN alarms)")
    ]
    | Annotated[Literal["encore_snapshots_refused_total"], _Info("model snapshots refused, by reason", ("reason",))]
    | Annotated[
        Literal["encore_interactions_total"],
        _Info("interactions of users with courses that were sent to the courses: new to the user, again", ("kind",)),
    ]
    | Annotated[
        Literal["encore_course_interactions_total"],
        _Info("interactions received by courses, by result: counted, repeat, unreadable", ("fate",)),
    ]
    | Annotated[
        Literal["encore_lists_total"],
        _Info("lists of recommendations computed, by result: published, unchanged, example", ("fate",)),
    ]
    | Annotated[Literal["encore_rebalances_total"], _Info("rebalances of the consumer group")]
    | Annotated[
        Literal["encore_failures_total"],
        _Info("unexpected exceptions, by place: step, wake, list, challenger", ("where",)),
    ]
)
GaugeName = (
    Annotated[
        Literal["encore_people"],
        _Info('users by tier ("none" before their first score or after the look-back)', ("tier",)),
    ]
    | Annotated[Literal["encore_partitions"], _Info("partitions that this worker owns")]
    | Annotated[Literal["encore_cached_users"], _Info("decoded users in memory")]
    | Annotated[Literal["encore_state_bytes"], _Info("bytes of the encoded state of users")]
    | Annotated[Literal["encore_outbox"], _Info("outputs waiting to be sent or acknowledged")]
    | Annotated[
        Literal["encore_unacknowledged"], _Info("records handed to the producer and not yet acknowledged by Kafka")
    ]
    | Annotated[
        Literal["encore_clock_seconds"], _Info("clock of a partition, in seconds since 1970 UTC", ("partition",))
    ]
    | Annotated[
        Literal["encore_clock_held"], _Info("1 while ticks are held because a normally busy log has no new events")
    ]
    | Annotated[
        Literal["encore_lag_records"],
        _Info("records not yet committed, from the broker's own offsets", ("group", "topic", "partition")),
    ]
    | Annotated[
        Literal["encore_model_auc"],
        _Info("rolling ROC AUC of matured scores: model, recency, reference, challenger", ("score",)),
    ]
    | Annotated[Literal["encore_model_log_loss"], _Info("rolling log loss of matured scores", ("score",))]
    | Annotated[
        Literal["encore_model_calibration_error"],
        _Info("expected calibration error of matured scores, ten bins", ("score",)),
    ]
    | Annotated[
        Literal["encore_model_lift"],
        _Info("churn rate in the top tenth of matured scores, divided by the overall churn rate", ("score",)),
    ]
    | Annotated[
        Literal["encore_drift_correction"],
        _Info("how many times as fast as usual users have come back lately; scores are corrected by it"),
    ]
    | Annotated[Literal["encore_model_labels"], _Info("labelled rows that the model in use was trained on")]
    | Annotated[Literal["encore_model_age_seconds"], _Info("time since the model in use arrived")]
    | Annotated[Literal["encore_course_rows"], _Info("courses whose similarity rows this worker owns")]
    | Annotated[Literal["encore_courses"], _Info("courses that this worker knows")]
    | Annotated[Literal["encore_lists_waiting"], _Info("users whose list is waiting to be recomputed")]
    | Annotated[Literal["encore_ranker_lists"], _Info("lists that the ranker in use was trained on")]
    | Annotated[
        Literal["encore_ranker_log_loss"],
        _Info("mean log loss of the course chosen among 21, over the newest lists: net, linear", ("ranker",)),
    ]
    | Annotated[Literal["encore_recovery_seconds"], _Info("duration of the last recovery")]
    | Annotated[Literal["encore_recovered_people"], _Info("users restored by the last recovery")]
    | Annotated[Literal["encore_ready"], _Info("1 when recovered, snapshots read and consuming")]
)
HistogramName = Annotated[
    Literal["encore_decision_seconds"],
    _Info("time from the arrival of an event in the log to the acknowledgement of its decision"),
]
Name = CounterName | GaugeName | HistogramName

RENAMED: dict[str, Name] = {
    "encore_pace": "encore_drift_correction",
    "encore_courses_heard_total": "encore_course_interactions_total",
    "encore_ranker_surprise": "encore_ranker_log_loss",
    "encore_hot_people": "encore_cached_users",
    "encore_rows": "encore_course_rows",
}
"""Old names of metrics. They are still exported for one release, with the new name in their help text."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds in seconds, from the 10 ms of an idle broker to a minute, beyond which the exact delay is irrelevant."""

LabelledCounter = tuple[CounterName, tuple[str, ...]]
"""A counter with the values of its labels."""
GaugeSource = Callable[[], dict[tuple[GaugeName, tuple[str, ...]], float]]
"""Returns the current values of some gauges, by name and label values."""


def _table(*rows: Any) -> dict[str, MetricInfo]:
    """Return the description of every metric in these rows, by name."""
    return {get_args(literal)[0]: info for literal, info in map(get_args, rows)}


COUNTERS = _table(*get_args(CounterName))
GAUGES = _table(*get_args(GaugeName))
HISTOGRAMS = _table(HistogramName)
METRICS = COUNTERS | GAUGES | HISTOGRAMS
"""The description of every metric, by name."""


class MetricSample(NamedTuple):
    """The current value of a counter or gauge, with the values of its labels."""

    name: str
    labels: tuple[str, ...]
    value: float


class Metrics(Collector):
    """Holds the counters of a process; gauges are computed only when they are read."""

    def __init__(self) -> None:
        self._counts: Counter[LabelledCounter] = Counter()
        self._gauges: list[GaugeSource] = []
        self._bucket_counts = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def add(self, name: CounterName, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        self._counts[name, labels] += by

    def count(self, counter: LabelledCounter) -> None:
        """Add 1 to a counter whose name and labels were put together before: for hot loops."""
        self._counts[counter] += 1

    def observe(self, name: HistogramName, seconds: float) -> None:
        """Record a duration."""
        self._bucket_counts[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def watch(self, gauges: GaugeSource) -> None:
        """Register a source of gauges, which is called at every scrape."""
        self._gauges.append(gauges)

    def value(self, name: CounterName, *labels: str) -> int:
        """Return the value of a counter; without labels, the sum over all label values."""
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
        """Yield all metric families for prometheus_client, those with an old name last."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, info in COUNTERS.items():
            families[name] = CounterMetricFamily(name, info.help, labels=info.labels)
        for name, info in GAUGES.items():
            families[name] = GaugeMetricFamily(name, info.help, labels=info.labels)
        for old, name in RENAMED.items():
            families[old] = type(families[name])(old, f"renamed to {name}", labels=METRICS[name].labels)
        old_names = {name: old for old, name in RENAMED.items()}
        for sample in self.samples():
            families[sample.name].add_metric(sample.labels, sample.value)
            if sample.name in old_names:
                families[old_names[sample.name]].add_metric(sample.labels, sample.value)
        yield from families.values()
        yield self._histogram()

    def _histogram(self) -> Metric:
        total, buckets = 0, []
        for bound, count in zip((*BUCKETS, float("inf")), self._bucket_counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        (name,) = HISTOGRAMS
        family = HistogramMetricFamily(name, HISTOGRAMS[name].help)
        family.add_metric((), buckets, self._seconds)
        return family
