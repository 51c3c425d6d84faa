"""What others may do to the changelog of people: other settings, records cut off, records of a stranger."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import aiokafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.kafka import topics
from tests.delivery.stage import PARTITIONS, Stage


def configure(stage: Stage, **config: str) -> None:
    """Change settings of the topic; dots are written as underscores."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, _topic(stage), incremental_configs=entries)
    admin = _admin(stage)
    _done(admin.incremental_alter_configs([resource]))


def cut_off(stage: Stage) -> None:
    """Delete every record there is; offsets go on from where they are."""
    configure(stage, cleanup_policy="compact,delete")
    ends = [TopicPartition(_topic(stage), partition, -1) for partition in range(PARTITIONS)]
    admin = _admin(stage)
    _done(admin.delete_records(ends))
    configure(stage, cleanup_policy="compact")


def write(stage: Stage, partition: int, key: bytes, value: bytes | None) -> None:
    """Write a record as a stranger does."""

    async def put() -> None:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=stage.broker.bootstrap) as producer:
            await producer.send_and_wait(_topic(stage), value, key=key, partition=partition)

    asyncio.run(put())


def missing(stage: Stage) -> int:
    """Return how many offsets of the topic hold no record any more."""

    async def count() -> int:
        places = [aiokafka.TopicPartition(_topic(stage), partition) for partition in range(PARTITIONS)]
        async with aiokafka.AIOKafkaConsumer(bootstrap_servers=stage.broker.bootstrap) as consumer:
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends, found = await consumer.end_offsets(places), 0
            while any([await consumer.position(place) < ends[place] for place in places]):
                found += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
            return sum(ends.values()) - found

    return asyncio.run(count())


def _topic(stage: Stage) -> str:
    return stage.settings.prefix + topics.PEOPLE


def _admin(stage: Stage) -> AdminClient:
    return AdminClient({"bootstrap.servers": stage.broker.bootstrap})


def _done(futures: dict[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result(30)
