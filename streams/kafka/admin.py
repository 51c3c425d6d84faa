"""Create and check topics, and record which topics the state depends on and which group owns it."""

from __future__ import annotations

import asyncio
import time
from hashlib import blake2b
from typing import Any

import orjson
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from msgspec import Struct

from streams.errors import OperatorError
from streams.kafka import clients, topics
from streams.kafka.readers import read_compacted
from streams.kafka.topics import Topic, name
from streams.settings import Settings

TIMEOUT = 15.0
"""Seconds that the broker has for an answer."""
DEPENDENCIES_KEY = b"topics"
"""Key on `encore-meta`: id and partition count of every topic that the state depends on."""
OWNER_KEY = b"owner"
"""Key on `encore-meta`: the consumer group that owns the state, and a fingerprint of its pseudonym key."""
STATE_TOPICS = (
    topics.PEOPLE, topics.EXAMPLES, topics.SNAPSHOTS, topics.INTERACTIONS, topics.ROWS, topics.LISTS,
)  # fmt: skip
"""Topics that hold state, or whose offsets are part of the state."""
CO_PARTITIONED = (topics.PEOPLE, topics.INTERACTIONS, topics.ROWS)
"""Topics with the same partition count as the log."""
CHECKED_CONFIG = ("cleanup.policy", "min.compaction.lag.ms", "message.timestamp.type")
"""Config entries that must have the required value."""


class TopicDescription(Struct, frozen=True):
    """A topic as the broker describes it; `config` has only the entries that are checked."""

    id: str
    partitions: int
    config: dict[str, str]


def connect(settings: Settings) -> AdminClient:
    """Return an admin client that has reached the broker.

    Raises:
        OperatorError: the broker does not answer.
    """
    try:
        admin = clients.librdkafka_admin(settings, {"socket.connection.setup.timeout.ms": 5_000})
        admin.list_topics(timeout=TIMEOUT)
    except KafkaException as error:
        raise OperatorError(f"no Kafka answers at {settings.broker} ({error.args[0].str()})") from None
    return admin


def describe_topics(admin: AdminClient, settings: Settings) -> dict[str, TopicDescription]:
    """Describe those of Encore's topics that exist, by full name."""
    wanted = [topic.name for topic in topics.topics(settings)]
    present = [topic for topic in wanted if topic in admin.list_topics(timeout=TIMEOUT).topics]
    if not present:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in present]
    configs = {resource.name: future.result() for resource, future in admin.describe_configs(resources).items()}
    described = admin.describe_topics(TopicCollection(present), request_timeout=TIMEOUT)
    return {
        topic: TopicDescription(
            id=str(future.result().topic_id),
            partitions=len(future.result().partitions),
            config={key: configs[topic][key].value for key in CHECKED_CONFIG if key in configs[topic]},
        )
        for topic, future in described.items()
    }


def create_topics(settings: Settings) -> list[str]:
    """Create the missing topics, and record on which topics the state depends.

    Returns:
        One line for each created topic.

    Raises:
        OperatorError: the broker does not answer, an existing topic is wrong, or a topic was deleted and created again
            while state depends on it.
    """
    admin = connect(settings)
    before = describe_topics(admin, settings)
    missing = [topic for topic in topics.topics(settings) if topic.name not in before]
    requests = admin.create_topics([_new_topic(topic, settings) for topic in missing]) if missing else {}
    for topic, future in requests.items():
        try:
            future.result()
        except KafkaException as error:
            raise OperatorError(f"topic {topic} could not be created: {error.args[0].str()}") from None
    existing = _await_topics(admin, settings)
    problems = _config_problems(existing, settings)
    if problems:
        raise OperatorError("; ".join(problems))
    asyncio.run(_record_dependencies(settings, existing))
    return [f"created {topic.name} ({topic.partitions} partitions): {topic.about}" for topic in missing]


def check_topics(settings: Settings) -> dict[str, int]:
    """Check that all topics exist, have the required config, and are those that the state depends on.

    Returns:
        Partition counts by topic.

    Raises:
        OperatorError: what is wrong, in one line.
    """
    if settings.embedded:
        return topics.partitions_of(settings)
    existing, _ = _require_topics(settings)
    return {topic: found.partitions for topic, found in existing.items()}


def claim_state(settings: Settings) -> dict[str, int]:
    """Check the topics as `check_topics` does, and that this worker may use the state; the first worker records it.

    All workers of one state must be in one consumer group. A worker that recovers a partition fences all other writers
    of its changelog, so Kafka has to assign each partition to one worker only.

    Returns:
        Partition counts by topic.

    Raises:
        OperatorError: what is wrong, in one line.
    """
    if settings.embedded:
        return topics.partitions_of(settings)
    existing, meta = _require_topics(settings)
    claim = {"state": existing[name(settings, topics.PEOPLE)].id, **_owner_record(settings)}
    recorded = orjson.loads(meta[OWNER_KEY]) if OWNER_KEY in meta else {}
    if recorded.get("state") != claim["state"]:
        recorded = {}
    if recorded.get("group", settings.group) != settings.group:
        raise OperatorError(f"these topics belong to group {recorded['group']}; another Encore needs another prefix")
    if recorded.get("pseudonym_key", claim["pseudonym_key"]) != claim["pseudonym_key"]:
        raise OperatorError(
            "pseudonym_key is not the one that the state was built with, so erased users would not be recognised; "
            "set the old key, or use another prefix"
        )
    if recorded != claim:
        asyncio.run(publish(settings, topics.META, OWNER_KEY, orjson.dumps(claim)))
    return {topic: found.partitions for topic, found in existing.items()}


