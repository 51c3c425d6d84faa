"""The embedded broker: topics, records, offsets and groups as in Kafka, in a process that ends with its parent."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

from streams.kafka.embedded import EmbeddedBroker

DEADLINE = 60.0
QUICK = {"group_id": "g", "session_timeout_ms": 2000, "heartbeat_interval_ms": 300}


def reachable(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def until(condition, what):
    """Wait for a condition; the deadline only turns a hang into a failure."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


async def send(bootstrap, topic, values, **options):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20) as producer:
        await asyncio.gather(*[await producer.send(topic, value, **options) for value in values])


async def receive(bootstrap, topic, count, **options):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **options)
    await consumer.start()
    try:
        return [await asyncio.wait_for(consumer.getone(), DEADLINE) for _ in range(count)]
    finally:
        await consumer.stop()


async def partitions(bootstrap):
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()


def test_topics_have_the_requested_partitions(embedded_broker):
    """Each topic exists from the start with its own partition count."""
    topics = {"events": 4, "examples": 1, "wide": 12}
    broker = embedded_broker(topics)

    assert asyncio.run(partitions(broker.bootstrap)) == topics
    assert broker.url == f"kafka://{broker.bootstrap}"


def test_records_come_back_with_key_headers_and_time(embedded_broker):
    """A consumer gets the same bytes that the producer sent, in order."""
    broker = embedded_broker({"events": 1})
    headers = [("trace", b"\x00\x01"), ("empty", b"")]
    values = [bytes([i % 256]) * i for i in range(300)]
    sent = {"key": b"who", "headers": headers, "timestamp_ms": 1_700_000_000_000}
    asyncio.run(send(broker.bootstrap, "events", values, **sent))
    records = asyncio.run(receive(broker.bootstrap, "events", len(values)))
    assert [record.value for record in records] == values
    assert [record.offset for record in records] == list(range(300))
    assert {(r.key, r.headers, r.timestamp) for r in records} == {(b"who", tuple(headers), 1_700_000_000_000)}


def test_a_group_continues_from_its_committed_offset(embedded_broker):
    """The next member of a group reads what the previous one had not committed."""
    broker = embedded_broker({"events": 1})
    options = {**QUICK, "enable_auto_commit": False}

    async def scenario():
        await send(broker.bootstrap, "events", [b"%d" % i for i in range(10)])
        first = AIOKafkaConsumer("events", bootstrap_servers=broker.bootstrap, **options)
        await first.start()
        try:
            await first.commit({TopicPartition("events", 0): 7})
        finally:
            await first.stop()
        return await receive(broker.bootstrap, "events", 3, **options)

    assert [record.value for record in asyncio.run(scenario())] == [b"7", b"8", b"9"]


class LeaderLast(RoundRobinPartitionAssignor):
    """Delays the answer of the group's leader until the others have asked, as the embedded broker requires."""

    @classmethod
    def assign(cls, cluster, members):
        """Assign round robin, a little later."""
        time.sleep(0.2 * (len(members) - 1))
        return super().assign(cluster, members)


class Member(threading.Thread):
    """A group member with its own event loop; `held` are its current partitions."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        self.bootstrap, self.held, self.leaving = bootstrap, set(), False
        self.start()

    def run(self):
        """Join, keep `held` up to date, and leave on request."""
        asyncio.run(self._poll())

    async def _poll(self):
        consumer = AIOKafkaConsumer(
            "events",
            bootstrap_servers=self.bootstrap,
            **QUICK,
            partition_assignment_strategy=[LeaderLast],
        )
        await consumer.start()
        while not self.leaving:
            try:
                await consumer.getmany(timeout_ms=100)
            except KafkaError:
                continue
            self.held = {partition.partition for partition in consumer.assignment()}
        await consumer.stop()


def test_a_group_shares_partitions_and_takes_over_those_of_a_leaving_member(embedded_broker):
    """Two members own two partitions each, none in common. When one leaves, the other owns all four."""
    broker = embedded_broker({"events": 4})
    first = Member(broker.bootstrap)
    until(lambda: first.held == {0, 1, 2, 3}, "the first member holds all partitions")
    second = Member(broker.bootstrap)
    until(lambda: len(first.held) == len(second.held) == 2, "both members hold two partitions")
    assert first.held | second.held == {0, 1, 2, 3}
    second.leaving = True
    until(lambda: first.held == {0, 1, 2, 3}, "the first member holds all partitions again")
    first.leaving = True
    first.join(DEADLINE)


def test_close_ends_the_process():
    """After `close` nothing listens any more, and closing again is not an error."""
    broker = EmbeddedBroker({"events": 1})
    broker.start()
    address = broker.bootstrap
    assert reachable(address)
    broker.close()
    broker.close()
    assert not reachable(address)
    assert broker.bootstrap == ""


def test_the_broker_dies_with_a_parent_that_was_killed():
    """A parent that gets SIGKILL cannot stop its broker, which ends all the same."""
    code = (
        "import sys, time; from streams.kafka.embedded import EmbeddedBroker\n"
        "with EmbeddedBroker({'events': 1}) as b: print(b.bootstrap, flush=True); time.sleep(600)"
    )
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[3]}
    with subprocess.Popen([sys.executable, "-c", code], **options) as parent:
        address = parent.stdout.readline().strip()
        assert reachable(address)
        parent.kill()
    until(lambda: not reachable(address), "the broker ends")


def test_a_broker_that_cannot_start_gives_the_reason_in_one_line(monkeypatch, tmp_path):
    """Without the wheel, the error is one line and names the package."""
    (tmp_path / "confluent_kafka.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError) as failure:
        EmbeddedBroker({"events": 1}).start()
    start, _, others = str(failure.value).partition("\n")
    assert start.startswith("the embedded broker did not start: it needs the package confluent-kafka")
    assert others == ""


@pytest.mark.parametrize("topics", [{"no spaces": 1}, {"": 1}, {"..": 1}, {"events": 0}])
def test_topics_that_are_invalid_in_kafka_are_rejected(topics):
    """A name or partition count that is invalid in Kafka is an error here as well."""
    with pytest.raises(ValueError, match="topic"):
        EmbeddedBroker(topics)
