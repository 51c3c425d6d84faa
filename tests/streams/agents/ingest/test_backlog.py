"""What a consumer has not read, when what it last heard of a partition is older than what it has from the others."""

from __future__ import annotations

import asyncio
import time

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaTimeoutError

from streams.agents.ingest.backlog import STOOD_STILL, BacklogMonitor

FAST, SLOW = TopicPartition("learning-events", 0), TopicPartition("purchase-events", 0)
NEWER = 10**14
"""Milliseconds since 1970 that have not come yet."""


class Consumer:
    """A consumer of two partitions: how far it has read, what its answers said, and how far the log goes by now."""

    def __init__(self, read: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> None:
        self.read, self.ends = read, ends
        self.told: dict[TopicPartition, tuple[int, int]] = {}
        self.asked: list[set[TopicPartition]] = []
        self.away = False
        self.going: TopicPartition | None = None
        self.stands_still: dict[TopicPartition, int] = {}

    def answer(self, moment: int, **ends: int) -> None:
        self.told |= {{"fast": FAST, "slow": SLOW}[name]: (moment, end) for name, end in ends.items()}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.read)

    async def position(self, place: TopicPartition) -> int:
        if place == self.going:
            self.read.pop(place)
            raise IllegalStateError
        return self.read[place]

    def highwater(self, place: TopicPartition) -> int | None:
        return self.told.get(place, (None, None))[1]

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        return self.told.get(place, (None, None))[0]

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked.append(set(places))
        if self.away:
            raise KafkaTimeoutError
        said = {place: self.ends[place] for place in places}
        if self.stands_still:  # the process, for some time, with the answer under way
            self.ends, self.stands_still = self.stands_still, {}
            time.sleep(STOOD_STILL * 1.1)
        return said


def found(consumer: Consumer, *offered: TopicPartition, known: BacklogMonitor | None = None) -> set[TopicPartition]:
    return asyncio.run((known or BacklogMonitor()).of(consumer, offered))


def test_an_answer_tells_of_all_partitions_in_it() -> None:
    """Nobody is asked while all that is known came with what is on offer, or after it."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.answer(1, fast=7, slow=1)
    assert found(consumer, FAST) == {FAST}
    consumer.answer(2, fast=5, slow=4)
    assert found(consumer, FAST) == {SLOW}
    consumer.answer(3, slow=1)
    assert found(consumer, FAST) == set()
    assert not consumer.asked


def test_a_partition_that_the_answer_left_out_is_asked_about() -> None:
    """It was read to its end, but that was known of an answer before: by now it has a backlog."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9})
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    assert found(consumer, FAST) == {SLOW}
    assert consumer.asked == [{SLOW}]


def test_a_partition_of_which_nothing_was_heard_is_asked_about() -> None:
    """As right after it was given to us."""
    consumer = Consumer({FAST: 5, SLOW: 0}, {FAST: 5, SLOW: 9})
    consumer.answer(1, fast=5)
    assert found(consumer, FAST) == {SLOW}


def test_a_partition_that_goes_to_another_worker_meanwhile_is_theirs() -> None:
    """What they have not read holds nobody here."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.answer(1, fast=7, slow=9)
    consumer.going = SLOW
    assert found(consumer, FAST) == {FAST}


def test_nobody_is_asked_while_nothing_is_on_offer() -> None:
    """There is nothing that could go too early."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    assert found(consumer) == set()
    assert not consumer.asked


def test_nobody_waits_for_a_partition_that_cannot_be_asked_about() -> None:
    """One without a leader would stop all the others; whether it has one again is asked seldom."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), BacklogMonitor()
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    consumer.away = True
    assert found(consumer, FAST, known=known) == found(consumer, FAST, known=known) == set()
    assert len(consumer.asked) == 1


def test_what_was_asked_counts_until_there_is_a_newer_answer() -> None:
    """Nobody is asked twice of the same, and nobody waits for what is no longer there: a topic may be made anew."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), BacklogMonitor()
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    assert found(consumer, FAST, known=known) == found(consumer, FAST, known=known) == {SLOW}
    assert consumer.asked == [{SLOW}]
    consumer.answer(NEWER, slow=1, fast=5)
    assert found(consumer, FAST, known=known) == set()


def test_who_has_no_more_is_not_asked_again_for_the_same_offer() -> None:
    """As long as others hold what is on offer."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 1}), BacklogMonitor()
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    assert found(consumer, FAST, known=known) == found(consumer, FAST, known=known) == set()
    assert consumer.asked == [{SLOW}]


def test_after_a_standstill_everybody_is_asked() -> None:
    """The answer that waited for us tells of the moment when the first record came, not of the backlog behind it."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), BacklogMonitor()
    consumer.answer(2, fast=5, slow=1)
    assert found(consumer, FAST, known=known) == set()
    time.sleep(STOOD_STILL * 1.1)
    assert found(consumer, known=known) == set()
    assert not consumer.asked
    assert found(consumer, FAST, known=known) == found(consumer, FAST, known=known) == {SLOW}
    assert consumer.asked == [{FAST, SLOW}]


def test_what_was_answered_during_a_standstill_is_asked_again() -> None:
    """The answer may be as old as the standstill is long."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 1}), BacklogMonitor()
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    consumer.stands_still = {FAST: 5, SLOW: 9}
    assert found(consumer, FAST, known=known) == {SLOW}
    assert consumer.asked == [{SLOW}, {SLOW}]


def test_a_long_wait_is_no_standstill() -> None:
    """While the log does not take what was put, the loop goes on, and answers do not wait."""

    async def wait() -> set[TopicPartition]:
        watch = asyncio.ensure_future(known.watch())
        await asyncio.sleep(STOOD_STILL * 1.5)
        watch.cancel()
        return await known.of(consumer, [FAST])

    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9}), BacklogMonitor()
    consumer.answer(2, fast=5, slow=1)
    assert asyncio.run(wait()) == set()
    assert not consumer.asked
