"""Batches: rows of any size arrive in order, each in its partition, and how far a group has come with them is known."""

from __future__ import annotations

import asyncio

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient

from streams.history.batches import BATCH_BYTES, BatchProducer, RecordToSend, committed
from streams.kafka.readers import read_all
from streams.settings import Settings


def test_rows_arrive_in_order_however_large(embedded_broker, prefix) -> None:
    """A row that fills a batch by itself, many that fill several, and a partition that gets nothing."""
    settings = Settings(broker=embedded_broker({prefix: 3}).url)
    large = [
        RecordToSend(b"k%d" % number, b"x" * size, number) for number, size in enumerate((400_000, 400_000, 899_000, 5))
    ]
    small = [RecordToSend(None, b"%06d" % number, 10.0, [("h", b"%d" % number)]) for number in range(20_000)]

    async def act() -> tuple[list[int], list[int]]:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap, max_batch_size=BATCH_BYTES)
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
        await producer.start()
        await admin.start()
        try:
            batches = BatchProducer(producer, prefix, 3)
            await batches.write([large[:2], small, []])
            await batches.write([large[2:], [], []])
            consumer = aiokafka.AIOKafkaConsumer(
                group_id=prefix, bootstrap_servers=settings.bootstrap, enable_auto_commit=False
            )
            await consumer.start()
            consumer.assign([aiokafka.TopicPartition(prefix, 1)])
            await consumer.commit({aiokafka.TopicPartition(prefix, 1): 7_000})
            await consumer.stop()
            return batches.ends, await committed(admin, prefix, prefix, 3)
        finally:
            await producer.stop()
            await admin.close()

    assert asyncio.run(act()) == ([4, 20_000, 0], [0, 7_000, 0])
    found: list[list[RecordToSend]] = [[], []]
    for record in asyncio.run(read_all(settings, prefix)):
        headers = list(record.headers) or None
        found[record.partition].append(RecordToSend(record.key, record.value, record.timestamp / 1_000, headers))
    assert found == [large, small]
