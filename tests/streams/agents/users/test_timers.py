"""Who is due when: whoever is taken is the earliest, nobody is forgotten, and nobody is taken twice."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.users.timers import TimerQueue

NEVER = float("inf")
KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
TIMES = st.integers(0, 40).map(lambda number: number * 10.0)
MOVES = st.lists(
    st.tuples(st.just("enter"), KEYS, TIMES | st.just(NEVER)) | st.tuples(st.just("take"), st.just(b""), TIMES),
    max_size=60,
)


class Dues(dict[bytes, float]):
    """When everybody is due, and a queue that is told whenever that changes."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TimerQueue(lambda key: self.get(key, NEVER))

    def enter(self, key: bytes, due: float) -> None:
        self[key] = due
        self.queue.schedule(key, due)

    def by(self, moment: float) -> list[bytes]:
        return [key for due, key in sorted((due, key) for key, due in self.items()) if due <= moment]


@given(MOVES)
@settings(max_examples=500)
def test_it_is_a_sorted_list_of_who_is_due(moves: list[tuple[str, bytes, float]]) -> None:
    """As a plain dictionary would: everybody's newest due time counts, earlier or later; the earliest go first."""
    dues = Dues()
    for move, key, moment in moves:
        if move == "enter":
            dues.enter(key, moment)
        else:
            assert dues.queue.earliest() <= min(dues.values(), default=NEVER)
            taken = dues.queue.pop_due(moment, 2)
            assert taken == dues.by(moment)[:2]
            for key in taken:
                del dues[key]
    assert dues.queue.pop_due(1e9, 99) == dues.by(1e9)


def test_somebody_whose_due_time_moves_to_and_fro_comes_up_once() -> None:
    """In a minute to come as in the one that is drained."""
    dues = Dues()
    dues.enter(b"b", 125.0)
    for due in (130.0, 200.0, 130.0, 140.0, 130.0):
        dues.enter(b"a", due)
    assert dues.queue.pop_due(126.0, 9) == [b"b"]
    for due in (150.0, 130.0, 135.0, 130.0):
        dues.enter(b"a", due)
    assert dues.queue.pop_due(134.0, 9) == [b"a"]


def test_somebody_who_is_gone_does_not_come_up() -> None:
    """Whoever was forgotten has no due time; their entry goes without a word."""
    dues = Dues()
    dues.enter(b"a", 10.0)
    del dues[b"a"]
    assert dues.queue.pop_due(1e9, 9) == []
    assert (len(dues.queue), dues.queue.earliest()) == (0, NEVER)
