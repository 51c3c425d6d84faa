"""deploy/kafka/kafka.sh: a real broker that keeps its data when killed, compacts topics, and accepts more listeners."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError

from tests.harness.kafka import SCRIPT, RealKafka, free_port

DEADLINE = 300.0
SASL = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_ada="secret";'


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def send(bootstrap, topic, records, **security):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **security)
    await producer.start()
    try:
        for key, value in records:
            await producer.send_and_wait(topic, value, key=key, headers=[("n", b"\x00")])
    finally:
        await producer.stop()


async def read(bootstrap, topic, count, **options):
    """The first `count` records, as (key, value, headers)."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **options)
    await consumer.start()
    try:
        records = [await asyncio.wait_for(consumer.getone(), DEADLINE) for _ in range(count)]
        return [(record.key, record.value, record.headers) for record in records]
    finally:
        await consumer.stop()


def test_records_and_offsets_survive_a_kill(own_kafka, prefix):
    """A broker killed with SIGKILL and started again has every acknowledged record and committed offset."""
    topic, group = f"{prefix}-events", f"{prefix}-group"
    records = [(b"k%d" % i, b"v%d" % i) for i in range(50)]
    asyncio.run(own_kafka.create({topic: 1}))
    asyncio.run(send(own_kafka.bootstrap, topic, records))
    before = asyncio.run(read(own_kafka.bootstrap, topic, 20, group_id=group))
    address = own_kafka.bootstrap
    own_kafka.restart()
    after = asyncio.run(read(own_kafka.bootstrap, topic, 30, group_id=group))
    assert before + after == [(key, value, (("n", b"\x00"),)) for key, value in records]
    assert own_kafka.bootstrap == address


def test_a_killed_broker_does_not_answer(own_kafka):
    """`kill` returns when the process is gone, and `close` then removes its data."""
    own_kafka.kill()
    assert not listens(own_kafka.port)
    own_kafka.close()
    assert not own_kafka.folder.exists()


@pytest.mark.kafka(own=True)
def test_a_killed_test_run_leaves_no_broker():
    """A broker and its data disappear soon after its parent process got SIGKILL."""
    code = (
        "import time; from tests.harness.kafka import RealKafka\n"
        "broker = RealKafka(); print(broker.port, broker.folder, flush=True); time.sleep(600)"
    )
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": SCRIPT.parents[2]}
    with subprocess.Popen([sys.executable, "-c", code], **options) as run:
        port, folder = run.stdout.readline().split()
        run.kill()
    deadline = time.monotonic() + DEADLINE
    while Path(folder).exists() or listens(int(port)):
        assert time.monotonic() < deadline, "the broker or its data are still there"
        time.sleep(0.1)


def test_topics_must_be_created(kafka, prefix):
    """A topic has the partitions it was created with; a topic that was not created does not exist."""
    asyncio.run(kafka.create({f"{prefix}-events": 3}))

    async def partitions(*names):
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            answer = await admin.describe_topics(list(names))
        finally:
            await admin.close()
        return {topic["topic"]: (topic["error_code"], len(topic["partitions"])) for topic in answer}

    for _ in range(2):
        expected = {f"{prefix}-events": (0, 3), f"{prefix}-absent": (UnknownTopicOrPartitionError.errno, 0)}
        assert asyncio.run(partitions(f"{prefix}-events", f"{prefix}-absent")) == expected


def test_a_compacted_topic_keeps_only_the_newest_of_each_key(kafka, prefix):
    """With short segments the cleaner soon drops older values of a key, and never the newest."""
    topic = f"{prefix}-state"
    history = [(b"k%d" % i, b"%d-%d" % (turn, i)) for turn in range(10) for i in range(5)]

    async def scenario():
        await kafka.create({topic: 1}, cleanup_policy="compact", segment_ms="50", max_compaction_lag_ms="100")
        await send(kafka.bootstrap, topic, history)
        async with asyncio.timeout(DEADLINE):
            while True:
                await asyncio.sleep(0.2)
                await send(kafka.bootstrap, topic, [(b"end", b"")])
                kept = [(key, value) for key, value, _ in await read_to(kafka.bootstrap, topic, b"end")]
                if len(kept) <= 5:
                    return kept

    assert asyncio.run(scenario()) == history[-5:]


async def read_to(bootstrap, topic, last):
    """All records before the first one whose key is `last`."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found = []
    try:
        async for record in consumer:
            if record.key == last:
                return found
            found.append((record.key, record.value, record.headers))
    finally:
        await consumer.stop()
    return found


@pytest.mark.kafka(own=True)
def test_extra_properties_add_a_listener(prefix):
    """A listener with a password serves clients with that password, and has the same records as the plain one."""
    secured = f"127.0.0.1:{free_port()}"
    extra = (
        f"encore.listeners=SASL_PLAINTEXT://{secured}\n"
        "sasl.enabled.mechanisms=PLAIN\n"
        f"listener.name.sasl_plaintext.plain.sasl.jaas.config={SASL}\n"
    )
    login = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "ada",
        "sasl_plain_password": "secret",
    }
    with RealKafka(extra) as broker:
        asyncio.run(broker.create({f"{prefix}-events": 1}))
        asyncio.run(send(secured, f"{prefix}-events", [(b"k", b"v")], **login))
        expected = [(b"k", b"v", (("n", b"\x00"),))]
        assert asyncio.run(read(broker.bootstrap, f"{prefix}-events", 1)) == expected
        assert asyncio.run(read(secured, f"{prefix}-events", 1, **login)) == expected


@pytest.mark.parametrize("arguments", [[], ["stop"], ["start"], ["start", "folder"], ["fetch", "all"]])
def test_wrong_arguments_are_answered_with_the_usage(arguments):
    """All arguments but `fetch` and `start DIR PORT` fail with one line that names both."""
    run = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
    usage = "kafka.sh: usage: kafka.sh fetch | kafka.sh start DIR PORT [CONTROLLER]\n"
    assert (run.returncode, run.stdout, run.stderr) == (1, "", usage)
