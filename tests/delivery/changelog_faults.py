"""Faults of the users changelog: changed settings, deleted records, records of another owner."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import aiokafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from streams.kafka import topics
from tests.delivery.scenario import PARTITIONS, Scenario


def configure(scenario: Scenario, **config: str) -> None:
    """Change settings of the topic; underscores stand for dots."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, _topic(scenario), incremental_configs=entries)
    admin = _admin(scenario)
    _wait(admin.incremental_alter_configs([resource]))


def truncate(scenario: Scenario) -> None:
    """Delete all records; the next offsets stay as they are."""
    configure(scenario, cleanup_policy="compact,delete")
    ends = [TopicPartition(_topic(scenario), partition, -1) for partition in range(PARTITIONS)]
    admin = _admin(scenario)
    _wait(admin.delete_records(ends))
    configure(scenario, cleanup_policy="compact")


def write(scenario: Scenario, partition: int, key: bytes, value: bytes | None) -> None:
    """Write a record as another owner would."""

    async def put() -> None:
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=scenario.broker.bootstrap) as producer:
            await producer.send_and_wait(_topic(scenario), value, key=key, partition=partition)

    asyncio.run(put())


def count_missing(scenario: Scenario) -> int:
    """Return how many offsets of the topic hold no record any longer."""

    async def count() -> int:
        places = [aiokafka.TopicPartition(_topic(scenario), partition) for partition in range(PARTITIONS)]
        async with aiokafka.AIOKafkaConsumer(bootstrap_servers=scenario.broker.bootstrap) as consumer:
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends, found = await consumer.end_offsets(places), 0
            while any([await consumer.position(place) < ends[place] for place in places]):
                found += sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
            return sum(ends.values()) - found

    return asyncio.run(count())


def _topic(scenario: Scenario) -> str:
    return scenario.settings.prefix + topics.PEOPLE


def _admin(scenario: Scenario) -> AdminClient:
    return AdminClient({"bootstrap.servers": scenario.broker.bootstrap})


def _wait(futures: dict[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result(30)
