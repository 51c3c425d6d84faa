"""Topics made and checked, and the memory of which ones the state was built on."""

from __future__ import annotations

import asyncio
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
DEPENDENCIES_KEY = b"topics"
OWNER_KEY = b"owner"
STATE_TOPICS = (
    topics.PEOPLE, topics.EXAMPLES, topics.SNAPSHOTS, topics.INTERACTIONS, topics.ROWS, topics.LISTS,
)  # fmt: skip
"""What state is, or holds offsets of."""
CO_PARTITIONED = (topics.PEOPLE, topics.INTERACTIONS, topics.ROWS)
"""Topics with as many partitions as the log."""
CHECKED_CONFIG = ("cleanup.policy", "min.compaction.lag.ms", "message.timestamp.type")


class TopicDescription(Struct, frozen=True):
    """A topic as the broker has it."""

    id: str
    partitions: int
    config: dict[str, str]


def connect(settings: Settings) -> AdminClient:
    """Return an admin client that has reached the broker.

    Raises:
        OperatorError: nobody answers there.
    """
    try:
        admin = clients.librdkafka_admin(settings, {"socket.connection.setup.timeout.ms": 5_000})
        admin.list_topics(timeout=TIMEOUT)
    except KafkaException as error:
        raise OperatorError(f"no Kafka answers at {settings.broker} ({error.args[0].str()})") from None
    return admin


def describe_topics(admin: AdminClient, settings: Settings) -> dict[str, TopicDescription]:
    """Return those of our topics that the broker has."""
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
    """Make the topics that are missing, and note which ones the state is built on from now on.

    Returns:
        A line for every topic made.

    Raises:
        OperatorError: no broker, a topic that is there but wrong, or one that was made again under standing state.
    """
    admin = connect(settings)
    before = describe_topics(admin, settings)
    missing = [topic for topic in topics.topics(settings) if topic.name not in before]
    for topic, future in (
        admin.create_topics([_new_topic(topic, settings) for topic in missing]).items() if missing else []
    ):
        try:
            future.result()
        except KafkaException as error:
            raise OperatorError(f"topic {topic} could not be made: {error.args[0].str()}") from None
    now = _await_topics(admin, settings)
    problems = _config_problems(now, settings)
    if problems:
        raise OperatorError("; ".join(problems))
    asyncio.run(_record_dependencies(settings, now))
    return [f"made {topic.name} ({topic.partitions} partitions): {topic.about}" for topic in missing]


def check_topics(settings: Settings) -> dict[str, int]:
    """Check that all topics are there, as they have to be, and those the state was built on.

    Returns:
        The number of partitions of each topic.

    Raises:
        OperatorError: what is wrong, in one line.
    """
    if settings.embedded:
        return topics.partitions_of(settings)
    now, _ = _require_topics(settings)
    return {topic: there.partitions for topic, there in now.items()}


def claim_state(settings: Settings) -> dict[str, int]:
    """Check as `check` does, and that a worker may work on this state; the first one's word for whose it is, is noted.

    Whoever recovers a partition raises a fence above all that others write to its changelog, so the workers of one
    state have to be of one group, which gives each partition to one of them.

    Returns:
        The number of partitions of each topic.

    Raises:
        OperatorError: what is wrong, in one line.
    """
    if settings.embedded:
        return topics.partitions_of(settings)
    now, meta = _require_topics(settings)
    mine = {"state": now[name(settings, topics.PEOPLE)].id, **_owner_record(settings)}
    noted = orjson.loads(meta[OWNER_KEY]) if OWNER_KEY in meta else {}
    if noted.get("state") != mine["state"]:
        noted = {}
    if noted.get("group", settings.group) != settings.group:
        raise OperatorError(f"these topics belong to group {noted['group']}; another Encore needs another prefix")
    if noted.get("pseudonym_key", mine["pseudonym_key"]) != mine["pseudonym_key"]:
        raise OperatorError(
            "pseudonym_key is not the one that the state was built with: who was erased would not be known again; "
            "set the old one, or take another prefix"
        )
    if noted != mine:
        asyncio.run(publish(settings, topics.META, OWNER_KEY, orjson.dumps(mine)))
    return {topic: there.partitions for topic, there in now.items()}


def _owner_record(settings: Settings) -> dict[str, str]:
    """Return what all workers of a state have to have in common; of the key, only what tells it from another."""
    key = settings.pseudonym_key.encode()
    return {"group": settings.group, "pseudonym_key": blake2b(b"fingerprint", key=key, digest_size=8).hexdigest()}


