"""Rankers learn which signals matter, go on from a snapshot as if never stopped, and refuse a damaged one."""

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


def lists(count: int, seed: int, together: bool = False, size: int = SIZE) -> list[tuple[np.ndarray, int]]:
    """Lists in which the course of the highest signal was taken; with `together`, where two signals agree."""
    dice = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        rows = dice.normal(size=(40, size)).astype(np.float16).astype(np.float32)
        signal = -np.abs(rows[:, 3] - rows[:, 5]) if together else rows[:, 3] - rows[:, 5]
        drawn.append((rows, int(signal.argmax())))
    return drawn


def hit_rate(ranker: LinearRanker | NetRanker, asked: list[tuple[np.ndarray, int]], most: int = 3) -> float:
    places = [(ranker.scores(rows) >= ranker.scores(rows)[taken]).sum() - 1 for rows, taken in asked]
    return float(np.mean(np.array(places) < most))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_is_taken(kind: type) -> None:
    """After some hundred lists nearly every taken course stands among the first three of forty."""
    ranker = kind(SIZE)
    before = hit_rate(ranker, lists(100, seed=2))
    for rows, taken in lists(500, seed=1):
        ranker.learn(rows, taken)
    assert (before < 0.3, hit_rate(ranker, lists(100, seed=2)) > 0.6) == (True, True)


def test_the_net_learns_what_no_weighted_sum_can_say() -> None:
    """Where two signals must agree, the net finds it and the linear reference does not."""
    net, linear = NetRanker(8), LinearRanker(8)
    for rows, taken in lists(2_500, seed=1, together=True, size=8):
        net.learn(rows, taken)
        linear.learn(rows, taken)
    asked = lists(200, seed=2, together=True, size=8)
    assert hit_rate(net, asked) > 0.5 > 0.3 > hit_rate(linear, asked)


@pytest.mark.parametrize("kind", KINDS)
def test_ranking_changes_nothing(kind: type) -> None:
    """Scores come out the same twice, and what is learned later does not depend on being asked."""
    told, asked = lists(60, seed=1), lists(5, seed=2)
    one, other = kind(SIZE), kind(SIZE)
    for rows, taken in told:
        one.learn(rows, taken)
        other.learn(rows, taken)
        one.scores(asked[0][0])
    assert all((one.scores(rows) == other.scores(rows)).all() for rows, _ in asked)


def test_the_seed_decides() -> None:
    """The same seed gives the same net, another one another; a clone starts over with the same seed."""
    told, rows = lists(40, seed=1), lists(1, seed=2)[0][0]
    nets = [NetRanker(SIZE, seed=seed) for seed in (1, 1, 2)]
    nets.append(nets[0].clone())
    for net in nets:
        for drawn, taken in told:
            net.learn(drawn, taken)
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
    """Through bytes and back, to the last bit."""
    ranker = kind(SIZE)
    for rows, taken in lists(count, seed=1):
        ranker.learn(rows, taken)
    said = snapshot_ranker(ranker, "none", offset=17)
    again = restore_ranker(decode_ranker(encode_ranker(said)))
    asked = lists(5, seed=2)
    scorer = build_ranker_scorer(decode_ranker(encode_ranker(said)))
    assert all((ranker.scores(rows) == again.scores(rows)).all() for rows, _ in asked)
    assert all((ranker.scores(rows) == scorer.scores(rows)).all() for rows, _ in asked)
    assert (snapshot_ranker(again, "none", offset=17), decode_ranker(encode_ranker(said)).offset) == (said, 17)


def test_a_restored_linear_ranker_goes_on_as_if_it_had_never_stopped() -> None:
    """Snapshot, restore, learn: the same as learning on. (The net's replay starts anew.)"""
    told = lists(80, seed=1)
    whole, part = LinearRanker(SIZE), LinearRanker(SIZE)
    for rows, taken in told:
        whole.learn(rows, taken)
    for rows, taken in told[:30]:
        part.learn(rows, taken)
    again = restore_ranker(snapshot_ranker(part, "none"))
    for rows, taken in told[30:]:
        again.learn(rows, taken)
    assert snapshot_ranker(again, "none") == snapshot_ranker(whole, "none")


