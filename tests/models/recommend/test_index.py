"""The index holds what the rows hold, in whatever order they arrive, at the same cost for each course."""

import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from models.person.activity import DAY
from models.person.preferences import Preferences, fold_use
from models.recommend.candidates import select_candidates
from models.recommend.content import Content
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, PairWeight
from models.recommend.features import rows
from models.recommend.generators import generate, make_query
from models.recommend.index import IN, IN_FADING, IN_ORDER, MONTH, NEWCOMERS, OUT, OUT_FADING, OUT_ORDER, WEEK, Index
from models.recommend.neighbours import NeighbourIndex
from models.recommend.top_k import TopK
from tests.models.course_uses import make_visits, train_recommender

WINDOW = CountingWindow(half_life=40 * DAY, fading=10 * DAY)


def index_weights(index: Index, channels: tuple[int, ...], now: float) -> dict[tuple[str, str], float]:
    """Return all weights of some channels by names, decayed to a moment."""
    slow, fast = index.scales(now)
    found = {}
    for number in range(len(index)):
        for slot in np.flatnonzero(index.near[number] >= 0):
            weight = sum(float(index.weight[number, slot, channel]) for channel in channels)
            name = (index.names[number], index.names[index.near[number, slot]])
            found[name] = weight * (fast if channels[0] in (IN_FADING, OUT_FADING) else slow)
    return {name: weight for name, weight in found.items() if weight}


def row_weights(
    rows: dict[str, CooccurrenceRow], part: int, life: float, now: float, both: bool
) -> dict[tuple[str, str], float]:
    """Return the same from the rows: (a, b) for b before a; with `both`, for b after a as well."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows.values():
        for other, pair in row.near.items():
            weight = astuple(pair)[part] * 2.0 ** ((row.landmark - now) / life)
            found[row.course, other] += weight
            if both:
                found[other, row.course] += weight
    return {name: weight for name, weight in found.items() if weight}


@pytest.mark.parametrize("days", [30, 400])
def test_an_index_has_the_weights_of_the_rows(days: int) -> None:
    """Use by use and row by row, before and after landmarks moved: both halves together, and each direction."""
    model = train_recommender(make_visits(days=days), window=WINDOW)
    now = days * DAY
    for index in (model.index, index_of(model.rows, seed=1)):
        together = row_weights(model.rows, 0, WINDOW.half_life, now, both=True)
        assert index_weights(index, (IN, OUT), now) == pytest.approx(together, rel=1e-5)
        before = row_weights(model.rows, 1, WINDOW.half_life, now, both=False)
        assert index_weights(index, (IN_ORDER,), now) == pytest.approx(before, rel=1e-5)
        after = {(b, a): weight for (a, b), weight in before.items()}
        assert index_weights(index, (OUT_ORDER,), now) == pytest.approx(after, rel=1e-5)
        fading = row_weights(model.rows, 2, WINDOW.fading, now, both=False)
        assert index_weights(index, (IN_FADING,), now) == pytest.approx(fading, rel=1e-5)
        assert index_weights(index, (OUT_FADING,), now) == pytest.approx(
            {(b, a): w for (a, b), w in fading.items()}, rel=1e-5
        )


def index_of(rows: dict[str, CooccurrenceRow], seed: int, times: int = 1) -> Index:
    """Return an index that read whole rows in random order, each several times."""
    index, order = Index(WINDOW), list(rows.values()) * times
    random.Random(seed).shuffle(order)
    for row in order:
        index.update(row)
    return index


def test_rows_may_arrive_in_any_order_and_again() -> None:
    """All values are the same after a restart, and when rows of other workers arrive earlier or later."""
    rows = train_recommender(make_visits(), window=WINDOW).rows
    one, other = index_of(rows, seed=1), index_of(rows, seed=2, times=3)
    now = 31 * DAY
    assert index_weights(one, (IN, OUT), now) == pytest.approx(index_weights(other, (IN, OUT), now), rel=1e-6)
    for kind in (WEEK, MONTH, NEWCOMERS):
        best = [[index.names[number] for number in index.top_courses[kind].ranked()] for index in (one, other)]
        assert best[0] == best[1]
    for name in rows:
        numbers = [np.array([index.numbers[name]]) for index in (one, other)]
        assert one.decayed_masses(numbers[0], now) == pytest.approx(other.decayed_masses(numbers[1], now), rel=1e-9)
        for kind in range(4):
            found = [index.popularity(number, kind, now) for index, number in zip((one, other), numbers, strict=True)]
            assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_a_full_list_first_drops_removed_neighbours() -> None:
    """When a row arrives with some new neighbours, those it still has keep their places, even with small weights."""
    index = Index(width=4)
    for names in ("abcd", "abef"):
        index.update(CooccurrenceRow("x", uses=1, near={name: PairWeight(float(ord(name))) for name in names}))
    line = index.near[index.numbers["x"]]
    assert {index.names[number] for number in line} == {"a", "b", "e", "f"}


@pytest.mark.parametrize("filled", ["", "pq", "pqrs"])
def test_of_too_many_changes_the_heaviest_are_written(filled: str) -> None:
    """The list may be empty, partly filled or full. Each course is written once, with its own weight."""
    index = Index(width=4)
    index.update(CooccurrenceRow("x", uses=1, near={name: PairWeight(0.5) for name in filled}))
    near = {name: PairWeight(float(ord(name))) for name in "abcdef"}
    index.update(CooccurrenceRow("x", uses=2, near={**{name: PairWeight(0.5) for name in filled}, **near}), [*"abcdef"])
    own = index.numbers["x"]
    line = zip(index.near[own], index.weight[own, :, IN], strict=True)
    held = {index.names[number]: weight for number, weight in line}
    assert held == {name: float(ord(name)) for name in "cdef"}


def test_a_neighbour_of_an_update_is_not_dropped_by_it() -> None:
    """Even with a small weight. The new neighbour replaces another one."""
    index = Index(width=4)
    index.update(
        CooccurrenceRow(
            "x", uses=1, near={"a": PairWeight(0.1), "b": PairWeight(5.0), "c": PairWeight(6.0), "d": PairWeight(7.0)}
        )
    )
    near = {
        "a": PairWeight(0.2),
        "b": PairWeight(5.0),
        "c": PairWeight(6.0),
        "d": PairWeight(7.0),
        "e": PairWeight(1.0),
    }
    index.update(CooccurrenceRow("x", uses=2, near=near), ["a", "e"])
    assert {index.names[number] for number in index.near[index.numbers["x"]]} == {"a", "c", "d", "e"}


def test_a_new_neighbour_has_no_weight_of_the_one_it_replaces() -> None:
    """Neither in the row's own list, nor in the lists of its neighbours."""
    index = Index(width=2)
    for name in "bc":
        index.update(CooccurrenceRow(name, uses=1, near={"x": PairWeight(4.0)}))
    index.update(CooccurrenceRow("e", uses=1, near={"p": PairWeight(1.0), "q": PairWeight(2.0)}))
    index.update(CooccurrenceRow("x", uses=1, near={"e": PairWeight(9.0), "f": PairWeight(9.0)}))
    found = {pair: weight for pair, weight in index_weights(index, (IN, OUT), 0.0).items() if "x" in pair}
    assert {pair: found[pair] for pair in [("x", "e"), ("x", "f"), ("e", "x")]} == {
        ("x", "e"): 9.0, ("x", "f"): 9.0, ("e", "x"): 9.0,
    }  # fmt: skip