def _require_topics(settings: Settings) -> tuple[dict[str, TopicDescription], dict[bytes, bytes]]:
    """Return the topics, after checking them, and what is noted of them."""
    now = describe_topics(connect(settings), settings)
    problems = [f"{topic.name} is missing" for topic in topics.topics(settings) if topic.name not in now]
    if problems:
        raise OperatorError("; ".join(problems) + ": run `encore topics create`")
    meta = asyncio.run(read_compacted(settings, name(settings, topics.META)))
    problems = _config_problems(now, settings)
    problems += _dependency_problems(_recorded_dependencies(meta), now, settings)
    if problems:
        raise OperatorError("; ".join(problems))
    return now, meta


def _new_topic(topic: Topic, settings: Settings) -> NewTopic:
    return NewTopic(
        topic.name, num_partitions=topic.partitions, replication_factor=settings.replication, config=topic.config
    )


def _await_topics(admin: AdminClient, settings: Settings) -> dict[str, TopicDescription]:
    """Wait until the broker shows what it has just made."""
    import time

    for _ in range(50):
        now = describe_topics(admin, settings)
        if len(now) == len({topic.name for topic in topics.topics(settings)}):
            return now
        time.sleep(0.1)
    raise OperatorError("the broker made the topics but does not show them")


def _config_problems(now: dict[str, TopicDescription], settings: Settings) -> list[str]:
    problems = []
    for topic in topics.topics(settings):
        there = now.get(topic.name)
        if there is None:
            continue
        single = topic.partitions == 1
        if single and there.partitions != 1:
            problems.append(f"{topic.name} has {there.partitions} partitions, it must have 1")
        problems += [
            f"{topic.name} has {key}={there.config.get(key)}, it must be {topic.config[key]}"
            for key in CHECKED_CONFIG
            if key in topic.config
            and there.config.get(key) != topic.config[key]
            and not _is_live_stamped(key, there, settings)
        ]
    log = now.get(name(settings, topics.EVENTS))
    for short in CO_PARTITIONED:
        other = now.get(name(settings, short))
        if log and other and log.partitions != other.partitions:
            problems.append(
                f"{name(settings, topics.EVENTS)} has {log.partitions} partitions and "
                f"{name(settings, short)} {other.partitions}: they must have as many"
            )
    return problems


def _is_live_stamped(key: str, there: TopicDescription, settings: Settings) -> bool:
    """Whether the topic is stamped by the broker and history is all in the past for it: so a live system begins."""
    stamped = key == "message.timestamp.type" and there.config.get(key) == "LogAppendTime"
    return stamped and settings.clock == "source"


def _dependencies(settings: Settings, now: dict[str, TopicDescription]) -> dict[str, dict[str, Any]]:
    """Return what state depends on: whatever it holds offsets of."""
    full = [name(settings, topic) for topic in (topics.EVENTS, *STATE_TOPICS, *settings.inputs)]
    return {topic: {"id": now[topic].id, "partitions": now[topic].partitions} for topic in full if topic in now}


def _dependency_problems(
    noted: dict[str, Any] | None, now: dict[str, TopicDescription], settings: Settings
) -> list[str]:
    if noted is None:
        return ["nothing is noted of the topics: run `encore topics create`"]
    problems = []
    for topic, there in _dependencies(settings, now).items():
        was = noted.get(topic, there)
        if was["id"] != there["id"]:
            problems.append(
                f"{topic} was deleted and made again: its offsets begin anew, and the state built on the old ones "
                f"would skip what is new. Delete {', '.join(name(settings, topic) for topic in STATE_TOPICS)} too "
                "and run `encore topics create`, or take another prefix"
            )
        elif was["partitions"] != there["partitions"]:
            problems.append(
                f"{topic} had {was['partitions']} partitions when the state was built and has {there['partitions']} "
                "now: people would stand in other partitions than their state"
            )
    return problems


def _recorded_dependencies(meta: dict[bytes, bytes]) -> dict[str, Any] | None:
    value = meta.get(DEPENDENCIES_KEY)
    return orjson.loads(value) if value else None


async def _record_dependencies(settings: Settings, now: dict[str, TopicDescription]) -> None:
    """Note what the state is built on, unless standing state was built on something else."""
    noted = _recorded_dependencies(await read_compacted(settings, name(settings, topics.META)))
    people = name(settings, topics.PEOPLE)
    begins = noted is None or people not in noted or noted[people]["id"] != now[people].id
    problems = [] if begins else _dependency_problems(noted, now, settings)
    if problems:
        raise OperatorError("; ".join(problems))
    built_on = {**({} if begins else noted or {}), **_dependencies(settings, now)}
    await publish(settings, topics.META, DEPENDENCIES_KEY, orjson.dumps(built_on))


async def publish(settings: Settings, topic: str, key: bytes, value: bytes | None) -> None:
    """Write one record to a topic of ours and wait until it is safe."""
    producer = clients.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(name(settings, topic), value, key=key)
    finally:
        await producer.stop()
