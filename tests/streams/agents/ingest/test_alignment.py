"""Alignment: each partition in its own order, none far ahead of the slowest, and every item comes out."""

from collections import defaultdict, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.ingest.alignment import WatermarkAligner

MAX_AHEAD = 30.0
TIMES = st.lists(st.integers(0, 300).map(float), max_size=12)
LOGS = st.dictionaries(st.sampled_from("abcd"), TIMES, min_size=1, max_size=4)
NO_BACKLOG: set[str] = set()


@given(LOGS, st.integers(1, 4), st.booleans())
@settings(max_examples=300)
def test_every_item_comes_out_in_order_and_aligned(logs: dict[str, list[float]], chunk: int, ordered: bool) -> None:
    """Read as ingest does (the empty queues, a chunk at a time), until all items are out.

    An item is at most the bound ahead of the earliest queued item of any partition. It is not ahead of the last item
    of a partition whose next item is not known yet. Partitions that are each in order are merged in order.
    """
    left = {partition: deque(sorted(times) if ordered else times) for partition, times in logs.items()}
    aligner: WatermarkAligner[str, int] = WatermarkAligner(MAX_AHEAD)
    queued, out = defaultdict[str, deque[float]](deque), defaultdict[str, list[int]](list)
    last: dict[str, float] = {}
    passed: list[float] = []
    numbers = dict.fromkeys(logs, 0)
    for _ in range(10_000):
        for partition in left:
            if aligner.is_empty(partition):
                for _ in range(min(chunk, len(left[partition]))):
                    moment = left[partition].popleft()
                    aligner.enqueue(partition, moment, numbers[partition])
                    queued[partition].append(moment)
                    numbers[partition] += 1
        first = {partition: times[0] for partition, times in queued.items() if times}
        limits = [moment + MAX_AHEAD for moment in first.values()]
        limits += [
            last.get(partition, float("-inf")) for partition in left if left[partition] and not queued[partition]
        ]
        for partition, number in aligner.dequeue({partition for partition in left if left[partition]}, set(left)):
            moment = queued[partition].popleft()
            assert moment <= min(limits, default=float("inf"))
            passed.append(moment)
            last[partition] = max(moment, last.get(partition, 0.0))
            out[partition].append(number)
        assert len(aligner) == sum(map(len, queued.values()))
        if not len(aligner) and not any(left.values()):
            break
    assert {partition: out[partition] for partition in logs} == {
        partition: list(range(len(times))) for partition, times in logs.items()
    }
    assert passed == sorted(passed) or not ordered


def test_a_partition_without_a_backlog_holds_back_no_other() -> None:
    """A topic that has been read to its end may be hours behind: it has no more records."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(MAX_AHEAD)
    aligner.enqueue("slow", 0.0, "early")
    assert list(aligner.dequeue(NO_BACKLOG, {"slow", "fast"})) == [("slow", "early")]
    aligner.enqueue("fast", 1_000.0, "late")
    assert list(aligner.dequeue(NO_BACKLOG, {"slow", "fast"})) == [("fast", "late")]


def test_a_partition_with_a_backlog_holds_back_all_others() -> None:
    """Its next record is not known, so its last event time counts; before its first record, nothing passes."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(MAX_AHEAD)
    aligner.enqueue("fast", 20.0, "now")
    aligner.enqueue("fast", 41.0, "later")
    slow = {"slow"}
    assert list(aligner.dequeue(slow, {"slow", "fast"})) == []
    aligner.enqueue("slow", 10.0, "first")
    assert list(aligner.dequeue(slow, {"slow", "fast"})) == [("slow", "first")]
    assert list(aligner.dequeue(slow, {"slow", "fast"})) == []
    aligner.enqueue("other", 10.0, "at the limit")
    assert list(aligner.dequeue(slow, {"slow", "fast", "other"})) == [("other", "at the limit")]
    assert list(aligner.dequeue(NO_BACKLOG, {"slow", "fast"})) == [("fast", "now"), ("fast", "later")]


def test_an_item_exactly_as_far_ahead_as_the_bound_passes() -> None:
    """The bound is inclusive."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(MAX_AHEAD)
    aligner.enqueue("slow", 0.0, "a")
    aligner.enqueue("slow", 1_000.0, "b")
    aligner.enqueue("fast", MAX_AHEAD, "c")
    aligner.enqueue("fast", MAX_AHEAD + 0.001, "d")
    assert sorted(aligner.dequeue(NO_BACKLOG, {"slow", "fast"})) == [("fast", "c"), ("slow", "a")]


def test_revoked_partitions_hold_back_no_other_and_are_forgotten() -> None:
    """A partition of another worker is neither waited for nor dequeued."""
    aligner: WatermarkAligner[str, str] = WatermarkAligner(MAX_AHEAD)
    aligner.enqueue("gone", 0.0, "theirs")
    aligner.enqueue("mine", 1_000.0, "mine")
    aligner.drop({"gone"})
    assert (len(aligner), aligner.is_empty("gone"), aligner.is_empty("mine")) == (1, True, False)
    assert list(aligner.dequeue({"gone"}, {"mine"})) == [("mine", "mine")]
