"""A reader's index says what the rows say, whichever way they came, and costs the same for every course."""

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


def pairs(index: Index, channels: tuple[int, ...], now: float) -> dict[tuple[str, str], float]:
    """All weights of some channels, by names, as of a moment."""
    slow, fast = index.scales(now)
    said = {}
    for number in range(len(index)):
        for slot in np.flatnonzero(index.near[number] >= 0):
            weight = sum(float(index.weight[number, slot, channel]) for channel in channels)
            name = (index.names[number], index.names[index.near[number, slot]])
            said[name] = weight * (fast if channels[0] in (IN_FADING, OUT_FADING) else slow)
    return {name: weight for name, weight in said.items() if weight}


def of_rows(
    rows: dict[str, CooccurrenceRow], part: int, life: float, now: float, both: bool
) -> dict[tuple[str, str], float]:
    """The same from the rows themselves: (a, b) of what came before a; with `both`, of what came after it, too."""
    said: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows.values():
        for other, pair in row.near.items():
            weight = astuple(pair)[part] * 2.0 ** ((row.landmark - now) / life)
            said[row.course, other] += weight
            if both:
                said[other, row.course] += weight
    return {name: weight for name, weight in said.items() if weight}


@pytest.mark.parametrize("days", [30, 400])
def test_an_index_says_what_the_rows_say(days: int) -> None:
    """Use by use or row by row, before and after landmarks moved: both halves together, and each direction."""
    model = train_recommender(make_visits(days=days), window=WINDOW)
    now = days * DAY
    for index in (model.index, read(model.rows, seed=1)):
        together = of_rows(model.rows, 0, WINDOW.half_life, now, both=True)
        assert pairs(index, (IN, OUT), now) == pytest.approx(together, rel=1e-5)
        before = of_rows(model.rows, 1, WINDOW.half_life, now, both=False)
        assert pairs(index, (IN_ORDER,), now) == pytest.approx(before, rel=1e-5)
        after = {(b, a): weight for (a, b), weight in before.items()}
        assert pairs(index, (OUT_ORDER,), now) == pytest.approx(after, rel=1e-5)
        fading = of_rows(model.rows, 2, WINDOW.fading, now, both=False)
        assert pairs(index, (IN_FADING,), now) == pytest.approx(fading, rel=1e-5)
        assert pairs(index, (OUT_FADING,), now) == pytest.approx({(b, a): w for (a, b), w in fading.items()}, rel=1e-5)


def read(rows: dict[str, CooccurrenceRow], seed: int, times: int = 1) -> Index:
    """An index that has read whole rows, in any order, some of them more than once."""
    index, order = Index(WINDOW), list(rows.values()) * times
    random.Random(seed).shuffle(order)
    for row in order:
        index.update(row)
    return index


def test_rows_may_come_in_any_order_and_again() -> None:
    """After a restart, or with other workers' rows earlier or later, every count is the same."""
    rows = train_recommender(make_visits(), window=WINDOW).rows
    one, other = read(rows, seed=1), read(rows, seed=2, times=3)
    now = 31 * DAY
    assert pairs(one, (IN, OUT), now) == pytest.approx(pairs(other, (IN, OUT), now), rel=1e-6)
    for kind in (WEEK, MONTH, NEWCOMERS):
        best = [[index.names[number] for number in index.top_courses[kind].ranked()] for index in (one, other)]
        assert best[0] == best[1]
    for name in rows:
        numbers = [np.array([index.numbers[name]]) for index in (one, other)]
        assert one.decayed_masses(numbers[0], now) == pytest.approx(other.decayed_masses(numbers[1], now), rel=1e-9)
        for kind in range(4):
            said = [index.popularity(number, kind, now) for index, number in zip((one, other), numbers, strict=True)]
            assert said[0] == pytest.approx(said[1], rel=1e-9)


def test_a_full_line_lets_go_of_others_first() -> None:
    """When a row comes again with some new neighbours, those it still has keep their places, however light."""
    index = Index(width=4)
    for names in ("abcd", "abef"):
        index.update(CooccurrenceRow("x", uses=1, near={name: PairWeight(float(ord(name))) for name in names}))
    line = index.near[index.numbers["x"]]
    assert {index.names[number] for number in line} == {"a", "b", "e", "f"}


