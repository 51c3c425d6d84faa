"""One rule decides which labelled rows are learned, live and in a replay, and counts the others."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from models.churn.early_signal import DriftCorrection, SignalOutcome
from models.churn.learner import ChurnLearner
from models.churn.scorer import build_scorer
from models.churn.snapshot import FEATURES, AnySnapshot, decode_snapshot, encode_snapshot
from models.person import features
from models.person.ledger import hash_share
from models.schema.outputs import EarlySignal, Example
from streams.agents.training.examples import MAX_RECENT_IDS, ExampleLearner
from streams.kafka import codec
from streams.metrics import Metrics

DICE = np.random.default_rng(3)
ROWS = [tuple(DICE.normal(size=len(features.NAMES)).astype(np.float16).astype(float).tolist()) for _ in range(64)]


def example(number: int) -> Example:
    return Example(
        id=f"e{number}", user="hashed", time=float(number), until=number + 1.0, features=FEATURES, x=ROWS[number % 64],
        churned=number % 3 == 0, probability=0.5, model="prior", treated=False,
    )  # fmt: skip


def encode(row: Example | SignalOutcome) -> bytes:
    return codec.encode_output(row) or b""


def snapshot_of(*numbers: int) -> AnySnapshot:
    """Return the snapshot of a learner that has learned these rows."""
    learner = ChurnLearner()
    for number in numbers:
        row = example(number)
        learner.learn(features.array(row.x), row.churned, hash_share(row.id, "replay"))
    return learner.snapshot()


def left_out(metrics: Metrics) -> dict[str, float]:
    return {sample.labels[0]: sample.value for sample in metrics.samples() if sample.name.endswith("left_out_total")}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (encode(example(0)), "repeat"),
        (encode(replace(example(1), treated=True)), "treated"),
        (encode(replace(example(1), features="0123456789ab")), "features"),
        (encode(replace(example(1), x=ROWS[1][1:])), "features"),
        (b"{}", "unreadable"),
        (None, "unreadable"),
    ],
)
def test_a_row_that_must_not_be_learned_is_left_out_and_counted(value: bytes | None, reason: str) -> None:
    """It is counted once; the rows around it are learned in their order."""
    metrics = Metrics()
    examples = ExampleLearner(ChurnLearner(), metrics)
    for row in (encode(example(0)), value, encode(example(2))):
        examples.process_record(row)
    assert examples.learner is not None
    assert examples.learner.snapshot() == snapshot_of(0, 2)
    assert left_out(metrics) == {reason: 1}
    assert metrics.value("encore_learned_total") == 2


def test_rows_learned_before_are_kept_for_replay() -> None:
    """The learner then goes on like the one that learned them: it replays the same old rows with new ones."""
    first, second, metrics = ExampleLearner(ChurnLearner(), Metrics()), ExampleLearner(None, Metrics()), Metrics()
    for number in range(1_200):
        first.process_record(encode(example(number)))
    assert first.learner is not None
    second = ExampleLearner(ChurnLearner.restore(first.learner.snapshot()), metrics)
    for number in range(1_200):
        second.process_record(encode(example(number)), learned=True)
    second.process_record(b"{}", learned=True)
    assert (left_out(metrics), metrics.value("encore_learned_total")) == ({}, 0)
    for examples in (first, second):
        for number in range(1_200, 1_264):
            examples.process_record(encode(example(number)))
    assert second.learner is not None
    assert second.learner.snapshot() == first.learner.snapshot()


def early_signal(number: int) -> EarlySignal:
    return EarlySignal(
        id=f"s{number}", user="hashed", time=86_400.0 + number, until=90_000.0 + number, back=number % 5 == 0,
        probability=0.2, treated=False,
    )  # fmt: skip


def test_early_signals_of_untreated_scored_users_are_learned_once() -> None:
    """They are no rows, so they are neither counted nor measured. A snapshot contains what they taught."""
    metrics, learner, expected = Metrics(), ChurnLearner(), ChurnLearner()
    examples = ExampleLearner(learner, metrics)
    for number in range(200):
        signal = early_signal(number)
        expected.learn_signal(signal.probability, SignalOutcome(signal.back, signal.until, signal.until - signal.time))
        wrong = (replace(signal, id="t", treated=True), replace(signal, id="p", probability=-1.0))
        for value in (signal, signal, *wrong, replace(signal, id="u", until=signal.time)):
            examples.process_record(encode(value), measure=lambda row, share: pytest.fail("a signal is no row"))
        examples.process_record(encode(replace(signal, id=f"l{number}")), learned=True)
    assert learner.drift == expected.drift
    assert learner.drift != DriftCorrection()
    assert (left_out(metrics), metrics.value("encore_learned_total"), learner.labels) == ({}, 0, 0)
    learner.learn(features.array(ROWS[0]), True, 0.5)
    again = ChurnLearner.restore(decode_snapshot(encode_snapshot(learner.snapshot())))
    assert (again.drift, again.snapshot()) == (learner.drift, learner.snapshot())
    assert build_scorer(learner.snapshot()).recalibration == learner.drift.recalibration


@pytest.mark.parametrize("back", [True, False])
def test_the_outcome_of_a_signal_is_learned_with_its_row(back: bool) -> None:
    """A row without a signal, or one that no model had scored, teaches its label alone."""
    learner, expected = ChurnLearner("logistic"), ChurnLearner("logistic")
    examples = ExampleLearner(learner, Metrics())
    for number in range(40):
        model = ("prior", "net")[number % 3 > 0]
        row = replace(example(number), until=number + 40.0, back=(None, back)[number % 2], model=model)
        examples.process_record(encode(row if number != 11 else replace(row, until=row.time)))
        known = number % 2 and number % 3 and number != 11
        outcome = SignalOutcome(back, number + 10.0, 10.0) if known else None
        expected.learn(features.array(row.x), row.churned, hash_share(row.id, "replay"), outcome)
    assert learner.snapshot() == expected.snapshot()
    assert (learner.drift.labelled, learner.drift.time) == (47.0, 0)


def test_every_row_that_fits_is_measured() -> None:
    """Also rows of treated users, and without a learner. Repeats and rows with other columns are not measured."""
    seen: list[tuple[str, float]] = []
    examples = ExampleLearner(None, Metrics())
    rows = [example(0), replace(example(1), treated=True), example(0), replace(example(2), features="other")]
    for row in rows:
        examples.process_record(encode(row), measure=lambda row, share: seen.append((row.id, share)))
    assert seen == [("e0", hash_share("e0", "replay")), ("e1", hash_share("e1", "replay"))]


def test_a_limited_number_of_ids_is_remembered() -> None:
    """Memory is bounded. An id that comes back later than a crash can cause is learned like a new one."""
    metrics = Metrics()
    examples = ExampleLearner(None, metrics)
    for number in range(MAX_RECENT_IDS + 1):
        examples.process_record(encode(example(number)))
    examples.process_record(encode(example(1)))
    assert left_out(metrics) == {"repeat": 1}
    examples.process_record(encode(example(0)))
    assert left_out(metrics) == {"repeat": 1}
