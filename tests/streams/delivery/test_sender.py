"""Sending: in the order of the puts, with a flush that is a barrier and a failure that stays."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from streams.delivery.batching import OutgoingRecord
from streams.delivery.lease import PartitionLease
from streams.delivery.sender import Sender
from streams.kafka.topics import partition_of
from tests.streams.doubles import run

Act = Callable[["Stage"], Awaitable[None]]


class Batch:
    """Takes ten records at most."""

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


class Written(NamedTuple):
    """An acknowledgement."""

    offset: int


class Producer:
    """A producer that takes records at once and acknowledges them when told; `refuses` some already when sent."""

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


class Stage:
    """A sender at work on a producer, and the failures it reported."""

    def __init__(self, *refuses: bytes) -> None:
        self.failures: list[BaseException] = []
        self.sender = Sender(self.failures.append)
        self.producer = Producer(refuses)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def staged(act: Act, *refuses: bytes) -> None:
    """Run a test's act beside the sender's own work."""

    async def both() -> None:
        stage = Stage(*refuses)
        work = asyncio.ensure_future(stage.sender.run(stage.producer))
        try:
            await act(stage)
        finally:
            work.cancel()

    run(both)


def test_records_leave_in_the_order_in_which_they_were_put() -> None:
    """With all that belongs to them, and the future of each completes with its own acknowledgement."""

    async def act(stage: Stage) -> None:
        first = stage.sender.enqueue("t", None, b"1", None, [("h", b"v")], 7)
        rest = [stage.sender.enqueue(f"t{n}", None, b"%d" % n) for n in range(2, 30)]
        await turns()
        await turns()
        while len(stage.producer.sent) < 29:
            await turns()
        assert [value for _, value, _ in stage.producer.sent] == [b"%d" % n for n in range(1, 30)]
        assert stage.producer.sent[0] == (
            "t", b"1", {"key": None, "partition": None, "headers": [("h", b"v")], "timestamp_ms": 7},
        )  # fmt: skip
        stage.producer.acks[1].set_result("second")
        await turns()
        assert (first.done(), rest[0].result(), rest[1].done()) == (False, "second", False)

    staged(act)


def test_a_flush_waits_for_everything_put_before_it_and_nothing_after() -> None:
    """It is a barrier: also for records that the producer has not even been given."""

    async def act(stage: Stage) -> None:
        stage.sender.enqueue("t", None, b"1")
        stage.sender.enqueue("t", None, b"2")
        flush = asyncio.ensure_future(stage.sender.flush())
        await turns()
        stage.sender.enqueue("t", None, b"3")
        await turns()
        assert (len(stage.producer.acks), stage.sender.backlog) == (3, 3)
        stage.producer.acks[1].set_result(None)
        await turns()
        assert not flush.done()
        stage.producer.acks[0].set_result(None)
        await turns()
        assert flush.done()
        assert flush.exception() is None
        assert stage.sender.backlog == 1

    staged(act)


def test_an_empty_sender_is_flushed() -> None:
    """There is nothing to wait for."""

    async def act(stage: Stage) -> None:
        await stage.sender.flush()

    staged(act)


def test_a_record_that_the_broker_rejects_fails_every_flush_from_then_on() -> None:
    """The first failure stays, whatever arrives later; whoever made the sender is told once."""

    async def act(stage: Stage) -> None:
        lost = [stage.sender.enqueue("t", None, value) for value in (b"1", b"2", b"3")]
        flush = asyncio.ensure_future(stage.sender.flush())
        await turns()
        stage.producer.acks[1].set_exception(ConnectionError("gone"))
        stage.producer.acks[2].set_exception(ConnectionError("gone too"))
        stage.producer.acks[0].set_result(None)
        await turns()
        assert isinstance(flush.exception(), ConnectionError)
        assert [str(failure) for failure in stage.failures] == ["gone"]
        assert stage.sender.failure is stage.failures[0] is lost[1].exception()
        assert str(lost[2].exception()) == "gone too"
        stage.sender.enqueue("t", None, b"4")
        await turns()
        stage.producer.acks[3].set_result(None)
        with pytest.raises(ConnectionError, match=r"^gone$"):
            await stage.sender.flush()

    staged(act)


def test_a_flush_under_way_does_not_outlive_a_failure_of_what_came_after_it() -> None:
    """Nothing may be committed once anything was lost, though it was put later."""

    async def act(stage: Stage) -> None:
        stage.sender.enqueue("t", None, b"1")
        flush = asyncio.ensure_future(stage.sender.flush())
        await turns()
        stage.sender.enqueue("t", None, b"too large")
        await turns()
        assert isinstance(stage.sender.failure, ValueError)
        stage.producer.acks[0].set_result(None)
        await turns()
        assert isinstance(flush.exception(), ValueError)

    staged(act, b"too large")


def test_a_record_that_the_producer_refuses_is_a_failure_and_the_others_go_on() -> None:
    """Too large, or for no topic: its future says so, and the sender does not stop in the middle."""

    async def act(stage: Stage) -> None:
        refused = stage.sender.enqueue("t", None, b"too large")
        stage.sender.enqueue("t", None, b"fine")
        await turns()
        assert isinstance(refused.exception(), ValueError)
        assert [value for _, value, _ in stage.producer.sent] == [b"fine"]
        assert stage.failures == [refused.exception()]

    staged(act, b"too large")


def test_giving_up_is_a_failure_like_any() -> None:
    """Whoever found a defect elsewhere makes sure that nothing is committed; only the first reason counts."""

    async def act(stage: Stage) -> None:
        stage.sender.enqueue("t", None, b"1")
        stage.sender.fail(RuntimeError("first"))
        stage.sender.fail(RuntimeError("second"))
        with pytest.raises(RuntimeError, match="first"):
            await stage.sender.flush()
        assert len(stage.failures) == 1

    staged(act)


def test_an_acknowledgement_that_nobody_waits_for_any_more_is_no_error() -> None:
    """Whoever put a record may have gone meanwhile."""

    async def act(stage: Stage) -> None:
        put = stage.sender.enqueue("t", None, b"1")
        await turns()
        put.cancel()
        stage.producer.acks[0].set_result(None)
        await turns()
        await stage.sender.flush()
        assert (put.cancelled(), stage.sender.backlog, stage.failures) == (True, 0, [])

    staged(act)


def test_an_acknowledgement_that_the_producer_calls_off_is_a_failure() -> None:
    """A producer that ends in between has not written the record: nothing behind it may be committed."""

    async def act(stage: Stage) -> None:
        stage.sender.enqueue("t", None, b"1")
        await turns()
        stage.producer.acks[0].cancel()
        await turns()
        assert len(stage.failures) == 1
        with pytest.raises(type(stage.failures[0])):
            await stage.sender.flush()

    staged(act)


def test_many_records_of_a_partition_leave_as_batches_in_order() -> None:
    """Each future completes with its own offset; what is too large for a batch's company goes alone, in its place."""

    async def act(stage: Stage) -> None:
        values = [b"%d" % n for n in range(14)] + [b"x" * 60_000] + [b"%d" % n for n in range(15, 30)]
        puts = [stage.sender.enqueue("t", b"k", value, 3, [("h", b"v")]) for value in values]
        while len(stage.producer.sent) < len(values):
            await turns()
        for ack, start in zip(stage.producer.acks, stage.producer.starts, strict=True):
            ack.set_result(Written(100 + start))
        await turns()
        assert [value for _, value, _ in stage.producer.sent] == values
        assert stage.producer.sent[0][2] == {
            "key": b"k", "value": b"0", "partition": 3, "headers": [("h", b"v")], "timestamp": None,
        }  # fmt: skip
        assert sum(stage.producer.batches) > 20
        assert [put.result().offset for put in puts] == [100 + n for n in range(30)]

    staged(act)


