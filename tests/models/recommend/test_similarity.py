"""Item similarity is exact: incremental updates give the same result as a full recount."""

import math
import random
from collections import defaultdict
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple
from river import base

from models.person.activity import DAY
from models.person.preferences import COMPLETED, RETURN_AFTER
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.recommend.item_similarity import ItemSimilarity, SimilaritySnapshot
from tests.models.course_uses import make_interaction

Use = tuple[str, str, float, float]


def use_lists(most: int = 60, gap_days: float = 3.0) -> st.SearchStrategy[list[Use]]:
    """Generate uses of few courses by few people in order of time. Strengths rise, fall and repeat."""
    part = st.tuples(
        st.sampled_from(["ann", "bob", "cem"]),
        st.sampled_from("abcdefg"),
        st.floats(0.01, gap_days),
        st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    )

    def uses(sampled: list[tuple[str, str, float, float]]) -> list[Use]:
        time, found = 0.0, []
        for user, item, gap, strength in sampled:
            time += gap * DAY
            found.append((user, item, time, strength))
        return found

    return st.lists(part, min_size=1, max_size=most).map(uses)


class Recount:
    """A full recount from a list of uses: each pair's gains with their times, decayed at the end."""

    def __init__(self, uses: Iterable[Use], window: CountingWindow) -> None:
        self.window = window
        self.pairs: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
        self.masses: dict[str, list[tuple[float, float]]] = defaultdict(list)
        people: dict[str, list[str]] = defaultdict(list)
        ratings: dict[tuple[str, str], float] = {}
        latest: dict[tuple[str, str], float] = {}
        for user, item, time, strength in uses:
            newest, old = people[user], ratings.get((user, item), 0.0)
            stronger = strength > old
            returned = newest[:1] != [item] or time - latest[user, item] >= RETURN_AFTER
            before = old if stronger else 0.0
            latest[user, item] = time
            ratings[user, item] = max(old, strength)
            if item in newest:
                newest.remove(item)
            if stronger or returned:
                self.masses[item].append((strength - before, time))
                for place, other in enumerate(newest[: window.length], start=1):
                    with_other = ratings[user, other]
                    risen = min(strength, with_other) - min(before, with_other)
                    self.pairs[item, other].append((risen, place, time))
            newest.insert(0, item)

    def decayed(self, gain: float, age: float, half_life: float) -> float:
        return gain * 2.0 ** (-age / half_life)

    def together(self, a: str, b: str, now: float) -> float:
        both = self.pairs[a, b] + self.pairs[b, a]
        damping, life = self.window.damping, self.window.half_life
        return math.fsum(self.decayed(risen, now - time, life) * place**-damping for risen, place, time in both)

    def directed(self, a: str, b: str, now: float, life: float) -> float:
        """Of b after a, what the pairs nearer than the reach say."""
        near = [(risen, place, time) for risen, place, time in self.pairs[b, a] if place <= self.window.reach]
        return math.fsum(self.decayed(risen, now - time, life) / place for risen, place, time in near)

    def mass(self, a: str, now: float) -> float:
        return math.fsum(self.decayed(gain, now - time, self.window.half_life) for gain, time in self.masses[a])


def train(uses: Iterable[Use], model: ItemSimilarity) -> ItemSimilarity:
    for user, item, time, strength in uses:
        model.learn_one(user, item, time, strength)
    return model


@settings(max_examples=150, deadline=None)
@given(
    uses=use_lists(),
    half_life=st.sampled_from([math.inf, 30 * DAY, 2 * DAY, 0.02 * DAY]),
    length=st.sampled_from([2, 50]),
    damping=st.sampled_from([0.0, 0.5]),
    exponent=st.sampled_from([0.5, 0.3]),
)
def test_similarity_equals_a_full_recount(
    uses: list[Use], half_life: float, length: int, damping: float, exponent: float
) -> None:
    """With and without decay, and across moved landmarks."""
    window = CountingWindow(half_life=half_life, length=length, damping=damping, reach=3, fading=5 * DAY)
    model = train(uses, ItemSimilarity(window, shrinkage=1.0, exponent=exponent))
    counted = Recount(uses, window)
    now = uses[-1][2]
    for item in model.rows:
        expected = {
            other: counted.together(item, other, now)
            / ((counted.mass(item, now) + 1.0) ** (1 - exponent) * (counted.mass(other, now) + 1.0) ** exponent)
            for other in model.rows
            if other != item
        }
        found = model.similarities(item)
        assert {other: found.get(other, 0.0) for other in expected} == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(uses=use_lists(), half_life=st.sampled_from([math.inf, 2 * DAY, 0.02 * DAY]))