def test_a_restored_net_goes_on_learning() -> None:
    """With its replay filling anew it forgets nothing and gets better."""
    half, told = NetRanker(SIZE), lists(600, seed=1)
    for rows, taken in told[:200]:
        half.learn(rows, taken)
    again, asked = restore_ranker(snapshot_ranker(half, "none")), lists(150, seed=2)
    begun = hit_rate(again, asked)
    for rows, taken in told[200:]:
        again.learn(rows, taken)
    assert hit_rate(again, asked) > max(0.7, begun)


def resealed(**changes: object) -> bytes:
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
    """Of another schema, kind or surface, or with numbers that do not fit: a reason, and nothing is used."""
    with pytest.raises(InvalidSnapshot):
        decode_ranker(resealed(**changes))


@pytest.mark.parametrize("place", [0, 40, -40])
def test_a_damaged_snapshot_is_refused(place: int) -> None:
    """One byte changed anywhere."""
    whole = bytearray(encode_ranker(snapshot_ranker(LinearRanker(SIZE), "none")))
    whole[place] ^= 1
    with pytest.raises(InvalidSnapshot):
        decode_ranker(bytes(whole))


def test_an_example_is_the_same_wherever_it_is_made() -> None:
    """The taken row first, then twenty others drawn by the event's id, exactly as they were ranked."""
    rows, taken = lists(1, seed=4)[0]
    one, other = make_list_example("e-1", rows, taken, "none"), make_list_example("e-1", rows, taken, "none")
    assert one == other == msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=ListExample)
    short = one.unpack()
    assert short.shape == (MAX_NEGATIVES + 1, SIZE)
    assert (short[0] == rows[taken]).all()
    assert {tuple(row) for row in short[1:]} < {tuple(row) for row in np.delete(rows, taken, axis=0)}
    assert make_list_example("e-2", rows, taken, "none").rows != one.rows


def test_a_list_of_few_is_an_example_too() -> None:
    """Where there are fewer than twenty others, all of them are in it, and a net learns from it."""
    rows = lists(1, seed=4)[0][0][:5]
    made, net = make_list_example("e", rows, 2, "none"), NetRanker(SIZE)
    assert made.unpack().shape == (5, SIZE)
    for _ in range(400):
        net.learn_list(made.unpack())
    assert net.scores(rows).argmax() == 2


def test_a_list_of_one_teaches_nothing() -> None:
    """Where there was no choice, no weight moves by more than its decay."""
    net = NetRanker(8)
    before = [weight.copy() for weight in net.weights]
    for rows, _ in lists(160, seed=3, size=8):
        net.learn_list(rows[:1])
    moved = max(float(np.abs(weight - old).max()) for weight, old in zip(net.weights, before, strict=True))
    assert moved < 1e-4


def test_a_fixed_share_of_events_is_drawn() -> None:
    """By the hash of the id: about the share asked for, and of a smaller share none that a larger one leaves out."""
    ids = [f"event-{number}" for number in range(4_000)]
    drawn = {share: {name for name in ids if is_sampled(name, share)} for share in (0.0, 0.1, 0.5, 1.0)}
    assert [len(drawn[share]) for share in (0.0, 1.0)] == [0, 4_000]
    assert abs(len(drawn[0.1]) - 400) < 60
    assert drawn[0.1] < drawn[0.5]


def test_a_snapshot_is_small_enough_for_a_record() -> None:
    """Even that of the surface with repeats."""
    net = NetRanker(len(features.NAMES_WITH_REPEATS))
    for rows, taken in lists(16, seed=1, size=net.columns):
        net.learn(rows, taken)
    said = snapshot_ranker(net, "all")
    assert isinstance(said, RankerSnapshot)
    assert len(encode_ranker(said)) < 600_000