def _owner_record(settings: Settings) -> dict[str, str]:
    """Return what all workers of a state have in common; of the pseudonym key, only a fingerprint."""
    key = settings.pseudonym_key.encode()
    return {"group": settings.group, "pseudonym_key": blake2b(b"fingerprint", key=key, digest_size=8).hexdigest()}


def _require_topics(settings: Settings) -> tuple[dict[str, TopicDescription], dict[bytes, bytes]]:
    """Check all topics; return their descriptions and the contents of `encore-meta`."""
    existing = describe_topics(connect(settings), settings)
    problems = [f"{topic.name} is missing" for topic in topics.topics(settings) if topic.name not in existing]
    if problems:
        raise OperatorError("; ".join(problems) + ": run `encore topics create`")
    meta = asyncio.run(read_compacted(settings, name(settings, topics.META)))
    problems = _config_problems(existing, settings)
    problems += _dependency_problems(_recorded_dependencies(meta), existing, settings)
    if problems:
        raise OperatorError("; ".join(problems))
    return existing, meta


def _new_topic(topic: Topic, settings: Settings) -> NewTopic:
    return NewTopic(
        topic.name, num_partitions=topic.partitions, replication_factor=settings.replication, config=topic.config
    )


def _await_topics(admin: AdminClient, settings: Settings) -> dict[str, TopicDescription]:
    """Wait until the broker describes all topics, including new ones."""
    for _ in range(50):
        existing = describe_topics(admin, settings)
        if len(existing) == len({topic.name for topic in topics.topics(settings)}):
            return existing
        time.sleep(0.1)
    raise OperatorError("the broker has created the topics but does not list them")


def _config_problems(existing: dict[str, TopicDescription], settings: Settings) -> list[str]:
    problems = []
    for topic in topics.topics(settings):
        found = existing.get(topic.name)
        if found is None:
            continue
        if topic.partitions == 1 and found.partitions != 1:
            problems.append(f"{topic.name} has {found.partitions} partitions, it must have 1")
        for key in CHECKED_CONFIG:
            if key not in topic.config or found.config.get(key) == topic.config[key]:
                continue
            if not _is_live_stamped(key, found, settings):
                problems.append(f"{topic.name} has {key}={found.config.get(key)}, it must be {topic.config[key]}")
    log = existing.get(name(settings, topics.EVENTS))
    for short in CO_PARTITIONED:
        other = existing.get(name(settings, short))
        if log and other and log.partitions != other.partitions:
            problems.append(
                f"{name(settings, topics.EVENTS)} has {log.partitions} partitions and "
                f"{name(settings, short)} {other.partitions}: they must have the same number"
            )
    return problems


def _is_live_stamped(key: str, found: TopicDescription, settings: Settings) -> bool:
    """Return whether the log has broker timestamps although `clock = source`; a live system may start with a history.

    For such a log, the whole history is in the past.
    """
    stamped = key == "message.timestamp.type" and found.config.get(key) == "LogAppendTime"
    return stamped and settings.clock == "source"


def _dependencies(settings: Settings, existing: dict[str, TopicDescription]) -> dict[str, dict[str, Any]]:
    """Return id and partition count of every topic that holds state, or whose offsets are part of the state."""
    full = [name(settings, topic) for topic in (topics.EVENTS, *STATE_TOPICS, *settings.inputs)]
    return {
        topic: {"id": existing[topic].id, "partitions": existing[topic].partitions}
        for topic in full
        if topic in existing
    }


def _dependency_problems(
    recorded: dict[str, Any] | None, existing: dict[str, TopicDescription], settings: Settings
) -> list[str]:
    if recorded is None:
        return ["no topic ids are recorded: run `encore topics create`"]
    problems = []
    for topic, found in _dependencies(settings, existing).items():
        before = recorded.get(topic, found)
        if before["id"] != found["id"]:
            problems.append(
                f"{topic} was deleted and created again: its offsets start again at 0, and the state built on the old "
                f"offsets would skip new records. Delete {', '.join(name(settings, topic) for topic in STATE_TOPICS)} "
                "too and run `encore topics create`, or use another prefix"
            )
        elif before["partitions"] != found["partitions"]:
            problems.append(
                f"{topic} had {before['partitions']} partitions when the state was built and has {found['partitions']} "
                "now: events of a user would be in another partition than the user's state"
            )
    return problems


def _recorded_dependencies(meta: dict[bytes, bytes]) -> dict[str, Any] | None:
    value = meta.get(DEPENDENCIES_KEY)
    return orjson.loads(value) if value else None


async def _record_dependencies(settings: Settings, existing: dict[str, TopicDescription]) -> None:
    """Record the topics that the state depends on, unless existing state depends on other topics.

    Raises:
        OperatorError: it does.
    """
    recorded = _recorded_dependencies(await read_compacted(settings, name(settings, topics.META)))
    people = name(settings, topics.PEOPLE)
    no_state = recorded is None or people not in recorded or recorded[people]["id"] != existing[people].id
    problems = [] if no_state else _dependency_problems(recorded, existing, settings)
    if problems:
        raise OperatorError("; ".join(problems))
    dependencies = {**({} if no_state else recorded or {}), **_dependencies(settings, existing)}
    await publish(settings, topics.META, DEPENDENCIES_KEY, orjson.dumps(dependencies))


async def publish(settings: Settings, topic: str, key: bytes, value: bytes | None) -> None:
    """Write one record to a topic (without prefix) and wait for its acknowledgement; a value of None is a tombstone."""
    producer = clients.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(name(settings, topic), value, key=key)
    finally:
        await producer.stop()
