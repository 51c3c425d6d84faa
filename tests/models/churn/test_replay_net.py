"""The net learns what a line cannot, remembers what is long gone, forgets nothing on its way, and is never certain."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.churn.layers import (
    MOST_LOGIT,
    BayesianLogit,
    Ensemble,
    ExpertWeights,
    Reservoir,
    RunningMoments,
    certainty,
    probabilities,
)
from models.churn.quality import auc
from models.churn.replay_net import ReplayNet

Rows = np.ndarray


def drawn(count: int, width: int = 4, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def crossed(row: Rows) -> bool:
    """A label that no line separates."""
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


def test_it_learns_what_a_line_cannot() -> None:
    """An exclusive or, of which a logistic regression knows nothing however long it learns."""
    net = learned(drawn(6_000))
    z = (drawn(1_000, seed=9) - net.moments.mean) * net.moments.scale
    line = auc(z @ net.line.weights, np.array([crossed(row) for row in drawn(1_000, seed=9)], np.float64))
    assert line < 0.6
    assert quality_of(net) > 0.95


def test_it_knows_something_after_two_hundred_rows() -> None:
    """Where a line does, the logistic regression in it is ahead of the nets."""

    def ahead(row: Rows) -> bool:
        return bool(row[0] > 0.3)

    assert quality_of(learned(drawn(200), ahead), ahead) > 0.95


def test_it_remembers_what_came_long_ago() -> None:
    """After as many rows from elsewhere, the first corner of the world is still known; without replay it is not."""

    def here(row: Rows) -> bool:
        return crossed(row) if row[2] > 0 else row[0] > 0

    rows = drawn(12_000)
    first = np.where(rows[:, 2] > 0, 0, 1)
    ordered = np.concatenate((rows[first == 0], rows[first == 1]))
    asked = drawn(2_000, seed=9)
    asked = asked[asked[:, 2] > 0]
    outcomes = np.array([here(row) for row in asked], np.float64)
    remembered, forgot = (auc(learned(ordered, here, **given).logits(asked), outcomes) for given in FORGETFUL)
    assert remembered > 0.8
    assert remembered > forgot + 0.05


FORGETFUL: tuple[dict[str, int], ...] = ({}, {"reservoir": 64, "replays": 2})


def lined(z: Rows, labels: Rows, line: BayesianLogit | None = None) -> BayesianLogit:
    line = line or BayesianLogit(z.shape[1])
    for start in range(0, len(z), 32):
        line.learn(z[start : start + 32].astype(np.float64), labels[start : start + 32].astype(np.float32))
    return line


def test_the_line_finds_the_weights_that_made_the_labels() -> None:
    """In one pass, from labels drawn with known probabilities."""
    z, dice = drawn(5_000), np.random.default_rng(5)
    true = np.array([1.0, -0.5, 0.0, 0.3])
    line = lined(z, dice.random(5_000) < 1 / (1 + np.exp(-(z @ true - 0.8))))
    assert line.weights == pytest.approx(true * 0.9, abs=0.15)
    assert line.bias == pytest.approx(-0.8, abs=0.15)


def test_the_line_believes_little_of_few_rows() -> None:
    """Of labels that are drawn without regard to the row, thirty teach it next to nothing but how many there are."""
    line = lined(drawn(32), np.arange(32) % 4 == 0)
    assert np.abs(line.weights).max() < 0.3
    assert line.bias < -0.5


def test_the_line_forgets_a_world_that_is_gone() -> None:
    """Where the labels turn round, so does it, sooner than by as many rows as it had learned before."""
    z = drawn(220_000, 1)
    labels = np.random.default_rng(3).random(len(z)) < 1 / (1 + np.exp(-z[:, 0]))
    labels[200_000:] ^= True
    assert lined(z, labels).weights[0] < -0.3


def test_a_line_that_was_certain_for_long_is_not_thrown_by_one_block() -> None:
    """After years of the same label, thirty others are no reason to swear to the contrary."""
    z = np.ones((320_000, 1), np.float32)
    line = lined(z, np.ones(len(z)))
    assert line.logits(z[:1])[0] > 4
    assert lined(z[:32], np.zeros(32), line).logits(z[:1])[0] > 3


def test_a_wider_line_says_the_same() -> None:
    """A new column counts for nothing until it is learned; what is known of the others stays known."""
    z = drawn(320)
    line, wider = (lined(z, z[:, 0] > 0) for _ in range(2))
    wider.widen(6)
    more = np.column_stack((z, np.zeros((len(z), 2))))
    assert wider.logits(more) == pytest.approx(line.logits(z))
    lined(drawn(64, seed=7), drawn(64, seed=7)[:, 0] > 0, line)
    lined(np.column_stack((drawn(64, seed=7), np.zeros((64, 2)))), drawn(64, seed=7)[:, 0] > 0, wider)
    assert wider.weights == pytest.approx(np.append(line.weights, (0, 0)))


def test_a_blend_begins_with_half_of_each_and_goes_to_whichever_loses_less() -> None:
    """Whichever that is; and when they change places, it changes too."""
    blend, labels = ExpertWeights(), (drawn(32)[:, 0] > 0).astype(np.float32)
    assert blend.share == 0.5
    good, bad = np.where(labels > 0, 2.0, -2.0), np.zeros(32)
    for first, second, sides in ((good, bad, (0.9, 1)), (bad, good, (0, 0.1)), (good, bad, (0.9, 1))):
        for _ in range(320):
            blend.saw(first, second, labels)
        assert sides[0] <= blend.share <= sides[1]


def test_a_blend_of_two_that_err_apart_is_better_than_either() -> None:
    """Then neither has all the say."""
    blend, dice = ExpertWeights(), np.random.default_rng(2)
    labels = (dice.random(3_200) < 0.5).astype(np.float32)
    first, second = (np.where(labels > 0, 1.0, -1.0) + dice.normal(0, 1.5, 3_200) for _ in range(2))
    for start in range(0, 3_200, 32):
        part = slice(start, start + 32)
        blend.saw(first[part], second[part], labels[part])
    assert 0.3 < blend.share < 0.7


def test_a_block_larger_than_what_is_remembered_leaves_nothing_of_before() -> None:
    """Then what it says is all that counts, for the blend and for the line."""
    blend, line, many = ExpertWeights(), BayesianLogit(1), np.ones(40_000)
    for labels in (many, many * 0):
        blend.saw(many, -many, labels.astype(np.float32))
        line.learn(many[:, None], labels.astype(np.float32))
    assert blend.share < 0.01
    assert (blend.losses > 0).all()
    assert np.linalg.eigvalsh(line.precision).min() > 0


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=80, unique=True), st.integers(1, 20))
@settings(max_examples=100)
def test_the_reservoir_holds_the_smallest_keys(keys: list[float], most: int) -> None:
    """Whatever the order of rows: so they can be found again by reading everything again."""
    reservoir = Reservoir(most, 1)
    for key in keys:
        reservoir.offer(np.array([key], np.float32), key > 0.5, key)
    rows, labels = reservoir.draw(np.random.default_rng(1), 2, 1_000)
    assert reservoir.held == min(most, len(keys))
    assert set(rows.ravel().tolist()) == {float(np.float32(key)) for key in sorted(keys)[:most]}
    assert {(float(row), bool(label)) for row, label in zip(rows.ravel(), labels.ravel(), strict=True)} <= {
        (float(np.float32(key)), key > 0.5) for key in keys
    }


@given(st.integers(1, 6), st.integers(1, 5))
@settings(max_examples=20)
def test_moments_in_blocks_are_those_of_all_rows(blocks: int, size: int) -> None:
    """Mean and variance do not depend on where blocks end."""
    rows = drawn(blocks * size, seed=blocks) * 100 + 1e4
    moments = RunningMoments(rows.shape[1])
    for block in np.split(rows, blocks):
        moments.merge(block)
    assert moments.mean == pytest.approx(rows.mean(axis=0, dtype=np.float64), rel=1e-9)
    variance = rows.astype(np.float64).var(axis=0)
    assert moments.squares / moments.count == pytest.approx(variance, rel=1e-6, abs=1e-6)


def test_the_gradient_is_the_slope_of_the_log_loss() -> None:
    """As differences of the loss say, parameter by parameter."""
    dice = np.random.default_rng(3)
    layers = Ensemble(2, 3, 4, dice.normal(size=Ensemble.size(2, 3, 4)).astype(np.float64))
    rows, labels = dice.normal(size=(2, 6, 3)), (dice.random((2, 6)) < 0.5).astype(np.float64)
    slope = Ensemble(2, 3, 4, np.zeros_like(layers.flat))
    layers.gradient(rows, labels, slope)

    def loss() -> float:
        hidden = np.maximum(rows @ layers.inner + layers.inner_bias[:, None], 0)
        logits = (hidden @ layers.outer[:, :, None])[:, :, 0] + layers.outer_bias[:, None]
        return float((np.logaddexp(0, logits) - labels * logits).mean(axis=1).sum())

    for index in range(len(layers.flat)):
        kept = layers.flat[index]
        layers.flat[index] = kept + 1e-6
        above = loss()
        layers.flat[index] = kept - 1e-6
        assert slope.flat[index] == pytest.approx((above - loss()) / 2e-6, abs=1e-6)
        layers.flat[index] = kept


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.floats(0.01, MOST_LOGIT))
def test_no_probability_goes_beyond_what_is_believed(logits: list[float], most: float) -> None:
    """Their order stays, and small ones stay as they are."""
    said = probabilities(np.array(logits), most)
    bound = 1 / (1 + math.exp(-most))
    assert ((1 - bound - 1e-12 <= said) & (said <= bound + 1e-12)).all()
    assert (np.diff(said[np.argsort(logits)]) >= -1e-12).all()
    assert probabilities(np.array([most / 10]), most)[0] == pytest.approx(1 / (1 + math.exp(-most / 10)), abs=1e-4)


def test_certainty_comes_with_rows() -> None:
    """None without any, at most one failure in so many rows, and never more than the most."""
    assert certainty(0) == 0.0
    assert certainty(10_000) == pytest.approx(math.log(101))
    assert certainty(10**9) == MOST_LOGIT
    net = ReplayNet()
    for _ in range(64):
        net.learn_one({"a": 1.0}, True)
    assert 0.5 < net.predict_proba_one({"a": 1.0})[True] <= 1 / (1 + math.exp(-certainty(64)))


def test_the_same_rows_make_the_same_net() -> None:
    """All that is random follows from the seed; another one makes another net."""
    rows = drawn(300)
    assert (learned(rows).layers.flat == learned(rows).layers.flat).all()
    assert (learned(rows, seed=2).layers.flat != learned(rows).layers.flat).any()


def test_a_copy_goes_on_like_the_original() -> None:
    """Pickled half-way through a block, it learns on as the original does."""
    rows, more = drawn(100), drawn(200, seed=2)
    net = learned(rows)
    copy = pickle.loads(pickle.dumps(net))
    for row in more:
        net.learn(row, crossed(row))
        copy.learn(row, crossed(row))
    assert (net.layers.flat == copy.layers.flat).all()


def test_new_features_begin_as_zeros() -> None:
    """A column that appears late changes no score of rows in which it is 0, and is learned from then on."""
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


def test_a_net_that_lost_its_old_rows_does_not_lean_on_the_few_it_has() -> None:
    """Restored without them, it takes one step a block until enough are there again."""
    net = learned(drawn(3_200))
    steps = net.steps
    net.kept = Reservoir(net.reservoir, 4)
    for row in drawn(320, seed=4):
        net.learn(row, crossed(row))
    assert net.steps - steps == 10
    for row in drawn(1_000, seed=5):
        net.learn(row, crossed(row))
    assert net.steps - steps > 10 + 32