def test_an_unchanged_pair_does_not_regain_its_place() -> None:
    """A full list that dropped a pair keeps the replacement until the pair changes."""
    index, pair = Index(width=2), PairWeight(1.0)
    for name in "abc":
        index.update(CooccurrenceRow(name, uses=1, near={"x": pair}))

    def line() -> set[str]:
        return {index.names[number] for number in index.near[index.numbers["x"]]}

    dropped = ({"a", "b", "c"} - line()).pop()
    kept = line()
    index.update(CooccurrenceRow(dropped, uses=2, near={"x": pair, "y": pair}))
    assert line() == kept
    index.update(CooccurrenceRow(dropped, uses=3, near={"x": PairWeight(2.0), "y": pair}))
    assert dropped in line()
    assert index_weights(index, (OUT,), 0.0)["x", dropped] == 2.0


def test_a_pair_cut_from_a_row_has_no_weight() -> None:
    """It is removed on both sides."""
    index, kept = Index(), {"a": PairWeight(1.0, 0.5, 0.2), "b": PairWeight(2.0, 1.0, 0.4)}
    index.update(CooccurrenceRow("x", uses=1, near=kept))
    index.update(CooccurrenceRow("a", uses=1, near={"x": PairWeight(4.0, 2.0, 1.0)}))
    index.update(CooccurrenceRow("x", uses=2, near={"b": kept["b"]}))
    together = index_weights(index, (IN, OUT), 0.0)
    assert together == {("x", "b"): 2.0, ("b", "x"): 2.0, ("a", "x"): 4.0, ("x", "a"): 4.0}
    assert index_weights(index, (OUT_ORDER,), 0.0) == {("b", "x"): 1.0, ("x", "a"): 2.0}


def test_years_later_all_values_are_finite_and_decayed() -> None:
    """Landmarks move before numbers grow too large. Unused courses have almost no weight."""
    uses = make_visits() + [(f"q{k}", f"c{k % 3}", 4_000 * DAY + k) for k in range(30)]
    model = train_recommender(uses, window=CountingWindow(half_life=5 * DAY, fading=2 * DAY))
    index, now = model.index, 4_001 * DAY
    assert np.isfinite(index.weight).all()
    assert np.isfinite(index.popular).all()
    assert {index.names[number] for number in index.top_courses[WEEK].ranked()[:3]} == {"c0", "c1", "c2"}
    assert index.popularity(np.array([index.numbers["c7"]]), MONTH, now)[0] < 1e-9


