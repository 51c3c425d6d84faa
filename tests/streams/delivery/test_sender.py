"""Sender: records leave in the order of enqueueing, a flush is a barrier, and a failure is permanent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from streams.delivery.batching import OutgoingRecord
from streams.delivery.lease import PartitionLease
from streams.delivery.sender import Sender
from streams.kafka.topics import partition_of
from tests.streams.doubles import run

Act = Callable[["Harness"], Awaitable[None]]


class Batch:
    """A produce batch of at most ten records."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.closed = False

    def append(self, **record: Any) -> object | None:
        if len(self.records) == 10:
            return None
        self.records.append(record)
        return object()

    def close(self) -> None:
        self.closed = True


class Acknowledged(NamedTuple):
    """The metadata of an acknowledgement."""

    offset: int


class Producer:
    """Accepts records at once; a test acknowledges them. Values in `refuses` are rejected when sent."""

    def __init__(self, refuses: tuple[bytes, ...] = ()) -> None:
        self.sent: list[tuple[str, bytes | None, dict[str, Any]]] = []
        self.acks: list[asyncio.Future[Any]] = []
        self.starts: list[int] = []
        self.batches: list[int] = []
        self.refuses = refuses

    async def send(self, topic: str, value: bytes | None, **rest: Any) -> asyncio.Future[Any]:
        self.refuse([value])
        self.starts.append(len(self.sent))
        self.sent.append((topic, value, rest))
        self.acks.append(asyncio.get_running_loop().create_future())
        return self.acks[-1]

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2, 3, 4}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, partition: int) -> asyncio.Future[Any]:
        assert batch.closed
        self.refuse([record["value"] for record in batch.records])
        self.starts.append(len(self.sent))
        self.sent += [(topic, record["value"], record | {"partition": partition}) for record in batch.records]
        self.batches.append(len(batch.records))
        self.acks.append(asyncio.get_running_loop().create_future())
        return self.acks[-1]

    def refuse(self, values: list[bytes | None]) -> None:
        for value in values:
            if value in self.refuses:
                raise ValueError(f"{value!r} is too large")


class Harness:
    """A sender with a producer, and the failures that it reported."""

    def __init__(self, *refuses: bytes) -> None:
        self.failures: list[BaseException] = []
        self.sender = Sender(self.failures.append)
        self.producer = Producer(refuses)


async def turns() -> None:
    """Let other tasks run."""
    for _ in range(5):
        await asyncio.sleep(0)


def run_sender(act: Act, *refuses: bytes) -> None:
    """Run a test while the sender runs."""

    async def both() -> None:
        harness = Harness(*refuses)
        work = asyncio.ensure_future(harness.sender.run(harness.producer))
        try:
            await act(harness)
        finally:
            work.cancel()

    run(both)


def test_records_leave_in_the_order_of_enqueueing() -> None:
    """Headers and timestamps are kept. Each future completes with the acknowledgement of its own record."""

    async def act(harness: Harness) -> None:
        first = harness.sender.enqueue("t", None, b"1", None, [("h", b"v")], 7)
        rest = [harness.sender.enqueue(f"t{n}", None, b"%d" % n) for n in range(2, 30)]
        await turns()
        await turns()
        while len(harness.producer.sent) < 29:
            await turns()
        assert [value for _, value, _ in harness.producer.sent] == [b"%d" % n for n in range(1, 30)]
        assert harness.producer.sent[0] == (
            "t", b"1", {"key": None, "partition": None, "headers": [("h", b"v")], "timestamp_ms": 7},
        )  # fmt: skip
        harness.producer.acks[1].set_result("second")
        await turns()
        assert (first.done(), rest[0].result(), rest[1].done()) == (False, "second", False)

    run_sender(act)


def test_a_flush_waits_for_earlier_records_and_no_later_ones() -> None:
    """It is a barrier also for records that the producer does not have yet."""

    async def act(harness: Harness) -> None:
        harness.sender.enqueue("t", None, b"1")
        harness.sender.enqueue("t", None, b"2")
        flush = asyncio.ensure_future(harness.sender.flush())
        await turns()
        harness.sender.enqueue("t", None, b"3")
        await turns()
        assert (len(harness.producer.acks), harness.sender.backlog) == (3, 3)
        harness.producer.acks[1].set_result(None)
        await turns()
        assert not flush.done()
        harness.producer.acks[0].set_result(None)
        await turns()
        assert flush.done()
        assert flush.exception() is None
        assert harness.sender.backlog == 1

    run_sender(act)


