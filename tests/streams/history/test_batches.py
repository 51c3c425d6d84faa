"""Batches: records of any size arrive in order and in their partition; committed offsets of a group can be read."""

from __future__ import annotations

import asyncio

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient

from streams.history.batches import BATCH_BYTES, BatchProducer, RecordToSend, committed_offsets
from streams.kafka.readers import read_all
from streams.settings import Settings


def test_rows_arrive_in_order_however_large(embedded_broker, prefix) -> None:
    """Tests a record that fills one batch, records that fill several batches, and a partition without records."""
    settings = Settings(broker=embedded_broker({prefix: 3}).url)
    large = [
        RecordToSend(b"k%d" % number, b"x" * size, number) for number, size in enumerate((400_000, 400_000, 899_000, 5))
    ]
    small = [RecordToSend(None, b"%06d" % number, 10.0, [("h", b"%d" % number)]) for number in range(20_000)]

    async def act() -> tuple[list[int], list[int]]:
        kafka_producer = aiokafka.AIOKafkaProducer(bootstrap_servers=settings.bootstrap, max_batch_size=BATCH_BYTES)
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
        await kafka_producer.start()
        await admin.start()
        try:
            producer = BatchProducer(kafka_producer, prefix, 3)
            await producer.write([large[:2], small, []])
            await producer.write([large[2:], [], []])
            consumer = aiokafka.AIOKafkaConsumer(
                group_id=prefix, bootstrap_servers=settings.bootstrap, enable_auto_commit=False
            )
            await consumer.start()
            consumer.assign([aiokafka.TopicPartition(prefix, 1)])
            await consumer.commit({aiokafka.TopicPartition(prefix, 1): 7_000})
            await consumer.stop()
            return producer.ends, await committed_offsets(admin, prefix, prefix, 3)
        finally:
            await kafka_producer.stop()
            await admin.close()

    assert asyncio.run(act()) == ([4, 20_000, 0], [0, 7_000, 0])
    found: list[list[RecordToSend]] = [[], []]
    for record in asyncio.run(read_all(settings, prefix)):
        headers = list(record.headers) or None
        found[record.partition].append(RecordToSend(record.key, record.value, record.timestamp / 1_000, headers))
    assert found == [large, small]
