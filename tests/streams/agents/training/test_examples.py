"""One rule says which labelled rows are learned, live and in a replay, and counts those that are not."""

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


def written(row: Example | SignalOutcome) -> bytes:
    return codec.encode_output(row) or b""


def taught(*numbers: int) -> AnySnapshot:
    """What a learner knows of these rows."""
    learner = ChurnLearner()
    for number in numbers:
        row = example(number)
        learner.learn(features.array(row.x), row.churned, hash_share(row.id, "replay"))
    return learner.snapshot()


def counted(metrics: Metrics) -> dict[str, float]:
    return {sample.labels[0]: sample.value for sample in metrics.samples() if sample.name.endswith("left_out_total")}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (written(example(0)), "repeat"),
        (written(replace(example(1), treated=True)), "treated"),
        (written(replace(example(1), features="0123456789ab")), "features"),
        (written(replace(example(1), x=ROWS[1][1:])), "features"),
        (b"{}", "unreadable"),
        (None, "unreadable"),
    ],
)
def test_what_must_not_be_learned_is_left_out_and_counted(value: bytes | None, reason: str) -> None:
    """Once; the rows before and behind it are learned in their order."""
    metrics = Metrics()
    pupil = ExampleLearner(ChurnLearner(), metrics)
    for row in (written(example(0)), value, written(example(2))):
        pupil.process_record(row)
    assert pupil.learner is not None
    assert pupil.learner.snapshot() == taught(0, 2)
    assert counted(metrics) == {reason: 1}
    assert metrics.value("encore_learned_total") == 2


def test_what_is_known_already_is_taken_back_for_replay() -> None:
    """Then the learner goes on as the one that learned it would: its next rows are learned beside the same old ones."""
    first, second, metrics = ExampleLearner(ChurnLearner(), Metrics()), ExampleLearner(None, Metrics()), Metrics()
    for number in range(1_200):
        first.process_record(written(example(number)))
    assert first.learner is not None
    second = ExampleLearner(ChurnLearner.restore(first.learner.snapshot()), metrics)
    for number in range(1_200):
        second.process_record(written(example(number)), learned=True)
    second.process_record(b"{}", learned=True)
    assert (counted(metrics), metrics.value("encore_learned_total")) == ({}, 0)
    for pupil in (first, second):
        for number in range(1_200, 1_264):
            pupil.process_record(written(example(number)))
    assert second.learner is not None
    assert second.learner.snapshot() == first.learner.snapshot()


def sign(number: int) -> EarlySignal:
    return EarlySignal(
        id=f"s{number}", user="hashed", time=86_400.0 + number, until=90_000.0 + number, back=number % 5 == 0,
        probability=0.2, treated=False,
    )  # fmt: skip


def test_early_signs_are_learned_once_and_of_the_untreated_whom_a_model_scored() -> None:
    """Between the rows; they are no rows, so they are neither counted nor measured. A snapshot takes them along."""
    metrics, learner, expected = Metrics(), ChurnLearner(), ChurnLearner()
    pupil = ExampleLearner(learner, metrics)
    for number in range(200):
        told = sign(number)
        expected.learn_signal(told.probability, SignalOutcome(told.back, told.until, told.until - told.time))
        wrong = (replace(told, id="t", treated=True), replace(told, id="p", probability=-1.0))
        for one in (told, told, *wrong, replace(told, id="u", until=told.time)):
            pupil.process_record(written(one), measure=lambda row, place: pytest.fail("a sign is no row"))
        pupil.process_record(written(replace(told, id=f"l{number}")), learned=True)
    assert learner.drift == expected.drift
    assert learner.drift != DriftCorrection()
    assert (counted(metrics), metrics.value("encore_learned_total"), learner.labels) == ({}, 0, 0)
    learner.learn(features.array(ROWS[0]), True, 0.5)
    again = ChurnLearner.restore(decode_snapshot(encode_snapshot(learner.snapshot())))
    assert (again.drift, again.snapshot()) == (learner.drift, learner.snapshot())
    assert build_scorer(learner.snapshot()).recalibration == learner.drift.recalibration


@pytest.mark.parametrize("back", [True, False])
def test_what_became_of_a_sign_is_learned_with_its_row(back: bool) -> None:
    """A row that was written before there were signs, or that no model had scored, teaches its label alone."""
    learner, expected = ChurnLearner("logistic"), ChurnLearner("logistic")
    pupil = ExampleLearner(learner, Metrics())
    for number in range(40):
        model = ("prior", "net")[number % 3 > 0]
        row = replace(example(number), until=number + 40.0, back=(None, back)[number % 2], model=model)
        pupil.process_record(written(row if number != 11 else replace(row, until=row.time)))
        known = number % 2 and number % 3 and number != 11
        sign = SignalOutcome(back, number + 10.0, 10.0) if known else None
        expected.learn(features.array(row.x), row.churned, hash_share(row.id, "replay"), sign)
    assert learner.snapshot() == expected.snapshot()
    assert (learner.drift.labelled, learner.drift.time) == (47.0, 0)


def test_every_row_that_fits_is_measured_whoever_learns() -> None:
    """The treated too, and where nothing is learned; a row twice is measured once, one of other columns never."""
    seen: list[tuple[str, float]] = []
    pupil = ExampleLearner(None, Metrics())
    rows = [example(0), replace(example(1), treated=True), example(0), replace(example(2), features="other")]
    for row in rows:
        pupil.process_record(written(row), measure=lambda row, place: seen.append((row.id, place)))
    assert seen == [("e0", hash_share("e0", "replay")), ("e1", hash_share("e1", "replay"))]


def test_ids_are_remembered_for_so_many_rows() -> None:
    """What comes back later than a crash can bring it is a row like any other: memory is bounded."""
    metrics = Metrics()
    pupil = ExampleLearner(None, metrics)
    for number in range(MAX_RECENT_IDS + 1):
        pupil.process_record(written(example(number)))
    pupil.process_record(written(example(1)))
    assert counted(metrics) == {"repeat": 1}
    pupil.process_record(written(example(0)))
    assert counted(metrics) == {"repeat": 1}