def test_directed_weights_equal_a_full_recount(uses: list[Use], half_life: float) -> None:
    """Both the slow and the fast directed weights of a row."""
    window = CountingWindow(half_life=half_life, reach=3, fading=0.05 * DAY)
    model = train(uses, ItemSimilarity(window))
    counted = Recount(uses, window)
    for item, row in model.rows.items():
        age = row.last - row.landmark
        for other, pair in row.near.items():
            lasting = counted.directed(other, item, row.last, window.half_life)
            assert pair.order * 2.0 ** (-age / window.half_life) == pytest.approx(lasting, rel=1e-9, abs=1e-9)
            newest = counted.directed(other, item, row.last, window.fading)
            assert pair.fading * 2.0 ** (-age / window.fading) == pytest.approx(newest, rel=1e-9, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("abcde"), st.integers(1, 3)), max_size=40))
def test_without_repetitions_it_is_the_cosine_over_implicit_ratings(sampled: list[tuple[str, str, int]]) -> None:
    """If ratings only rise, C_ij is the sum over people of min(r_i, r_j), and c_i that of r_i."""
    model, ratings = ItemSimilarity(CountingWindow(damping=0.0), shrinkage=0.0), defaultdict(float)
    for index, (user, item, rise) in enumerate(sampled):
        ratings[user, item] += rise
        model.learn_one(user, item, index * DAY, ratings[user, item])
    for item in model.rows:
        for other, found in model.similarities(item).items():
            together = sum(min(ratings[user, item], ratings[user, other]) for user in "xyz")
            masses = [sum(ratings[user, course] for user in "xyz") for course in (item, other)]
            assert found == pytest.approx(together / math.sqrt(masses[0] * masses[1]), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(uses=use_lists(most=40, gap_days=20.0), seed=st.integers(0, 1_000))
def test_the_order_of_interactions_does_not_matter(uses: list[Use], seed: int) -> None:
    """A course receives them from several partitions. Decayed weights, mass and popularity are the same."""
    window = CountingWindow(half_life=5 * DAY, fading=2 * DAY)
    interactions = []
    for place, (_, _, time, strength) in enumerate(uses):
        others = [(name, 1.0) for name in "abc"[: place % 4]]
        interactions.append(make_interaction("x", time, strength, *others, person=place))
    shuffled = list(interactions)
    random.Random(seed).shuffle(shuffled)
    rows = []
    for order in (interactions, shuffled):
        row = CooccurrenceRow("x")
        for one in order:
            row = update_row(row, one, window)
        rows.append(decayed_values(row, uses[-1][2], window))
    assert rows[0] == pytest.approx(rows[1], rel=1e-9, abs=1e-12)


def decayed_values(row: CooccurrenceRow, now: float, window: CountingWindow) -> dict[str, float]:
    """Return the values of a row decayed to a moment, independent of its landmark."""
    slow, fast = (2.0 ** ((row.landmark - now) / life) for life in (window.half_life, window.fading))
    found = {
        f"{name} {part}": astuple(pair)[part] * (slow, slow, fast)[part]
        for name, pair in row.near.items()
        for part in range(3)
    }
    popular = {f"popular {place}": count for place, count in enumerate(row.popular)}
    return {**found, **popular, "mass": row.mass * slow, "uses": row.uses, "first": row.first, "last": row.last}


def test_a_landmark_moves_before_numbers_grow_large_and_nothing_changes() -> None:
    """After thousands of half-lives, all weights are finite, and old pairs have almost no weight."""
    model = ItemSimilarity(CountingWindow(half_life=DAY, fading=DAY))
    for index in range(3_000):
        model.learn_one("ann", "ab"[index % 2], index * DAY)
    row = model.rows["a"]
    assert row.landmark > 0
    assert row.mass * 2.0 ** ((row.landmark - row.last) / DAY) == pytest.approx(4 / 3, rel=1e-9)
    assert all(math.isfinite(weight) for pair in row.near.values() for weight in astuple(pair))


def popular_uses(people: int = 500, courses: int = 300, seed: int = 7) -> list[Use]:
    """Return uses by people who like one of five groups of courses. Some courses are much more popular than others."""
    dice = np.random.default_rng(seed)
    group, pull = dice.integers(0, 5, courses), 1.0 / np.arange(1, courses + 1) ** 0.8
    uses = []
    for person in range(people):
        liked = np.where(group == person % 5, 30.0, 1.0) * pull
        sampled = dice.choice(courses, 40, replace=False, p=liked / liked.sum())
        uses += [(f"p{person}", f"c{item}", float(dice.random() * 90 * DAY), 1.0) for item in sampled]
    return sorted(uses, key=lambda use: use[2])


def test_rows_cut_to_their_heaviest_neighbours_keep_the_best() -> None:
    """The ten most similar courses of a cut row are nearly all among those of an uncut row."""
    uses = popular_uses()
    whole = train(uses, ItemSimilarity(CountingWindow(neighbours=10**6), shrinkage=10.0))
    cut = train(uses, ItemSimilarity(CountingWindow(neighbours=150), shrinkage=10.0))
    assert max(len(row.near) for row in cut.rows.values()) <= 187 < max(len(row.near) for row in whole.rows.values())
    kept = total = 0
    for item in whole.rows:
        best = {other for other, _ in whole.similar(item, 10)}
        kept += len(best & {other for other, _ in cut.similar(item, 10)})
        total += len(best)
    assert kept / total >= 0.95


def test_the_row_of_a_busy_course_is_bounded() -> None:
    """Neighbours, people and completed courses of a row have maximum numbers."""
    window = CountingWindow(neighbours=20, people=30, length=10)
    row = CooccurrenceRow("busy")
    for index in range(2_000):
        others = [(f"c{index * 7 + k}", COMPLETED) for k in range(15)]
        row = update_row(row, make_interaction("busy", index * 60.0, COMPLETED, *others, person=index), window)
    assert (len(row.near) <= 25, len(row.path) <= 25, len(row.people)) == (True, True, 30)
    assert row.people[-1] == 1_999
    assert (row.uses, row.audience) == (2_000, 2_000)


def test_only_completed_courses_lead_to_a_completion() -> None:
    """The path contains what people had completed before they completed this course, once each."""
    others = (("done", COMPLETED), ("open", 2.0), ("long done", COMPLETED))
    window = CountingWindow()
    begun = update_row(CooccurrenceRow("x"), make_interaction("x", 6.0, 2.0, *others), window)
    done = update_row(begun, make_interaction("x", 7.0, COMPLETED, *others, before=2.0, new=False), window)
    again = update_row(done, make_interaction("x", 9_000.0, COMPLETED, *others, new=False), window)
    assert (begun.path, done.path, again.path) == ({}, {"done": 1.0, "long done": 0.5}, {"done": 1.0, "long done": 0.5})


def test_an_update_does_not_change_the_old_row() -> None:
    """A row is immutable."""
    first = update_row(CooccurrenceRow("x"), make_interaction("x", 6.0, 1.0, ("a", 1.0)), CountingWindow())
    kept = msgspec.json.encode(first)
    update_row(first, make_interaction("x", 7.0, 1.0, ("a", 1.0), person=2), CountingWindow())
    assert msgspec.json.encode(first) == kept


@settings(max_examples=40, deadline=None)
@given(uses=use_lists(), at=st.integers(0, 60), half_life=st.sampled_from([math.inf, 2 * DAY]))
def test_a_restored_model_continues_exactly(uses: list[Use], at: int, half_life: float) -> None:
    """A snapshot that is encoded, decoded and restored gives the same model as training without interruption."""
    whole = train(uses, ItemSimilarity(CountingWindow(half_life=half_life), seeds=3, rho=0.5))
    part = train(uses[:at], ItemSimilarity(CountingWindow(half_life=half_life), seeds=3, rho=0.5))
    found = msgspec.msgpack.decode(msgspec.msgpack.encode(part.snapshot()), type=SimilaritySnapshot)
    restored = train(uses[at:], ItemSimilarity.restore(found))
    assert restored.rows == whole.rows
    for user in ("ann", "bob", "cem"):
        assert restored.recommend(user) == whole.recommend(user)
    assert {item: restored.similar(item) for item in whole.rows} == {item: whole.similar(item) for item in whole.rows}


def test_a_snapshot_of_another_schema_is_refused() -> None:
    """The error names the schema."""
    with pytest.raises(ValueError, match="schema 2"):
        ItemSimilarity.restore(msgspec.structs.replace(ItemSimilarity().snapshot(), schema=2))


def test_a_clone_is_untrained() -> None:
    """It has the same settings."""
    model = train(
        [("ann", "a", 1.0, 1.0), ("ann", "b", 2.0, 1.0)], ItemSimilarity(CountingWindow(length=7), shrinkage=3.0)
    )
    fresh = model.clone()
    assert isinstance(fresh, base.Estimator)
    assert (fresh.window, fresh.shrinkage, fresh.rows, fresh.preferences) == (CountingWindow(length=7), 3.0, {}, {})
    assert model.similar("a") and not fresh.similar("a")


def test_queries_change_nothing() -> None:
    """Neither `similar` nor `recommend` learns, also not for unknown courses and people."""
    model = train([("ann", "a", 1.0, 1.0), ("ann", "b", 2.0, 1.0)], ItemSimilarity())
    kept = msgspec.json.encode(model.snapshot())
    assert (model.similar("nobody's"), model.recommend("nobody")) == ([], [])
    model.similar("a"), model.recommend("ann")
    assert msgspec.json.encode(model.snapshot()) == kept


def test_known_courses_are_not_recommended() -> None:
    """A person's own recent courses are left out. The others come best first."""
    uses = [
        (user, item, float(i), 1.0) for i, (user, item) in enumerate([("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")])
    ]
    ranked = train(uses, ItemSimilarity()).recommend("b", 5)
    assert {item for item, _ in ranked} == {"y", "z"}
    assert ranked == sorted(ranked, key=lambda pair: -pair[1])
