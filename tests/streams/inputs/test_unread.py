"""What a consumer has not read, when what it last heard of a partition is older than what it has from the others."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from streams.inputs.unread import Unread

FAST, SLOW = TopicPartition("learning-events", 0), TopicPartition("purchase-events", 0)


class Consumer:
    """A consumer of two partitions: how far it has read, what its answers said, and how far the log goes by now."""

    def __init__(self, read: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> None:
        self.read, self.ends = read, ends
        self.told: dict[TopicPartition, tuple[int, int]] = {}
        self.asked: list[set[TopicPartition]] = []
        self.away = False

    def answer(self, moment: int, **ends: int) -> None:
        self.told |= {{"fast": FAST, "slow": SLOW}[name]: (moment, end) for name, end in ends.items()}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.read)

    async def position(self, place: TopicPartition) -> int:
        return self.read[place]

    def highwater(self, place: TopicPartition) -> int | None:
        return self.told.get(place, (None, None))[1]

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        return self.told.get(place, (None, None))[0]

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked.append(set(places))
        if self.away:
            raise KafkaTimeoutError
        return {place: self.ends[place] for place in places}


def found(consumer: Consumer, *offered: TopicPartition, known: Unread | None = None) -> set[TopicPartition]:
    return asyncio.run((known or Unread()).of(consumer, offered))


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


def test_nobody_is_asked_while_nothing_is_on_offer() -> None:
    """There is nothing that could go too early."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    assert found(consumer) == set()
    assert not consumer.asked


def test_nobody_waits_for_a_partition_that_cannot_be_asked_about() -> None:
    """One without a leader would stop all the others; whether it has one again is asked seldom."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), Unread()
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    consumer.away = True
    assert found(consumer, FAST, known=known) == found(consumer, FAST, known=known) == set()
    assert len(consumer.asked) == 1


def test_what_was_known_of_partitions_that_were_others_is_forgotten() -> None:
    """A topic that was made anew may end before where the old one ended: nobody waits for what is not there."""
    consumer, known = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), Unread()
    consumer.answer(1, slow=1)
    consumer.answer(2, fast=5)
    assert found(consumer, FAST, known=known) == {SLOW}
    known.forget()
    consumer.ends[SLOW] = 1
    assert found(consumer, FAST, known=known) == set()