def test_records_that_were_put_together_are_acknowledged_together() -> None:
    """In as many batches as they take, among single ones, with the offset of each; a flush waits for all of them."""

    async def act(stage: Stage) -> None:
        rows = [OutgoingRecord(b"k", b"%d" % n) for n in range(25)]
        before = stage.sender.enqueue("t", b"k", b"before", 3)
        lot = stage.sender.enqueue_all("t", 3, rows)
        after = stage.sender.enqueue("t", b"k", b"after", 3)
        flush = asyncio.ensure_future(stage.sender.flush())
        while len(stage.producer.sent) < 27:
            await turns()
        assert [value for _, value, _ in stage.producer.sent] == [b"before", *(row.value for row in rows), b"after"]
        assert stage.producer.batches == [10, 10, 7]
        for start, ack in zip((100, 200, 300), stage.producer.acks, strict=True):
            assert not lot.done()
            assert not flush.done()
            ack.set_result(Written(start))
            await turns()
        assert (before.result().offset, after.result().offset) == (100, 306)
        assert lot.result() == [*range(101, 110), *range(200, 210), *range(300, 306)]
        assert flush.done()
        assert stage.sender.backlog == 0

    staged(act)


def test_a_key_chooses_the_partition_where_none_is_given() -> None:
    """As Kafka's own clients choose it; what goes to one partition goes together, in the order of the puts."""

    async def act(stage: Stage) -> None:
        keys = [b"%d" % (n % 7) for n in range(70)]
        for number, key in enumerate(keys):
            stage.sender.enqueue("t", key, b"%d" % number)
        while len(stage.producer.sent) < len(keys):
            await turns()
        for _, value, record in stage.producer.sent:
            assert record["partition"] == partition_of(keys[int(value or b"")], 5)
        for key in set(keys):
            sent = [int(value or b"") for _, value, record in stage.producer.sent if record["key"] == key]
            assert sent == sorted(sent)
        assert sum(stage.producer.batches) > 40

    staged(act)