@pytest.mark.parametrize("filled", ["", "pq", "pqrs"])
def test_of_more_changes_than_a_line_holds_the_heaviest_are_written(filled: str) -> None:
    """Into an empty line, one that has some room and one that has none; each course once, with its own weight."""
    index = Index(width=4)
    index.update(CooccurrenceRow("x", uses=1, near={name: PairWeight(0.5) for name in filled}))
    near = {name: PairWeight(float(ord(name))) for name in "abcdef"}
    index.update(CooccurrenceRow("x", uses=2, near={**{name: PairWeight(0.5) for name in filled}, **near}), [*"abcdef"])
    own = index.numbers["x"]
    line = zip(index.near[own], index.weight[own, :, IN], strict=True)
    held = {index.names[number]: weight for number, weight in line}
    assert held == {name: float(ord(name)) for name in "cdef"}


def test_what_is_written_does_not_give_way_to_what_comes_with_it() -> None:
    """However light it is: the newcomer takes the place of something else."""
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


def test_a_newcomer_has_no_weight_of_what_it_took_the_place_of() -> None:
    """Neither in the line that its row writes, nor in those of the row's neighbours."""
    index = Index(width=2)
    for name in "bc":
        index.update(CooccurrenceRow(name, uses=1, near={"x": PairWeight(4.0)}))
    index.update(CooccurrenceRow("e", uses=1, near={"p": PairWeight(1.0), "q": PairWeight(2.0)}))
    index.update(CooccurrenceRow("x", uses=1, near={"e": PairWeight(9.0), "f": PairWeight(9.0)}))
    said = {pair: weight for pair, weight in pairs(index, (IN, OUT), 0.0).items() if "x" in pair}
    assert {pair: said[pair] for pair in [("x", "e"), ("x", "f"), ("e", "x")]} == {
        ("x", "e"): 9.0, ("x", "f"): 9.0, ("e", "x"): 9.0,
    }  # fmt: skip


def test_a_row_that_comes_again_takes_no_place_back_for_what_did_not_change() -> None:
    """A full line that let a pair go keeps what took its place, until the pair itself is news."""
    index, pair = Index(width=2), PairWeight(1.0)
    for name in "abc":
        index.update(CooccurrenceRow(name, uses=1, near={"x": pair}))

    def line() -> set[str]:
        return {index.names[number] for number in index.near[index.numbers["x"]]}

    gone = ({"a", "b", "c"} - line()).pop()
    kept = line()
    index.update(CooccurrenceRow(gone, uses=2, near={"x": pair, "y": pair}))
    assert line() == kept
    index.update(CooccurrenceRow(gone, uses=3, near={"x": PairWeight(2.0), "y": pair}))
    assert gone in line()
    assert pairs(index, (OUT,), 0.0)["x", gone] == 2.0


def test_what_a_row_let_go_of_weighs_nothing() -> None:
    """A neighbour that was cut from a row is out of the pair's weight, seen from either side."""
    index, kept = Index(), {"a": PairWeight(1.0, 0.5, 0.2), "b": PairWeight(2.0, 1.0, 0.4)}
    index.update(CooccurrenceRow("x", uses=1, near=kept))
    index.update(CooccurrenceRow("a", uses=1, near={"x": PairWeight(4.0, 2.0, 1.0)}))
    index.update(CooccurrenceRow("x", uses=2, near={"b": kept["b"]}))
    together = pairs(index, (IN, OUT), 0.0)
    assert together == {("x", "b"): 2.0, ("b", "x"): 2.0, ("a", "x"): 4.0, ("x", "a"): 4.0}
    assert pairs(index, (OUT_ORDER,), 0.0) == {("b", "x"): 1.0, ("x", "a"): 2.0}


