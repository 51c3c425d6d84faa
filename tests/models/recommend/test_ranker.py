"""Rankers learn which signals matter, continue from a snapshot, and refuse a damaged one."""

import hashlib

import msgspec
import numpy as np
import pytest
from river import base

from models.churn.snapshot import InvalidSnapshot, SignedSnapshot
from models.recommend import features
from models.recommend.examples import MAX_NEGATIVES, ListExample, is_sampled, make_list_example
from models.recommend.linear_ranker import LinearRanker
from models.recommend.net_ranker import NetRanker
from models.recommend.ranker_snapshot import (
    RankerSnapshot,
    build_ranker_scorer,
    decode_ranker,
    encode_ranker,
)
from models.recommend.ranker_state import restore_ranker, snapshot_ranker

SIZE = len(features.NAMES)
KINDS = [LinearRanker, NetRanker]


def make_lists(count: int, seed: int, together: bool = False, size: int = SIZE) -> list[tuple[np.ndarray, int]]:
    """Return lists in which the course with the highest signal was chosen; with `together`, where two signals agree."""
    dice = np.random.default_rng(seed)
    sampled = []
    for _ in range(count):
        rows = dice.normal(size=(40, size)).astype(np.float16).astype(np.float32)
        signal = -np.abs(rows[:, 3] - rows[:, 5]) if together else rows[:, 3] - rows[:, 5]
        sampled.append((rows, int(signal.argmax())))
    return sampled


def hit_rate(ranker: LinearRanker | NetRanker, held_out: list[tuple[np.ndarray, int]], most: int = 3) -> float:
    places = [(ranker.scores(rows) >= ranker.scores(rows)[taken]).sum() - 1 for rows, taken in held_out]
    return float(np.mean(np.array(places) < most))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_is_chosen(kind: type) -> None:
    """After a few hundred lists, nearly every chosen course is among the first three of forty."""
    ranker = kind(SIZE)
    before = hit_rate(ranker, make_lists(100, seed=2))
    for rows, taken in make_lists(500, seed=1):
        ranker.learn(rows, taken)
    assert (before < 0.3, hit_rate(ranker, make_lists(100, seed=2)) > 0.6) == (True, True)


def test_the_net_learns_an_interaction_of_signals() -> None:
    """If two signals must agree, the net learns it, and the linear reference does not."""
    net, linear = NetRanker(8), LinearRanker(8)
    for rows, taken in make_lists(2_500, seed=1, together=True, size=8):
        net.learn(rows, taken)
        linear.learn(rows, taken)
    held_out = make_lists(200, seed=2, together=True, size=8)
    assert hit_rate(net, held_out) > 0.5 > 0.3 > hit_rate(linear, held_out)


@pytest.mark.parametrize("kind", KINDS)
def test_scoring_changes_nothing(kind: type) -> None:
    """Scores are the same twice, and later learning does not depend on scoring."""
    training, held_out = make_lists(60, seed=1), make_lists(5, seed=2)
    one, other = kind(SIZE), kind(SIZE)
    for rows, taken in training:
        one.learn(rows, taken)
        other.learn(rows, taken)
        one.scores(held_out[0][0])
    assert all((one.scores(rows) == other.scores(rows)).all() for rows, _ in held_out)


def test_the_seed_determines_the_net() -> None:
    """Equal seeds give equal nets, different seeds different ones. A clone is untrained and has the same seed."""
    training, rows = make_lists(40, seed=1), make_lists(1, seed=2)[0][0]
    nets = [NetRanker(SIZE, seed=seed) for seed in (1, 1, 2)]
    nets.append(nets[0].clone())
    for net in nets:
        for sampled, taken in training:
            net.learn(sampled, taken)
    scores = [net.scores(rows) for net in nets]
    assert isinstance(nets[3], base.Estimator)
    assert ((scores[0] == scores[1]).all(), (scores[0] == scores[2]).all(), (scores[0] == scores[3]).all()) == (
        True,
        False,
        True,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 5, 100])
def test_a_restored_ranker_scores_the_same(kind: type, count: int) -> None:
    """The restored ranker and the workers' scorer give exactly the same scores."""
    ranker = kind(SIZE)
    for rows, taken in make_lists(count, seed=1):
        ranker.learn(rows, taken)
    snapshot = snapshot_ranker(ranker, "none", offset=17)
    again = restore_ranker(decode_ranker(encode_ranker(snapshot)))
    held_out = make_lists(5, seed=2)
    scorer = build_ranker_scorer(decode_ranker(encode_ranker(snapshot)))
    assert all((ranker.scores(rows) == again.scores(rows)).all() for rows, _ in held_out)
    assert all((ranker.scores(rows) == scorer.scores(rows)).all() for rows, _ in held_out)
    assert (snapshot_ranker(again, "none", offset=17), decode_ranker(encode_ranker(snapshot)).offset) == (snapshot, 17)