def test_an_empty_sender_flushes_at_once() -> None:
    """No record is open."""

    async def act(harness: Harness) -> None:
        await harness.sender.flush()

    run_sender(act)


def test_a_rejected_record_fails_every_later_flush() -> None:
    """The first failure stays, whatever is acknowledged later. `on_failure` is called once."""

    async def act(harness: Harness) -> None:
        lost = [harness.sender.enqueue("t", None, value) for value in (b"1", b"2", b"3")]
        flush = asyncio.ensure_future(harness.sender.flush())
        await turns()
        harness.producer.acks[1].set_exception(ConnectionError("gone"))
        harness.producer.acks[2].set_exception(ConnectionError("gone too"))
        harness.producer.acks[0].set_result(None)
        await turns()
        assert isinstance(flush.exception(), ConnectionError)
        assert [str(failure) for failure in harness.failures] == ["gone"]
        assert harness.sender.failure is harness.failures[0] is lost[1].exception()
        assert str(lost[2].exception()) == "gone too"
        harness.sender.enqueue("t", None, b"4")
        await turns()
        harness.producer.acks[3].set_result(None)
        with pytest.raises(ConnectionError, match=r"^gone$"):
            await harness.sender.flush()

    run_sender(act)


def test_a_running_flush_fails_with_a_later_record() -> None:
    """After any loss nothing may be committed, even if the lost record was enqueued later."""

    async def act(harness: Harness) -> None:
        harness.sender.enqueue("t", None, b"1")
        flush = asyncio.ensure_future(harness.sender.flush())
        await turns()
        harness.sender.enqueue("t", None, b"too large")
        await turns()
        assert isinstance(harness.sender.failure, ValueError)
        harness.producer.acks[0].set_result(None)
        await turns()
        assert isinstance(flush.exception(), ValueError)

    run_sender(act, b"too large")


def test_a_record_that_the_producer_rejects_is_a_failure_and_others_are_sent() -> None:
    """Its future has the error, for example if it is too large. The sender continues."""

    async def act(harness: Harness) -> None:
        refused = harness.sender.enqueue("t", None, b"too large")
        harness.sender.enqueue("t", None, b"fine")
        await turns()
        assert isinstance(refused.exception(), ValueError)
        assert [value for _, value, _ in harness.producer.sent] == [b"fine"]
        assert harness.failures == [refused.exception()]

    run_sender(act, b"too large")


def test_fail_fails_every_flush() -> None:
    """The caller found a defect elsewhere, and nothing may be committed. Only the first error counts."""

    async def act(harness: Harness) -> None:
        harness.sender.enqueue("t", None, b"1")
        harness.sender.fail(RuntimeError("first"))
        harness.sender.fail(RuntimeError("second"))
        with pytest.raises(RuntimeError, match="first"):
            await harness.sender.flush()
        assert len(harness.failures) == 1

    run_sender(act)


def test_an_acknowledgement_for_a_cancelled_future_is_no_error() -> None:
    """The task that enqueued the record may have been cancelled."""

    async def act(harness: Harness) -> None:
        done = harness.sender.enqueue("t", None, b"1")
        await turns()
        done.cancel()
        harness.producer.acks[0].set_result(None)
        await turns()
        await harness.sender.flush()
        assert (done.cancelled(), harness.sender.backlog, harness.failures) == (True, 0, [])

    run_sender(act)


def test_an_acknowledgement_that_the_producer_cancels_is_a_failure() -> None:
    """A producer that stopped has not written the record: no later offset may be committed."""

    async def act(harness: Harness) -> None:
        harness.sender.enqueue("t", None, b"1")
        await turns()
        harness.producer.acks[0].cancel()
        await turns()
        assert len(harness.failures) == 1
        with pytest.raises(type(harness.failures[0])):
            await harness.sender.flush()

    run_sender(act)


def test_many_records_of_a_partition_leave_as_batches_in_order() -> None:
    """Each future completes with its own offset. A large record is sent alone, in its order."""

    async def act(harness: Harness) -> None:
        values = [b"%d" % n for n in range(14)] + [b"x" * 60_000] + [b"%d" % n for n in range(15, 30)]
        futures = [harness.sender.enqueue("t", b"k", value, 3, [("h", b"v")]) for value in values]
        while len(harness.producer.sent) < len(values):
            await turns()
        for ack, start in zip(harness.producer.acks, harness.producer.starts, strict=True):
            ack.set_result(Acknowledged(100 + start))
        await turns()
        assert [value for _, value, _ in harness.producer.sent] == values
        assert harness.producer.sent[0][2] == {
            "key": b"k", "value": b"0", "partition": 3, "headers": [("h", b"v")], "timestamp": None,
        }  # fmt: skip
        assert sum(harness.producer.batches) > 20
        assert [future.result().offset for future in futures] == [100 + n for n in range(30)]

    run_sender(act)