def test_years_later_everything_is_finite_and_has_faded() -> None:
    """Landmarks move before numbers grow large; what nobody uses any more weighs nothing beside what they do."""
    told = make_visits() + [(f"q{k}", f"c{k % 3}", 4_000 * DAY + k) for k in range(30)]
    model = train_recommender(told, window=CountingWindow(half_life=5 * DAY, fading=2 * DAY))
    index, now = model.index, 4_001 * DAY
    assert np.isfinite(index.weight).all()
    assert np.isfinite(index.popular).all()
    assert {index.names[number] for number in index.top_courses[WEEK].ranked()[:3]} == {"c0", "c1", "c2"}
    assert index.popularity(np.array([index.numbers["c7"]]), MONTH, now)[0] < 1e-9


def test_a_line_keeps_its_heaviest_neighbours() -> None:
    """With room for fewer neighbours than there are, no line grows, and nearly all of the best stay."""
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


def test_of_more_people_than_there_is_room_for_the_newest_are_taken() -> None:
    """A row of another version may bring more of them."""
    people = NeighbourIndex(people_per_course=4)
    people.grow(2)
    people.update(0, range(10))
    people.update(1, (9, 3))
    slots, _ = people.nearest(np.array([0]), np.ones(1), None)
    assert {people.slots[key] for key in (6, 7, 8, 9)} == set(slots.tolist())


def test_no_line_holds_a_course_twice() -> None:
    """A course that gave way and came back, or whose row came again, stands in a line once."""
    model = train_recommender(make_visits(people=100, courses=80))
    small = Index(width=16)
    for row in [*model.rows.values(), *model.rows.values()]:
        small.update(row)
    for line in small.near[: len(small)]:
        held = line[line >= 0].tolist()
        assert len(held) == len(set(held))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0.1, 3.0), st.booleans()), max_size=60), st.integers(1, 6))
def test_a_chart_is_that_of_all_counts(uses: list[tuple[int, float, bool]], most: int) -> None:
    """Counts only rise, fade together and can be taken away: the chart equals sorting everything."""
    chart, counts = TopK(most), dict.fromkeys(range(10), 0.0)
    for course, gain, fades in uses:
        if fades:
            counts = {number: count * 0.5 for number, count in counts.items()}
            chart.scale(0.5)
        counts[course] += gain
        chart.update(course, counts[course])
    best = sorted(counts.values(), reverse=True)[:most]
    assert [counts[number] for number in chart.ranked().tolist()] == pytest.approx(
        [count for count in best if count > 0]
    )


def test_what_is_off_the_chart_makes_room() -> None:
    """A withdrawn course stands on no chart."""
    index = train_recommender(make_visits()).index
    first = index.names[index.top_courses[WEEK].ranked()[0]]
    index.withdraw(first)
    assert first not in {index.names[number] for number in index.top_courses[WEEK].ranked()}
    index.withdraw(first, withdrawn=False)
    assert index.names[index.top_courses[WEEK].ranked()[0]] == first


def test_people_give_way_to_newer_people() -> None:
    """Of many people the newest are remembered, and no list of a course still points to whoever went."""
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


def test_nobody_is_their_own_neighbour() -> None:
    """Somebody with the same courses is most alike, the person themself is left out."""
    people = NeighbourIndex(people_per_course=10, max_people=20, courses_per_person=5)
    people.grow(4)
    for course in (0, 1, 2):
        people.update(course, [7, 8] if course < 2 else [7])
    slots, likeness = people.nearest(np.array([0, 1, 2]), np.ones(3), own=7)
    said = dict(zip(slots.tolist(), likeness.tolist(), strict=True))
    assert said[people.slots[7]] == 0.0
    assert said[people.slots[8]] == pytest.approx(2 / np.sqrt(2 + 5))


def test_before_the_first_row_everything_is_a_number() -> None:
    """A catalogue without uses can be asked, too: what a ranker would learn from is finite."""
    index, content = Index(), Content()
    content.update(index.number("a"), {"go": 1.0})
    taste, _ = fold_use(Preferences(), "e", "a", 1, 5.0, 1.0)
    question = make_query(index, taste, 9.0)
    candidates = select_candidates(index, content, taste, generate(index, content, question), "all")
    assert len(candidates.total) == 1
    assert np.isfinite(candidates.total).all()
    assert np.isfinite(rows(index, candidates, question, "all")).all()