def test_a_restored_linear_ranker_continues_exactly() -> None:
    """The result equals training without interruption. (The net's replay starts empty.)"""
    training = make_lists(80, seed=1)
    whole, part = LinearRanker(SIZE), LinearRanker(SIZE)
    for rows, taken in training:
        whole.learn(rows, taken)
    for rows, taken in training[:30]:
        part.learn(rows, taken)
    again = restore_ranker(snapshot_ranker(part, "none"))
    for rows, taken in training[30:]:
        again.learn(rows, taken)
    assert snapshot_ranker(again, "none") == snapshot_ranker(whole, "none")


def test_a_restored_net_goes_on_learning() -> None:
    """With an empty replay ring, it forgets nothing and improves."""
    half, training = NetRanker(SIZE), make_lists(600, seed=1)
    for rows, taken in training[:200]:
        half.learn(rows, taken)
    again, held_out = restore_ranker(snapshot_ranker(half, "none")), make_lists(150, seed=2)
    before = hit_rate(again, held_out)
    for rows, taken in training[200:]:
        again.learn(rows, taken)
    assert hit_rate(again, held_out) > max(0.7, before)


def signed_with(**changes: object) -> bytes:
    plain = snapshot_ranker(NetRanker(SIZE), "none")
    body = msgspec.json.encode({**msgspec.to_builtins(plain), **changes})
    return msgspec.json.encode(SignedSnapshot(hashlib.sha256(body).hexdigest(), msgspec.Raw(body)))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2}, {"kind": "tree"}, {"columns": "other"}, {"repeats": "all"}, {"repeats": "some"}, {"mean": [0.0]},
        {"weights": []}, {"first": [[0.0]]}, {"lists": -1}, {"squares": "x"},
    ],
)  # fmt: skip
def test_a_snapshot_that_does_not_fit_is_refused(changes: dict) -> None:
    """Another schema, kind or surface, or wrong sizes, raise an error."""
    with pytest.raises(InvalidSnapshot):
        decode_ranker(signed_with(**changes))


@pytest.mark.parametrize("place", [0, 40, -40])
def test_a_damaged_snapshot_is_refused(place: int) -> None:
    """One byte anywhere was changed."""
    whole = bytearray(encode_ranker(snapshot_ranker(LinearRanker(SIZE), "none")))
    whole[place] ^= 1
    with pytest.raises(InvalidSnapshot):
        decode_ranker(bytes(whole))


def test_an_example_is_the_same_wherever_it_is_made() -> None:
    """The chosen row comes first, then twenty others sampled by the event's id, exactly as they were ranked."""
    rows, taken = make_lists(1, seed=4)[0]
    one, other = make_list_example("e-1", rows, taken, "none"), make_list_example("e-1", rows, taken, "none")
    assert one == other == msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=ListExample)
    short = one.unpack()
    assert short.shape == (MAX_NEGATIVES + 1, SIZE)
    assert (short[0] == rows[taken]).all()
    assert {tuple(row) for row in short[1:]} < {tuple(row) for row in np.delete(rows, taken, axis=0)}
    assert make_list_example("e-2", rows, taken, "none").rows != one.rows


def test_a_short_list_is_a_valid_example() -> None:
    """With fewer than twenty others, all are part of it, and a net learns from it."""
    rows = make_lists(1, seed=4)[0][0][:5]
    made, net = make_list_example("e", rows, 2, "none"), NetRanker(SIZE)
    assert made.unpack().shape == (5, SIZE)
    for _ in range(400):
        net.learn_list(made.unpack())
    assert net.scores(rows).argmax() == 2


def test_a_list_of_one_teaches_nothing() -> None:
    """Without a choice, weights change by no more than their decay."""
    net = NetRanker(8)
    before = [weight.copy() for weight in net.weights]
    for rows, _ in make_lists(160, seed=3, size=8):
        net.learn_list(rows[:1])
    moved = max(float(np.abs(weight - old).max()) for weight, old in zip(net.weights, before, strict=True))
    assert moved < 1e-4


def test_a_fixed_share_of_events_is_sampled() -> None:
    """The hash of the id decides. The sample of a smaller share is part of that of a larger one."""
    ids = [f"event-{number}" for number in range(4_000)]
    sampled = {share: {name for name in ids if is_sampled(name, share)} for share in (0.0, 0.1, 0.5, 1.0)}
    assert [len(sampled[share]) for share in (0.0, 1.0)] == [0, 4_000]
    assert abs(len(sampled[0.1]) - 400) < 60
    assert sampled[0.1] < sampled[0.5]


def test_a_snapshot_is_small_enough_for_a_record() -> None:
    """Also for the surface with repeats."""
    net = NetRanker(len(features.NAMES_WITH_REPEATS))
    for rows, taken in make_lists(16, seed=1, size=net.columns):
        net.learn(rows, taken)
    snapshot = snapshot_ranker(net, "all")
    assert isinstance(snapshot, RankerSnapshot)
    assert len(encode_ranker(snapshot)) < 600_000
