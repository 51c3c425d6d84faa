"""The replay net learns non-linear labels, remembers old rows, survives copies, and is never certain."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.churn.components import (
    MAX_LOGIT,
    BayesianLogit,
    Ensemble,
    ExpertWeights,
    Reservoir,
    RunningMoments,
    logit_bound,
    probabilities,
)
from models.churn.quality import auc
from models.churn.replay_net import ReplayNet

Rows = np.ndarray


def drawn(count: int, width: int = 4, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def crossed(row: Rows) -> bool:
    """A label that is not linearly separable."""
    return bool(row[0] * row[1] > 0)


def learned(rows: Rows, label: Callable[[Rows], bool] = crossed, **given: int) -> ReplayNet:
    net = ReplayNet(**given)
    net.widen(rows.shape[1])
    for number, row in enumerate(rows):
        net.learn(row, label(row), number * 0.618034 % 1)
    return net


def quality_of(net: ReplayNet, label: Callable[[Rows], bool] = crossed) -> float:
    rows = drawn(1_000, seed=9)
    return auc(net.logits(rows), np.array([label(row) for row in rows], np.float64))


def test_it_learns_a_label_that_is_not_linearly_separable() -> None:
    """A logistic regression never learns an exclusive or."""
    net = learned(drawn(6_000))
    z = (drawn(1_000, seed=9) - net.moments.mean) * net.moments.scale
    linear = auc(z @ net.logit.weights, np.array([crossed(row) for row in drawn(1_000, seed=9)], np.float64))
    assert linear < 0.6
    assert quality_of(net) > 0.95


def test_it_predicts_well_after_two_hundred_rows() -> None:
    """On a linear label its logistic regression learns faster than the nets."""

    def linear(row: Rows) -> bool:
        return bool(row[0] > 0.3)

    assert quality_of(learned(drawn(200), linear), linear) > 0.95


def test_it_remembers_old_rows() -> None:
    """After as many rows of another region, it still predicts the first region; without replay it does not."""

    def by_region(row: Rows) -> bool:
        return crossed(row) if row[2] > 0 else row[0] > 0

    rows = drawn(12_000)
    first = np.where(rows[:, 2] > 0, 0, 1)
    ordered = np.concatenate((rows[first == 0], rows[first == 1]))
    asked = drawn(2_000, seed=9)
    asked = asked[asked[:, 2] > 0]
    outcomes = np.array([by_region(row) for row in asked], np.float64)
    remembered, forgot = (auc(learned(ordered, by_region, **given).logits(asked), outcomes) for given in FORGETFUL)
    assert remembered > 0.8
    assert remembered > forgot + 0.05


FORGETFUL: tuple[dict[str, int], ...] = ({}, {"reservoir": 64, "replays": 2})


def fitted(z: Rows, labels: Rows, logit: BayesianLogit | None = None) -> BayesianLogit:
    logit = logit or BayesianLogit(z.shape[1])
    for start in range(0, len(z), 32):
        logit.learn(z[start : start + 32].astype(np.float64), labels[start : start + 32].astype(np.float32))
    return logit


def test_the_logit_finds_the_true_weights() -> None:
    """It needs one pass over labels drawn with known probabilities."""
    z, rng = drawn(5_000), np.random.default_rng(5)
    true = np.array([1.0, -0.5, 0.0, 0.3])
    logit = fitted(z, rng.random(5_000) < 1 / (1 + np.exp(-(z @ true - 0.8))))
    assert logit.weights == pytest.approx(true * 0.9, abs=0.15)
    assert logit.bias == pytest.approx(-0.8, abs=0.15)


def test_the_logit_learns_little_from_few_rows() -> None:
    """Thirty labels independent of the row change the bias but hardly the weights."""
    logit = fitted(drawn(32), np.arange(32) % 4 == 0)
    assert np.abs(logit.weights).max() < 0.3
    assert logit.bias < -0.5


def test_the_logit_forgets_old_behaviour() -> None:
    """If the labels flip, its weights flip after fewer rows than it had learned before."""
    z = drawn(220_000, 1)
    labels = np.random.default_rng(3).random(len(z)) < 1 / (1 + np.exp(-z[:, 0]))
    labels[200_000:] ^= True
    assert fitted(z, labels).weights[0] < -0.3


def test_one_block_does_not_overturn_a_certain_logit() -> None:
    """After years of the same label, thirty other labels change it only a little."""
    z = np.ones((320_000, 1), np.float32)
    logit = fitted(z, np.ones(len(z)))
    assert logit.logits(z[:1])[0] > 4
    assert fitted(z[:32], np.zeros(32), logit).logits(z[:1])[0] > 3


def test_a_wider_logit_predicts_the_same() -> None:
    """A new column has no effect until it is learned; the posterior of the other columns stays."""
    z = drawn(320)
    logit, wider = (fitted(z, z[:, 0] > 0) for _ in range(2))
    wider.widen(6)
    more = np.column_stack((z, np.zeros((len(z), 2))))
    assert wider.logits(more) == pytest.approx(logit.logits(z))
    fitted(drawn(64, seed=7), drawn(64, seed=7)[:, 0] > 0, logit)
    fitted(np.column_stack((drawn(64, seed=7), np.zeros((64, 2)))), drawn(64, seed=7)[:, 0] > 0, wider)
    assert wider.weights == pytest.approx(np.append(logit.weights, (0, 0)))


def test_expert_weights_start_equal_and_move_to_the_lower_loss() -> None:
    """When the experts change places, the weights change too."""
    experts, labels = ExpertWeights(), (drawn(32)[:, 0] > 0).astype(np.float32)
    assert experts.share == 0.5
    good, bad = np.where(labels > 0, 2.0, -2.0), np.zeros(32)
    for first, second, sides in ((good, bad, (0.9, 1)), (bad, good, (0, 0.1)), (good, bad, (0.9, 1))):
        for _ in range(320):
            experts.update(first, second, labels)
        assert sides[0] <= experts.share <= sides[1]


def test_experts_with_independent_errors_both_keep_weight() -> None:
    """Their combination is better than either, so neither gets the whole weight."""
    experts, rng = ExpertWeights(), np.random.default_rng(2)
    labels = (rng.random(3_200) < 0.5).astype(np.float32)
    first, second = (np.where(labels > 0, 1.0, -1.0) + rng.normal(0, 1.5, 3_200) for _ in range(2))
    for start in range(0, 3_200, 32):
        part = slice(start, start + 32)
        experts.update(first[part], second[part], labels[part])
    assert 0.3 < experts.share < 0.7


def test_a_block_larger_than_the_memory_replaces_everything() -> None:
    """Then only this block counts, for the expert weights and for the logit."""
    experts, logit, many = ExpertWeights(), BayesianLogit(1), np.ones(40_000)
    for labels in (many, many * 0):
        experts.update(many, -many, labels.astype(np.float32))
        logit.learn(many[:, None], labels.astype(np.float32))
    assert experts.share < 0.01
    assert (experts.losses > 0).all()
    assert np.linalg.eigvalsh(logit.precision).min() > 0


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=80, unique=True), st.integers(1, 20))
@settings(max_examples=100)
def test_the_reservoir_holds_the_smallest_keys(keys: list[float], capacity: int) -> None:
    """The order of rows does not matter, so reading all rows again restores the reservoir."""
    reservoir = Reservoir(capacity, 1)
    for key in keys:
        reservoir.offer(np.array([key], np.float32), key > 0.5, key)
    rows, labels = reservoir.sample(np.random.default_rng(1), 2, 1_000)
    assert reservoir.count == min(capacity, len(keys))
    assert set(rows.ravel().tolist()) == {float(np.float32(key)) for key in sorted(keys)[:capacity]}
    assert {(float(row), bool(label)) for row, label in zip(rows.ravel(), labels.ravel(), strict=True)} <= {
        (float(np.float32(key)), key > 0.5) for key in keys
    }


@given(st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=20)
def test_moments_of_blocks_are_those_of_all_rows(blocks: int, size: int) -> None:
    """Mean and variance do not depend on the boundaries of blocks."""
    rows = drawn(blocks * size, seed=blocks) * 100 + 1e4
    moments = RunningMoments(rows.shape[1])
    for block in np.split(rows, blocks):
        moments.merge(block)
    assert moments.mean == pytest.approx(rows.mean(axis=0, dtype=np.float64), rel=1e-9)
    variance = rows.astype(np.float64).var(axis=0)
    assert moments.squares / moments.count == pytest.approx(variance, rel=1e-6, abs=1e-6)


def test_the_gradient_is_that_of_the_log_loss() -> None:
    """It equals finite differences of the loss for each parameter."""
    rng = np.random.default_rng(3)
    ensemble = Ensemble(2, 3, 4, rng.normal(size=Ensemble.size(2, 3, 4)).astype(np.float64))
    rows, labels = rng.normal(size=(2, 6, 3)), (rng.random((2, 6)) < 0.5).astype(np.float64)
    gradient = Ensemble(2, 3, 4, np.zeros_like(ensemble.flat))
    ensemble.gradient(rows, labels, gradient)

    def loss() -> float:
        hidden = np.maximum(rows @ ensemble.inner + ensemble.inner_bias[:, None], 0)
        logits = (hidden @ ensemble.outer[:, :, None])[:, :, 0] + ensemble.outer_bias[:, None]
        return float((np.logaddexp(0, logits) - labels * logits).mean(axis=1).sum())

    for index in range(len(ensemble.flat)):
        kept = ensemble.flat[index]
        ensemble.flat[index] = kept + 1e-6
        above = loss()
        ensemble.flat[index] = kept - 1e-6
        assert gradient.flat[index] == pytest.approx((above - loss()) / 2e-6, abs=1e-6)
        ensemble.flat[index] = kept


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.floats(0.01, MAX_LOGIT))
def test_no_probability_exceeds_the_bound(logits: list[float], bound: float) -> None:
    """The order of rows stays, and small logits stay as they are."""
    compressed = probabilities(np.array(logits), bound)
    highest = 1 / (1 + math.exp(-bound))
    assert ((1 - highest - 1e-12 <= compressed) & (compressed <= highest + 1e-12)).all()
    assert (np.diff(compressed[np.argsort(logits)]) >= -1e-12).all()
    small = probabilities(np.array([bound / 10]), bound)[0]
    assert small == pytest.approx(1 / (1 + math.exp(-bound / 10)), abs=1e-4)


def test_the_logit_bound_grows_with_rows() -> None:
    """It is 0 without rows, then one failure in so many rows, and never above the maximum."""
    assert logit_bound(0) == 0.0
    assert logit_bound(10_000) == pytest.approx(math.log(101))
    assert logit_bound(10**9) == MAX_LOGIT
    net = ReplayNet()
    for _ in range(64):
        net.learn_one({"a": 1.0}, True)
    assert 0.5 < net.predict_proba_one({"a": 1.0})[True] <= 1 / (1 + math.exp(-logit_bound(64)))


def test_the_same_rows_make_the_same_net() -> None:
    """All randomness follows from the seed; another seed makes another net."""
    rows = drawn(300)
    assert (learned(rows).ensemble.flat == learned(rows).ensemble.flat).all()
    assert (learned(rows, seed=2).ensemble.flat != learned(rows).ensemble.flat).any()


def test_a_copy_learns_like_the_original() -> None:
    """This also holds if it was pickled in the middle of a block."""
    rows, more = drawn(100), drawn(200, seed=2)
    net = learned(rows)
    copy = pickle.loads(pickle.dumps(net))
    for row in more:
        net.learn(row, crossed(row))
        copy.learn(row, crossed(row))
    assert (net.ensemble.flat == copy.ensemble.flat).all()


def test_new_features_start_as_zeros() -> None:
    """A late column does not change scores of rows where it is 0, and is learned from then on."""
    net = ReplayNet()
    rows = drawn(320, 3)
    for row in rows[:160]:
        net.learn_one({"a": row[0], "b": row[1]}, bool(row[0] > 0))
    before = net.predict_proba_one({"a": 0.5, "b": 1.0})
    net.learn_one({"a": 0.0, "b": 0.0, "c": 1.0}, True)
    assert net.predict_proba_one({"a": 0.5, "b": 1.0})[True] == pytest.approx(before[True], abs=0.02)
    for row in rows[160:]:
        net.learn_one({"a": 0.0, "b": 0.0, "c": row[2]}, bool(row[2] > 0))
    assert net.predict_proba_one({"c": 1.0})[True] > net.predict_proba_one({"c": -1.0})[True] + 0.2


def test_a_net_with_a_nearly_empty_reservoir_does_not_replay() -> None:
    """Restored without its old rows, it takes one step for each block until enough rows are there again."""
    net = learned(drawn(3_200))
    steps = net.steps
    net.replay = Reservoir(net.reservoir, 4)
    for row in drawn(320, seed=4):
        net.learn(row, crossed(row))
    assert net.steps - steps == 10
    for row in drawn(1_000, seed=5):
        net.learn(row, crossed(row))
    assert net.steps - steps > 10 + 32
