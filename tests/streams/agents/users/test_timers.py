"""The timer queue: keys come in order of their time, each once, and none is lost."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.users.timers import TimerQueue

NEVER = float("inf")
KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
TIMES = st.integers(0, 40).map(lambda number: number * 10.0)
STEPS = st.lists(
    st.tuples(st.just("set"), KEYS, TIMES | st.just(NEVER)) | st.tuples(st.just("pop"), st.just(b""), TIMES),
    max_size=60,
)


class TimesWithQueue(dict[bytes, float]):
    """The time of every key, and a queue that is updated with every change."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TimerQueue(lambda key: self.get(key, NEVER))

    def set_time(self, key: bytes, due: float) -> None:
        self[key] = due
        self.queue.schedule(key, due)

    def due_by(self, moment: float) -> list[bytes]:
        return [key for due, key in sorted((due, key) for key, due in self.items()) if due <= moment]


@given(STEPS)
@settings(max_examples=500)
def test_the_queue_equals_a_sorted_list(steps: list[tuple[str, bytes, float]]) -> None:
    """The newest time of a key counts, whether earlier or later. The earliest keys come first."""
    times = TimesWithQueue()
    for step, key, moment in steps:
        if step == "set":
            times.set_time(key, moment)
        else:
            assert times.queue.earliest() <= min(times.values(), default=NEVER)
            popped = times.queue.pop_due(moment, 2)
            assert popped == times.due_by(moment)[:2]
            for key in popped:
                del times[key]
    assert times.queue.pop_due(1e9, 99) == times.due_by(1e9)


def test_a_key_whose_time_moves_back_and_forth_comes_up_once() -> None:
    """In a later minute and in the current one."""
    times = TimesWithQueue()
    times.set_time(b"b", 125.0)
    for due in (130.0, 200.0, 130.0, 140.0, 130.0):
        times.set_time(b"a", due)
    assert times.queue.pop_due(126.0, 9) == [b"b"]
    for due in (150.0, 130.0, 135.0, 130.0):
        times.set_time(b"a", due)
    assert times.queue.pop_due(134.0, 9) == [b"a"]


def test_a_removed_key_does_not_come_up() -> None:
    """A removed key has no time, and its entry is dropped."""
    times = TimesWithQueue()
    times.set_time(b"a", 10.0)
    del times[b"a"]
    assert times.queue.pop_due(1e9, 9) == []
    assert (len(times.queue), times.queue.earliest()) == (0, NEVER)