def test_a_topic_that_cannot_be_found_is_a_failure() -> None:
    """It is the record's fate, like a refusal."""

    async def act(stage: Stage) -> None:
        async def nowhere(topic: str) -> set[int]:
            raise ConnectionError("no such topic")

        stage.producer.partitions_for = nowhere  # type: ignore[method-assign]
        put = stage.sender.enqueue("t", b"k", b"v")
        await turns()
        assert isinstance(put.exception(), ConnectionError)
        assert (len(stage.failures), stage.sender.backlog) == (1, 0)

    staged(act)


def test_a_batch_that_is_rejected_fails_all_that_is_in_it() -> None:
    """By the producer at once, or by the broker later."""

    async def act(stage: Stage) -> None:
        puts = [stage.sender.enqueue("t", None, b"%d" % n, 0) for n in range(6)]
        await turns()
        stage.producer.acks[0].set_exception(ConnectionError("gone"))
        await turns()
        assert [str(put.exception()) for put in puts] == ["gone"] * 6
        refused = [stage.sender.enqueue("t", None, value, 0) for value in (b"1", b"2", b"too large", b"4")]
        await turns()
        assert all(isinstance(put.exception(), ValueError) for put in refused)
        assert (len(stage.failures), stage.sender.backlog) == (1, 0)

    staged(act, b"too large")


def test_a_partition_does_not_wait_for_another() -> None:
    """One whose broker is away holds up its own records alone."""

    async def act(stage: Stage) -> None:
        slow, quick = asyncio.Event(), stage.producer.send

        async def send(topic: str, value: bytes | None, **rest: Any) -> asyncio.Future[Any]:
            if rest["partition"] == 0:
                await slow.wait()
            return await quick(topic, value, **rest)

        stage.producer.send = send  # type: ignore[method-assign]
        for partition in (0, 1):
            stage.sender.enqueue("t", None, b"%d" % partition, partition)
        await turns()
        assert [value for _, value, _ in stage.producer.sent] == [b"1"]
        slow.set()
        await turns()
        assert [value for _, value, _ in stage.producer.sent] == [b"1", b"0"]

    staged(act)


class Group:
    """What the group thinks of us, as a lease sees it."""

    def __init__(self) -> None:
        self.at, self.member = 0.0, True
        self.lease = PartitionLease(10.0, lambda: self.at)
        self.lease.join(lambda: self.member)


