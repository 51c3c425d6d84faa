"""The learner and its scorer agree, learn, and continue exactly from a snapshot."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import base, checks

from models.churn.components import logit_bound, probabilities
from models.churn.early_signal import SignalOutcome
from models.churn.learner import ChurnLearner, Clip, LogisticLearner, NetLearner, logistic_pipeline, river_row
from models.churn.replay_net import ReplayNet
from models.churn.scorer import CLIP, build_scorer
from models.churn.snapshot import (
    Kind,
    decode_snapshot,
    encode_snapshot,
)
from tests.models.churn.learners import both, churned, key_of, learned, restored_from, rows


def probability(learner: ChurnLearner, row: np.ndarray) -> float:
    """Return the probability of the learner itself, a River estimator."""
    if isinstance(learner.model, NetLearner):
        net = learner.model.net
        return float(probabilities(net.logits(row[None]), logit_bound(net.rows_seen))[0])
    assert isinstance(learner.model, LogisticLearner)
    return float(learner.model.pipeline.predict_proba_one(river_row(row))[True])


@both
@pytest.mark.parametrize("count", [0, 1, 2, 10, 64, 400])
def test_scorer_and_learner_give_the_same_probability(kind: Kind, count: int) -> None:
    """The scorer of the snapshot gives the learner's probabilities after any number of rows."""
    learner = learned(rows(count), kind)
    scorer = build_scorer(decode_snapshot(encode_snapshot(learner.snapshot())))
    queries = rows(50, seed=2)
    expected = [probability(learner, row) for row in queries]
    scored = probabilities(scorer.logits(np.array(queries)), scorer.max_logit)
    assert scored.tolist() == pytest.approx(expected, abs=1e-8)
    assert [scorer.probability(row) for row in queries] == pytest.approx(expected, abs=5.1e-7)
    assert scorer.labels == count


@both
def test_one_row_scores_as_in_a_matrix(kind: Kind) -> None:
    """Scores are rounded to 6 decimals, so matrix products of different sizes agree."""
    scorer = build_scorer(learned(rows(100), kind).snapshot())
    queries = rows(64, seed=3)
    assert [scorer.probability(row) for row in queries] == scorer.probabilities(np.array(queries))


def test_no_row_makes_a_net_certain() -> None:
    """After 400 rows, even an extreme outlier leaves a probability of one in six for the other outcome."""
    scorer = build_scorer(learned(rows(400)).snapshot())
    queries = [row * scale for row in rows(20, seed=6) for scale in (1e4, -1e4)]
    assert all(0.16 < scorer.probability(row.astype(np.float32)) < 0.84 for row in queries)


@both
def test_it_learns_a_learnable_label(kind: Kind) -> None:
    """After some hundred rows, rows of churned people score higher than the others."""
    scorer = build_scorer(learned(rows(600), kind).snapshot())
    queries = rows(200, seed=4)
    means = [np.mean([scorer.probability(row) for row in queries if churned(row) is label]) for label in (True, False)]
    assert means[0] - means[1] > 0.1


@both
@pytest.mark.parametrize("count", [0, 1, 37, 64, 200])
def test_a_restored_learner_continues_exactly(kind: Kind, count: int) -> None:
    """Snapshot, restore, restore rows, learn: bit for bit the same as learning without a break."""
    drawn, more = rows(count), rows(100, seed=5)
    learner = learned(drawn, kind)
    restored = restored_from(learner, drawn)
    assert restored.snapshot() == learner.snapshot()
    assert learned(more, restored, count).snapshot() == learned(more, learner, count).snapshot()


def test_a_net_replays_restored_rows() -> None:
    """Without the old rows it learns something else."""
    drawn, more = rows(200), rows(40, seed=5)
    learner = learned(drawn)
    forgetful = restored_from(learner, drawn[-40:])
    assert learned(more, forgetful, 200).snapshot() != learned(more, learner, 200).snapshot()


def test_the_first_block_of_a_net_teaches_no_drift_correction() -> None:
    """The net has no predictions for the first block before it learns it; for the second block it has."""
    learner = ChurnLearner("net")
    for number, row in enumerate(rows(64)):
        learner.learn(row, churned(row), key_of(number), SignalOutcome(True, 86_400.0 + number, 3_600.0))
        assert (learner.drift.slow.level_information > 0) == (number == 63)


@both
def test_signals_are_learned_with_their_rows_also_after_a_restore(kind: Kind) -> None:
    """Each counts when its row is learned, with the prediction from just before; the first block does not count."""
    whole, resumed = ChurnLearner(kind), ChurnLearner(kind)
    for number, row in enumerate(rows(150)):
        signal = SignalOutcome(number % 3 == 0, 86_400.0 + number, 3_600.0) if number % 5 else None
        for learner in (whole, resumed):
            learner.learn(row, churned(row), key_of(number), signal)
        if number == 77:
            resumed = ChurnLearner.restore(decode_snapshot(encode_snapshot(resumed.snapshot())))
            for earlier, old in enumerate(rows(150)[:78]):
                resumed.restore_row(old, churned(old), key_of(earlier))
    assert whole.drift == resumed.drift
    learned_in = 86_400.0 + {"net": 127, "logistic": 149}[kind]
    assert (whole.drift.labelled, whole.drift.time) == (learned_in, 0)
    assert whole.drift.slow.level_information > 5


@given(st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=5), st.floats(0, 100))
def test_clip_bounds_every_value_and_changes_no_other(row: dict[str, float], bound: float) -> None:
    """Values within the bound stay the same, the others become the bound."""
    clipped = Clip(bound).transform_one(row)
    assert clipped == {name: float(np.clip(value, -bound, bound)) for name, value in row.items()}
    assert Clip().bound == CLIP


@pytest.fixture
def datasets_without_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace sklearn: River's checks import its datasets even for estimators that need none."""
    package = types.ModuleType("sklearn")
    package.datasets = types.ModuleType("sklearn.datasets")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", package.datasets)


@pytest.mark.usefixtures("datasets_without_sklearn")
@pytest.mark.parametrize("estimator", [Clip(), logistic_pipeline(), ReplayNet()], ids=["clip", "pipeline", "net"])
def test_estimators_pass_rivers_checks(estimator: base.Estimator) -> None:
    """All checks that River defines for estimators pass."""
    passed = 0
    for check in checks.yield_checks(estimator):
        check(estimator.clone())
        passed += 1
    assert passed > 20