def test_a_list_keeps_its_heaviest_neighbours() -> None:
    """With fewer places than neighbours, no list grows, and nearly all of the best stay."""
    rows = train_recommender(make_visits(people=200, courses=120)).rows
    whole, small = Index(), Index(width=24)
    for row in rows.values():
        whole.update(row)
        small.update(row)
    assert small.near.shape[1] == 24
    kept = 0
    for name in rows:
        line = whole.near[whole.numbers[name]]
        weight = whole.weight[whole.numbers[name], :, IN] + whole.weight[whole.numbers[name], :, OUT]
        best = {whole.names[line[slot]] for slot in np.argsort(-weight)[:8]}
        kept += len(best & {small.names[number] for number in small.near[small.numbers[name]] if number >= 0})
    assert kept / (8 * len(rows)) > 0.9


def test_of_too_many_people_the_newest_are_kept() -> None:
    """A row of another version may have more people."""
    people = NeighbourIndex(people_per_course=4)
    people.grow(2)
    people.update(0, range(10))
    people.update(1, (9, 3))
    slots, _ = people.nearest(np.array([0]), np.ones(1), None)
    assert {people.slots[key] for key in (6, 7, 8, 9)} == set(slots.tolist())


def test_no_list_has_a_course_twice() -> None:
    """This also holds for a course that was dropped and came back, and for a row that arrived twice."""
    model = train_recommender(make_visits(people=100, courses=80))
    small = Index(width=16)
    for row in [*model.rows.values(), *model.rows.values()]:
        small.update(row)
    for line in small.near[: len(small)]:
        held = line[line >= 0].tolist()
        assert len(held) == len(set(held))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0.1, 3.0), st.booleans()), max_size=60), st.integers(1, 6))
def test_top_k_equals_sorting_all_counts(uses: list[tuple[int, float, bool]], size: int) -> None:
    """Counts only rise, decay together, and can be removed."""
    top, counts = TopK(size), dict.fromkeys(range(10), 0.0)
    for course, gain, fades in uses:
        if fades:
            counts = {number: count * 0.5 for number, count in counts.items()}
            top.scale(0.5)
        counts[course] += gain
        top.update(course, counts[course])
    best = sorted(counts.values(), reverse=True)[:size]
    assert [counts[number] for number in top.ranked().tolist()] == pytest.approx([count for count in best if count > 0])


def test_a_withdrawn_course_is_not_among_the_top_courses() -> None:
    """It returns when it is published again."""
    index = train_recommender(make_visits()).index
    first = index.names[index.top_courses[WEEK].ranked()[0]]
    index.withdraw(first)
    assert first not in {index.names[number] for number in index.top_courses[WEEK].ranked()}
    index.withdraw(first, withdrawn=False)
    assert index.names[index.top_courses[WEEK].ranked()[0]] == first


def test_newer_people_replace_older_ones() -> None:
    """The newest people are kept. No posting list refers to a person who was removed."""
    people = NeighbourIndex(people_per_course=10, max_people=20, courses_per_person=5)
    people.grow(8)
    for person in range(100):
        for course in (person % 8, (person + 3) % 8):
            held = [key for key in people.slots if people.courses[people.slots[key]].tolist().count(course)]
            people.update(course, [*held[-9:], person])
    assert sorted(people.slots) == list(range(80, 100))
    for course, post in enumerate(people.postings):
        for slot in post[post >= 0].tolist():
            assert course in people.courses[slot].tolist()


def test_a_person_is_not_their_own_neighbour() -> None:
    """A person with the same courses is the most similar one."""
    people = NeighbourIndex(people_per_course=10, max_people=20, courses_per_person=5)
    people.grow(4)
    for course in (0, 1, 2):
        people.update(course, [7, 8] if course < 2 else [7])
    slots, similarity = people.nearest(np.array([0, 1, 2]), np.ones(3), own=7)
    found = dict(zip(slots.tolist(), similarity.tolist(), strict=True))
    assert found[people.slots[7]] == 0.0
    assert found[people.slots[8]] == pytest.approx(2 / np.sqrt(2 + 5))


def test_without_rows_all_features_are_finite() -> None:
    """A catalogue without uses can be queried, and a ranker could learn from the result."""
    index, content = Index(), Content()
    content.update(index.number("a"), {"go": 1.0})
    preferences, _ = fold_use(Preferences(), "e", "a", 1, 5.0, 1.0)
    query = make_query(index, preferences, 9.0)
    candidates = select_candidates(index, content, preferences, generate(index, content, query), "all")
    assert len(candidates.total) == 1
    assert np.isfinite(candidates.total).all()
    assert np.isfinite(rows(index, candidates, query, "all")).all()