def leased(act: Callable[[Stage, Group], Awaitable[None]]) -> None:
    """Run a test's act beside a sender that holds a lease."""
    group = Group()

    async def both(stage: Stage) -> None:
        stage.sender = Sender(stage.failures.append, group.lease)
        work = asyncio.ensure_future(stage.sender.run(stage.producer))  # type: ignore[arg-type]
        try:
            await act(stage, group)
        finally:
            work.cancel()

    staged(both)


def test_nothing_leaves_while_it_is_unsure_whose_the_partitions_are() -> None:
    """A worker that was frozen waits for a heartbeat's answer; when it is still a member, it goes on."""

    async def act(stage: Stage, group: Group) -> None:
        group.at = 11.0
        stage.sender.enqueue("t", b"k", b"v")
        await asyncio.sleep(0.05)
        assert stage.producer.sent == []
        group.lease.renew(11.0)
        await asyncio.sleep(0.05)
        assert [value for _, value, _ in stage.producer.sent] == [b"v"]

    leased(act)


def test_what_was_put_is_void_once_the_partitions_are_lost() -> None:
    """It never leaves; whoever waits for it is told, a flush ends, and nothing has failed. Later puts leave again."""

    async def act(stage: Stage, group: Group) -> None:
        group.member = False
        void = stage.sender.enqueue("t", b"k", b"void")
        await stage.sender.flush()
        assert void.cancelled()
        assert (stage.producer.sent, stage.failures, stage.sender.backlog) == ([], [], 0)
        assert (stage.sender.take_voided(), stage.sender.take_voided()) == (True, False)
        group.lease.join(lambda: True)
        stage.sender.enqueue("t", b"k", b"v")
        await asyncio.sleep(0.05)
        assert [value for _, value, _ in stage.producer.sent] == [b"v"]

    leased(act)


def test_what_waits_for_something_leaves_behind_it_and_a_flush_waits_as_well() -> None:
    """Other partitions go on; what is put behind it for its own keeps its place."""

    async def act(stage: Stage) -> None:
        first = stage.sender.enqueue_all("words", 0, [OutgoingRecord(b"k", b"word")])
        stage.sender.enqueue_all("t", 3, [OutgoingRecord(b"k", b"before")] * 4)
        lot = stage.sender.enqueue_all("t", 3, [OutgoingRecord(b"k", b"%d" % n) for n in range(5)], first)
        behind = stage.sender.enqueue("t", b"k", b"behind", 3)
        stage.sender.enqueue("t", b"k", b"elsewhere", 4)
        flush = asyncio.ensure_future(stage.sender.flush())
        await turns()
        assert {value for _, value, _ in stage.producer.sent} == {b"word", b"elsewhere", b"before"}
        for place, ack in enumerate(stage.producer.acks):
            ack.set_result(Written(place))
        while len(stage.producer.sent) < 12:
            await turns()
        assert [value for _, value, _ in stage.producer.sent[6:]] == [*(b"%d" % n for n in range(5)), b"behind"]
        assert not flush.done()
        stage.producer.acks[-1].set_result(Written(10))
        await turns()
        assert (lot.result(), behind.result().offset, flush.done()) == ([10, 11, 12, 13, 14], 15, True)

    staged(act)


@pytest.mark.parametrize("cancelled", [True, False])
def test_what_waits_for_something_that_never_happens_is_a_failure(cancelled: bool) -> None:
    """Nothing may be committed: whoever counts on it would never know. What is behind it leaves."""

    async def act(stage: Stage) -> None:
        first = asyncio.get_running_loop().create_future()
        hindered = stage.sender.enqueue_all("t", 3, [OutgoingRecord(b"k", b"hindered")] * 5, first)
        stage.sender.enqueue("t", b"k", b"behind", 3)
        if cancelled:
            first.cancel()
        else:
            first.set_exception(ConnectionAbortedError("gone"))
        while not stage.producer.sent:
            await turns()
        assert [value for _, value, _ in stage.producer.sent] == [b"behind"]
        assert (stage.failures, stage.sender.backlog) == ([hindered.exception()], 1)
        with pytest.raises(ConnectionAbortedError):
            await stage.sender.flush()

    staged(act)
