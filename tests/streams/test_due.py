"""Who is due when: whoever is taken is the earliest, nobody is forgotten, and nobody is taken twice."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.due import DueQueue

NEVER = float("inf")
KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
MOVES = st.lists(
    st.tuples(st.just("enter"), KEYS, st.integers(0, 20).map(float) | st.just(NEVER))
    | st.tuples(st.just("take"), st.just(b""), st.integers(0, 20).map(float)),
    max_size=60,
)


@given(MOVES)
@settings(max_examples=500)
def test_it_is_a_sorted_list_of_the_earliest_entries(moves: list[tuple[str, bytes, float]]) -> None:
    """As a plain dictionary would: the earliest entry of each key counts; the earliest key is taken, and gone."""
    queue, entries = DueQueue(), dict[bytes, float]()
    for move, key, moment in moves:
        if move == "enter":
            queue.enter(key, moment)
            if moment < entries.get(key, NEVER):
                entries[key] = moment
        else:
            taken = queue.take(moment, 2)
            assert (
                taken == [key for due, key in sorted((due, key) for key, due in entries.items()) if due <= moment][:2]
            )
            for key in taken:
                del entries[key]
        assert len(queue) == len(entries)


@given(st.dictionaries(KEYS, st.floats(0, 1e9), max_size=4), st.lists(KEYS, max_size=9))
def test_everybody_who_entered_comes_out_in_order(dues: dict[bytes, float], again: list[bytes]) -> None:
    """Once each, by time, however often they were entered at a later time."""
    queue = DueQueue()
    for key, due in dues.items():
        queue.enter(key, due)
    for key in again:
        if key in dues:
            queue.enter(key, dues[key] + 1.0)
    out = []
    while keys := queue.take(1e9):
        out += keys
    assert sorted(out) == sorted(dues)
    assert [dues[key] for key in out] == sorted(dues.values())


def test_who_moves_forward_is_taken_at_the_earlier_time_only() -> None:
    """An entry that was overtaken does not bring the person up again."""
    queue = DueQueue()
    queue.enter(b"a", 10.0)
    queue.enter(b"a", 5.0)
    assert [queue.take(4.9), queue.take(5.0), queue.take(20.0)] == [[], [b"a"], []]
    queue.enter(b"a", 10.0)
    assert [queue.take(20.0), queue.take(20.0)] == [[b"a"], []]