def test_records_enqueued_together_are_acknowledged_together() -> None:
    """They take several batches, with single records around them. The result has all offsets; a flush waits for all."""

    async def act(harness: Harness) -> None:
        rows = [OutgoingRecord(b"k", b"%d" % n) for n in range(25)]
        before = harness.sender.enqueue("t", b"k", b"before", 3)
        together = harness.sender.enqueue_all("t", 3, rows)
        after = harness.sender.enqueue("t", b"k", b"after", 3)
        flush = asyncio.ensure_future(harness.sender.flush())
        while len(harness.producer.sent) < 27:
            await turns()
        assert [value for _, value, _ in harness.producer.sent] == [b"before", *(row.value for row in rows), b"after"]
        assert harness.producer.batches == [10, 10, 7]
        for start, ack in zip((100, 200, 300), harness.producer.acks, strict=True):
            assert not together.done()
            assert not flush.done()
            ack.set_result(Acknowledged(start))
            await turns()
        assert (before.result().offset, after.result().offset) == (100, 306)
        assert together.result() == [*range(101, 110), *range(200, 210), *range(300, 306)]
        assert flush.done()
        assert harness.sender.backlog == 0

    run_sender(act)


def test_a_key_chooses_the_partition_if_none_is_given() -> None:
    """The choice equals that of Kafka's clients. Records of a partition are batched, in the order of enqueueing."""

    async def act(harness: Harness) -> None:
        keys = [b"%d" % (n % 7) for n in range(70)]
        for number, key in enumerate(keys):
            harness.sender.enqueue("t", key, b"%d" % number)
        while len(harness.producer.sent) < len(keys):
            await turns()
        for _, value, record in harness.producer.sent:
            assert record["partition"] == partition_of(keys[int(value or b"")], 5)
        for key in set(keys):
            sent = [int(value or b"") for _, value, record in harness.producer.sent if record["key"] == key]
            assert sent == sorted(sent)
        assert sum(harness.producer.batches) > 40

    run_sender(act)


def test_a_topic_that_cannot_be_found_is_a_failure() -> None:
    """The record fails, like a rejected one."""

    async def act(harness: Harness) -> None:
        async def nowhere(topic: str) -> set[int]:
            raise ConnectionError("no such topic")

        harness.producer.partitions_for = nowhere  # type: ignore[method-assign]
        done = harness.sender.enqueue("t", b"k", b"v")
        await turns()
        assert isinstance(done.exception(), ConnectionError)
        assert (len(harness.failures), harness.sender.backlog) == (1, 0)

    run_sender(act)


def test_a_rejected_batch_fails_all_its_records() -> None:
    """The producer rejects it at once, or the broker later."""

    async def act(harness: Harness) -> None:
        futures = [harness.sender.enqueue("t", None, b"%d" % n, 0) for n in range(6)]
        await turns()
        harness.producer.acks[0].set_exception(ConnectionError("gone"))
        await turns()
        assert [str(future.exception()) for future in futures] == ["gone"] * 6
        refused = [harness.sender.enqueue("t", None, value, 0) for value in (b"1", b"2", b"too large", b"4")]
        await turns()
        assert all(isinstance(future.exception(), ValueError) for future in refused)
        assert (len(harness.failures), harness.sender.backlog) == (1, 0)

    run_sender(act, b"too large")


def test_a_partition_does_not_wait_for_another() -> None:
    """If the broker of a partition is away, only the records of that partition wait."""

    async def act(harness: Harness) -> None:
        slow, quick = asyncio.Event(), harness.producer.send

        async def send(topic: str, value: bytes | None, **rest: Any) -> asyncio.Future[Any]:
            if rest["partition"] == 0:
                await slow.wait()
            return await quick(topic, value, **rest)

        harness.producer.send = send  # type: ignore[method-assign]
        for partition in (0, 1):
            harness.sender.enqueue("t", None, b"%d" % partition, partition)
        await turns()
        assert [value for _, value, _ in harness.producer.sent] == [b"1"]
        slow.set()
        await turns()
        assert [value for _, value, _ in harness.producer.sent] == [b"1", b"0"]

    run_sender(act)


