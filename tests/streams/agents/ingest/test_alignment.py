"""Alignment: each place in its own order, none far ahead of the slowest, and everything comes out."""

from collections import defaultdict, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.ingest.alignment import WatermarkAligner

AHEAD = 30.0
TIMES = st.lists(st.integers(0, 300).map(float), max_size=12)
LOGS = st.dictionaries(st.sampled_from("abcd"), TIMES, min_size=1, max_size=4)
NOBODY: set[str] = set()


def unread_of(left: dict[str, deque[float]]) -> object:
    return {place for place in left if left[place]}


@given(LOGS, st.integers(1, 4), st.booleans())
@settings(max_examples=300)
def test_everything_comes_out_in_order_and_in_step(logs: dict[str, list[float]], chunk: int, ordered: bool) -> None:
    """Read as ingest reads (what wants, a chunk at a time), until all is out.

    Whatever goes is at most the bound ahead of the earliest item that is still to come of any other place, and not
    ahead of the last one seen of a place whose next item is not known yet. Places in order become one in order.
    """
    left = {place: deque(sorted(times) if ordered else times) for place, times in logs.items()}
    aligner: WatermarkAligner[str, int] = WatermarkAligner(AHEAD)
    offered, out = defaultdict[str, deque[float]](deque), defaultdict[str, list[int]](list)
    last: dict[str, float] = {}
    went: list[float] = []
    numbers = dict.fromkeys(logs, 0)
    for _ in range(10_000):
        for place in left:
            if aligner.wants(place):
                for _ in range(min(chunk, len(left[place]))):
                    moment = left[place].popleft()
                    aligner.offer(place, moment, numbers[place])
                    offered[place].append(moment)
                    numbers[place] += 1
        before = {place: times[0] for place, times in offered.items() if times}
        limits = [moment + AHEAD for moment in before.values()]
        limits += [last.get(place, float("-inf")) for place in left if left[place] and not offered[place]]
        for place, number in aligner.take({place for place in left if left[place]}, set(left)):
            moment = offered[place].popleft()
            assert moment <= min(limits, default=float("inf"))
            went.append(moment)
            last[place] = max(moment, last.get(place, 0.0))
            out[place].append(number)
        assert len(aligner) == sum(map(len, offered.values()))
        if not len(aligner) and not any(left.values()):
            break
    assert {place: out[place] for place in logs} == {place: list(range(len(times))) for place, times in logs.items()}
    assert went == sorted(went) or not ordered


def test_a_place_without_unread_records_holds_nobody() -> None:
    """A topic that has been read to its end may be hours behind: nobody knows of more."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(AHEAD)
    aligner.offer("slow", 0.0, "early")
    assert list(aligner.take(NOBODY, {"slow", "fast"})) == [("slow", "early")]
    aligner.offer("fast", 1_000.0, "late")
    assert list(aligner.take(NOBODY, {"slow", "fast"})) == [("fast", "late")]


def test_a_place_with_unread_records_holds_everybody() -> None:
    """What it has next is not known, so the last time seen there counts; before the first, nothing goes."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(AHEAD)
    aligner.offer("fast", 20.0, "now")
    aligner.offer("fast", 41.0, "later")
    slow = {"slow"}
    assert list(aligner.take(slow, {"slow", "fast"})) == []
    aligner.offer("slow", 10.0, "first")
    assert list(aligner.take(slow, {"slow", "fast"})) == [("slow", "first")]
    assert list(aligner.take(slow, {"slow", "fast"})) == []
    aligner.offer("other", 10.0, "as far as may be")
    assert list(aligner.take(slow, {"slow", "fast", "other"})) == [("other", "as far as may be")]
    assert list(aligner.take(NOBODY, {"slow", "fast"})) == [("fast", "now"), ("fast", "later")]


def test_what_is_as_far_ahead_as_the_bound_goes() -> None:
    """The bound itself is within."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(AHEAD)
    aligner.offer("slow", 0.0, "a")
    aligner.offer("slow", 1_000.0, "b")
    aligner.offer("fast", AHEAD, "c")
    aligner.offer("fast", AHEAD + 0.001, "d")
    assert sorted(aligner.take(NOBODY, {"slow", "fast"})) == [("fast", "c"), ("slow", "a")]


def test_places_of_others_hold_nobody_and_are_forgotten() -> None:
    """A partition that went to another worker is neither waited for nor handed out."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(AHEAD)
    aligner.offer("gone", 0.0, "theirs")
    aligner.offer("mine", 1_000.0, "mine")
    aligner.forget({"gone"})
    assert (len(aligner), aligner.wants("gone"), aligner.wants("mine")) == (1, True, False)
    assert list(aligner.take({"gone"}, {"mine"})) == [("mine", "mine")]
