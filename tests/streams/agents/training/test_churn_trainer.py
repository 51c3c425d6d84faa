"""The churn trainer learns each allowed row once, and measures all scores."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.schema.outputs import Example
from streams.agents.training.churn_trainer import ChurnTrainer
from streams.app import Worker
from streams.kafka import codec, topics
from streams.metrics import Metrics
from streams.settings import Settings, SettingsError
from tests.streams.agents.training.churn_examples import ROWS, example, expected, record, trained
from tests.streams.doubles import ManualSink


def test_it_learns_each_row_in_the_order_of_the_log() -> None:
    """Like a learner that gets the rows directly; the offset is the last record's."""
    trainer = trained(*(record(n, example(n)) for n in range(30)))
    assert trainer.learner.snapshot() == expected(*range(30))
    assert trainer.offset == 29


def test_a_record_that_is_delivered_twice_is_learned_once() -> None:
    """After a crash or a rebalance the log is read again from the committed offset."""
    trainer = trained(*(record(n, example(n)) for n in range(10)))
    trained(*(record(n, example(n)) for n in range(5, 12)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(*range(12))


def test_a_row_that_was_written_twice_is_learned_once() -> None:
    """A worker that crashed writes its examples again, at later offsets, with the same ids."""
    metrics = Metrics()
    rows = [*range(10), 3, 9, 10, 10]
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    trained(*(record(offset, example(n)) for offset, n in enumerate(rows)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(*range(11))
    assert metrics.value("encore_examples_left_out_total", "repeat") == 3
    assert metrics.value("encore_learned_total") == 11


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (example(1, treated=True), "treated"),
        (example(1, features="0123456789ab"), "features"),
        (example(1, x=ROWS[1][:-1]), "features"),
        (example(1, x=()), "features"),
        (b"", "unreadable"),
        (None, "unreadable"),
        (b"{}", "unreadable"),
        (b"\xff", "unreadable"),
        ((codec.encode_output(example(1)) or b"").replace(b"hashed", b"\xff"), "unreadable"),
        (b"[" * 9_999, "unreadable"),
    ],
)
def test_a_row_that_must_not_be_learned_is_left_out_and_counted(row: Example | bytes | None, reason: str) -> None:
    """Rows of treated users, rows with other columns, and records that are no row; later rows are learned."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    trained(record(0, example(0)), record(1, row), record(2, example(2)), trainer=trainer)
    assert trainer.learner.snapshot() == expected(0, 2)
    assert trainer.offset == 2
    assert metrics.value("encore_examples_left_out_total", reason) == 1
    assert metrics.value("encore_examples_left_out_total") == 1


def test_scores_are_measured_on_all_users() -> None:
    """Also on treated users: the quality of a score does not depend on which rows may be learned."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)
    rows = [example(n, treated=n % 2 == 0, probability=float(ROWS[n][0] > 0)) for n in range(20)]
    trained(*(record(n, row) for n, row in enumerate(rows)), trainer=trainer)
    auc = measured(metrics, "encore_model_auc")
    assert auc["model"] == 1.0
    assert measured(metrics, "encore_model_lift")["model"] == pytest.approx(20 / sum(ROWS[n][0] > 0 for n in range(20)))
    assert set(auc) == {"model", "recency", "reference"}


def measured(metrics: Metrics, name: str) -> dict[str, float]:
    """Return a gauge's values, by score."""
    return {sample.labels[0]: sample.value for sample in metrics.samples() if sample.name == name}


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ({"model": "logistic"}, {"model", "recency"}),
        ({"challenger": "river.naive_bayes.GaussianNB"}, {"model", "recency", "reference", "challenger"}),
    ],
)
def test_other_models_learn_in_shadow_mode(given: dict[str, Any], scores: set[str]) -> None:
    """Recency, the reference unless it is the model itself, and a challenger if one is named."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(**given), ManualSink(), metrics)
    trained(*(record(n, example(n)) for n in range(30)), trainer=trainer)
    assert set(measured(metrics, "encore_model_auc")) == scores
    assert trainer.learner.snapshot() == expected(*range(30), kind=given.get("model", "net"))


def test_a_challenger_that_fails_stops_nothing() -> None:
    """It is counted once and left out; the model goes on learning."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(challenger="river.naive_bayes.MultinomialNB"), ManualSink(), metrics)
    trained(*(record(n, example(n, time=0.0, until=n / 100)) for n in range(20)), trainer=trainer)
    trained(*(record(n, example(n, time=1.0 + n)) for n in range(20, 30)), trainer=trainer)
    assert metrics.value("encore_failures_total", "challenger") == 1
    assert set(measured(metrics, "encore_model_auc")) == {"model", "recency", "reference"}
    assert trainer.learner.snapshot() == expected(*range(30))


@pytest.mark.parametrize("path", ["river.tree.NoSuchTree", "river.no_such.Tree", "river.linear_model.LinearRegression",
                                  "river.ensemble.BaggingClassifier"])  # fmt: skip
def test_an_unusable_challenger_is_refused_by_name(path: str) -> None:
    """There is no such class, it is no classifier, or it cannot be created without arguments."""
    for start in (
        lambda wrong: ChurnTrainer(wrong, ManualSink(), Metrics()),
        lambda wrong: Worker(wrong, dict.fromkeys((topics.EVENTS, *wrong.inputs), 1)),
    ):
        with pytest.raises(SettingsError, match=f"challenger: .*{path}"):
            start(Settings(challenger=path))


def test_drift_is_counted() -> None:
    """When the log-loss of stated scores jumps, a metric counts it, and the model forgets nothing."""
    metrics = Metrics()
    trainer = ChurnTrainer(Settings(), ManualSink(), metrics)

    def process_rows(first: int, churn_rate: float) -> None:
        rows = [
            example(n % 40, id=f"d{n}", churned=n % 10 < 10 * churn_rate, probability=0.1, model="m")
            for n in range(first, first + 3_000)
        ]
        trained(*(record(first + n, row) for n, row in enumerate(rows)), trainer=trainer)

    process_rows(0, 0.1)
    assert metrics.value("encore_drift_total") == 0
    process_rows(3_000, 0.6)
    assert metrics.value("encore_drift_total") >= 1
    assert trainer.learner.labels == 6_000


def test_only_the_owner_publishes() -> None:
    """A worker that does not own the examples must not replace the owner's snapshot."""
    sink = ManualSink()
    trainer = trained(record(0, example(0)), trainer=ChurnTrainer(Settings(), sink, Metrics()))
    trainer.flush()
    asyncio.run(trainer.own(False))
    trainer.flush()
    assert sink.all == []
