"""Unread partitions are found, even if the consumer's high watermark is older than the other partitions' records."""

from __future__ import annotations

import asyncio
import time

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaTimeoutError

from streams.agents.ingest.backlog import PAUSE_THRESHOLD, BacklogMonitor

FAST, SLOW = TopicPartition("learning-events", 0), TopicPartition("purchase-events", 0)
NEWER = 10**14
"""A time in the future, in milliseconds since 1970."""


class Consumer:
    """A consumer of two partitions: its positions, its last fetch responses, and where the log ends by now."""

    def __init__(self, read: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> None:
        self.read, self.ends = read, ends
        self.responses: dict[TopicPartition, tuple[int, int]] = {}
        self.queried: list[set[TopicPartition]] = []
        self.unreachable = False
        self.revoking: TopicPartition | None = None
        self.ends_after_pause: dict[TopicPartition, int] = {}

    def respond(self, moment: int, **ends: int) -> None:
        """Receive a fetch response with high watermarks."""
        self.responses |= {{"fast": FAST, "slow": SLOW}[name]: (moment, end) for name, end in ends.items()}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.read)

    async def position(self, partition: TopicPartition) -> int:
        if partition == self.revoking:
            self.read.pop(partition)
            raise IllegalStateError
        return self.read[partition]

    def highwater(self, partition: TopicPartition) -> int | None:
        return self.responses.get(partition, (None, None))[1]

    def last_poll_timestamp(self, partition: TopicPartition) -> int | None:
        return self.responses.get(partition, (None, None))[0]

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        self.queried.append(set(partitions))
        if self.unreachable:
            raise KafkaTimeoutError
        answer = {partition: self.ends[partition] for partition in partitions}
        if self.ends_after_pause:  # the process pauses while the answer is under way
            self.ends, self.ends_after_pause = self.ends_after_pause, {}
            time.sleep(PAUSE_THRESHOLD * 1.1)
        return answer


def found(consumer: Consumer, *queued: TopicPartition, monitor: BacklogMonitor | None = None) -> set[TopicPartition]:
    return asyncio.run((monitor or BacklogMonitor()).find_backlogged(consumer, queued))


def test_a_response_contains_all_its_partitions_ends() -> None:
    """No broker is queried while all known ends came with the queued records, or after them."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.respond(1, fast=7, slow=1)
    assert found(consumer, FAST) == {FAST}
    consumer.respond(2, fast=5, slow=4)
    assert found(consumer, FAST) == {SLOW}
    consumer.respond(3, slow=1)
    assert found(consumer, FAST) == set()
    assert not consumer.queried


def test_a_partition_that_the_response_left_out_is_queried() -> None:
    """It was fully read according to an earlier response, but by now it has a backlog."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9})
    consumer.respond(1, slow=1)
    consumer.respond(2, fast=5)
    assert found(consumer, FAST) == {SLOW}
    assert consumer.queried == [{SLOW}]


def test_a_partition_without_any_response_is_queried() -> None:
    """As right after it was assigned."""
    consumer = Consumer({FAST: 5, SLOW: 0}, {FAST: 5, SLOW: 9})
    consumer.respond(1, fast=5)
    assert found(consumer, FAST) == {SLOW}


def test_a_partition_that_is_revoked_meanwhile_is_left_out() -> None:
    """Another worker's backlog holds back no partition here."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.respond(1, fast=7, slow=9)
    consumer.revoking = SLOW
    assert found(consumer, FAST) == {FAST}


def test_no_broker_is_queried_while_nothing_is_queued() -> None:
    """No record could pass too early."""
    consumer = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9})
    consumer.respond(1, slow=1)
    consumer.respond(2, fast=5)
    assert found(consumer) == set()
    assert not consumer.queried


def test_no_partition_waits_for_one_that_cannot_be_queried() -> None:
    """One without a leader would stop all the others; after a failure, queries are rare."""
    consumer, monitor = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), BacklogMonitor()
    consumer.respond(1, slow=1)
    consumer.respond(2, fast=5)
    consumer.unreachable = True
    assert found(consumer, FAST, monitor=monitor) == found(consumer, FAST, monitor=monitor) == set()
    assert len(consumer.queried) == 1


def test_a_queried_end_counts_until_a_newer_response() -> None:
    """No end is queried twice, and no partition waits for records that are gone: a topic may be created anew."""
    consumer, monitor = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), BacklogMonitor()
    consumer.respond(1, slow=1)
    consumer.respond(2, fast=5)
    assert found(consumer, FAST, monitor=monitor) == found(consumer, FAST, monitor=monitor) == {SLOW}
    assert consumer.queried == [{SLOW}]
    consumer.respond(NEWER, slow=1, fast=5)
    assert found(consumer, FAST, monitor=monitor) == set()


def test_a_partition_without_backlog_is_not_queried_again_for_the_same_records() -> None:
    """As long as the queued records are held back by others."""
    consumer, monitor = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 1}), BacklogMonitor()
    consumer.respond(1, slow=1)
    consumer.respond(2, fast=5)
    assert found(consumer, FAST, monitor=monitor) == found(consumer, FAST, monitor=monitor) == set()
    assert consumer.queried == [{SLOW}]


def test_after_a_pause_all_partitions_are_queried() -> None:
    """The response that waited has the end at the moment of the first record, not the backlog behind it."""
    consumer, monitor = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 9}), BacklogMonitor()
    consumer.respond(2, fast=5, slow=1)
    assert found(consumer, FAST, monitor=monitor) == set()
    time.sleep(PAUSE_THRESHOLD * 1.1)
    assert found(consumer, monitor=monitor) == set()
    assert not consumer.queried
    assert found(consumer, FAST, monitor=monitor) == found(consumer, FAST, monitor=monitor) == {SLOW}
    assert consumer.queried == [{FAST, SLOW}]


def test_an_answer_received_during_a_pause_is_queried_again() -> None:
    """The answer may be as old as the pause is long."""
    consumer, monitor = Consumer({FAST: 5, SLOW: 1}, {FAST: 5, SLOW: 1}), BacklogMonitor()
    consumer.respond(1, slow=1)
    consumer.respond(2, fast=5)
    consumer.ends_after_pause = {FAST: 5, SLOW: 9}
    assert found(consumer, FAST, monitor=monitor) == {SLOW}
    assert consumer.queried == [{SLOW}, {SLOW}]


def test_a_long_wait_is_no_pause() -> None:
    """While ingest waits for acknowledgements, the event loop goes on, and responses do not wait."""

    async def wait() -> set[TopicPartition]:
        watch = asyncio.ensure_future(monitor.watch_for_pauses())
        await asyncio.sleep(PAUSE_THRESHOLD * 1.5)
        watch.cancel()
        return await monitor.find_backlogged(consumer, [FAST])

    consumer, monitor = Consumer({FAST: 5, SLOW: 1}, {FAST: 9, SLOW: 9}), BacklogMonitor()
    consumer.respond(2, fast=5, slow=1)
    assert asyncio.run(wait()) == set()
    assert not consumer.queried