class Group:
    """A lease whose clock and membership a test sets."""

    def __init__(self) -> None:
        self.at, self.member = 0.0, True
        self.lease = PartitionLease(10.0, lambda: self.at)
        self.lease.join(lambda: self.member)


def run_with_lease(act: Callable[[Harness, Group], Awaitable[None]]) -> None:
    """Run a test while a sender with a lease runs."""
    group = Group()

    async def both(harness: Harness) -> None:
        harness.sender = Sender(harness.failures.append, group.lease)
        work = asyncio.ensure_future(harness.sender.run(harness.producer))  # type: ignore[arg-type]
        try:
            await act(harness, group)
        finally:
            work.cancel()

    run_sender(both)


def test_no_record_leaves_while_the_lease_is_unsure() -> None:
    """A worker that was frozen waits for a heartbeat. If it is still a member, it continues."""

    async def act(harness: Harness, group: Group) -> None:
        group.at = 11.0
        harness.sender.enqueue("t", b"k", b"v")
        await asyncio.sleep(0.05)
        assert harness.producer.sent == []
        group.lease.renew(11.0)
        await asyncio.sleep(0.05)
        assert [value for _, value, _ in harness.producer.sent] == [b"v"]

    run_with_lease(act)


def test_queued_records_are_discarded_once_the_partitions_are_lost() -> None:
    """Their futures are cancelled, a flush ends, and the sender has not failed. Later records leave."""

    async def act(harness: Harness, group: Group) -> None:
        group.member = False
        void = harness.sender.enqueue("t", b"k", b"void")
        await harness.sender.flush()
        assert void.cancelled()
        assert (harness.producer.sent, harness.failures, harness.sender.backlog) == ([], [], 0)
        assert (harness.sender.take_voided(), harness.sender.take_voided()) == (True, False)
        group.lease.join(lambda: True)
        harness.sender.enqueue("t", b"k", b"v")
        await asyncio.sleep(0.05)
        assert [value for _, value, _ in harness.producer.sent] == [b"v"]

    run_with_lease(act)


def test_records_with_a_prior_future_leave_after_it_and_a_flush_waits() -> None:
    """Other partitions continue. Later records of the same partition keep their order."""

    async def act(harness: Harness) -> None:
        first = harness.sender.enqueue_all("outputs", 0, [OutgoingRecord(b"k", b"output")])
        harness.sender.enqueue_all("t", 3, [OutgoingRecord(b"k", b"before")] * 4)
        together = harness.sender.enqueue_all("t", 3, [OutgoingRecord(b"k", b"%d" % n) for n in range(5)], first)
        behind = harness.sender.enqueue("t", b"k", b"behind", 3)
        harness.sender.enqueue("t", b"k", b"elsewhere", 4)
        flush = asyncio.ensure_future(harness.sender.flush())
        await turns()
        assert {value for _, value, _ in harness.producer.sent} == {b"output", b"elsewhere", b"before"}
        for offset, ack in enumerate(harness.producer.acks):
            ack.set_result(Acknowledged(offset))
        while len(harness.producer.sent) < 12:
            await turns()
        assert [value for _, value, _ in harness.producer.sent[6:]] == [*(b"%d" % n for n in range(5)), b"behind"]
        assert not flush.done()
        harness.producer.acks[-1].set_result(Acknowledged(10))
        await turns()
        assert (together.result(), behind.result().offset, flush.done()) == ([10, 11, 12, 13, 14], 15, True)

    run_sender(act)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_prior_future_that_fails_is_a_failure(cancelled: bool) -> None:
    """Nothing may be committed, because the records were not written. Later records of the partition leave."""

    async def act(harness: Harness) -> None:
        first = asyncio.get_running_loop().create_future()
        failed = harness.sender.enqueue_all("t", 3, [OutgoingRecord(b"k", b"failed")] * 5, first)
        harness.sender.enqueue("t", b"k", b"behind", 3)
        if cancelled:
            first.cancel()
        else:
            first.set_exception(ConnectionAbortedError("gone"))
        while not harness.producer.sent:
            await turns()
        assert [value for _, value, _ in harness.producer.sent] == [b"behind"]
        assert (harness.failures, harness.sender.backlog) == ([failed.exception()], 1)
        with pytest.raises(ConnectionAbortedError):
            await harness.sender.flush()

    run_sender(act)
