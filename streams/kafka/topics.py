"""The topics: what each is for, how many partitions it has, how it is cleaned; and the one partitioner."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from aiokafka.partitioner import murmur2
from msgspec import Struct

from streams.settings import Settings

EVENTS = "events"
ALERTS = "retention-alerts"
TRIGGERS = "coupon-triggers"
DECISIONS = "decisions"
PROFILES = "user-profiles"
RECOMMENDATIONS = "recommendations"
AUDIENCES = "course-audiences"
DEAD_LETTERS = "dead-letters"
EXAMPLES = "examples"
SNAPSHOTS = "model-snapshots"
INTERACTIONS = "interactions"
ROWS = "course-rows"
LISTS = "list-examples"
CAMPAIGNS = "campaigns"
CATALOG = "course-catalog"
META = "encore-meta"
PEOPLE = "people-changelog"

MODEL_KEY = b"churn"
"""Key of the churn model's snapshot on `model-snapshots`."""
CLOCK_RELEASE_KEY = b"clock-release"
"""Key on `encore-meta`: the time at which an operator released the clock."""
INGEST_PROGRESS_KEY = b"ingest-progress"
"""Key on `encore-meta`: the event time up to which ingest has read its inputs."""

PARTITION_CACHE_SIZE = 1 << 16
"""Keys whose partition is remembered: finding it takes ten times as long."""
COMPACTION_LAG_MS = "3600000"
ONE_DAY_MS = str(86_400_000)
ONE_YEAR_MS = str(365 * 86_400_000)
UNLIMITED = "-1"


class Topic(Struct, frozen=True, kw_only=True):
    """A topic as it has to be: `name` with the prefix, `config` as Kafka spells it."""

    name: str
    about: str
    partitions: int
    config: dict[str, str]
    direction: Literal["in", "log", "out", "own"]


@lru_cache(maxsize=PARTITION_CACHE_SIZE)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition to which a key belongs: murmur2, as Kafka's own Java client spreads keys."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def name(settings: Settings, topic: str) -> str:
    """Return a topic's full name."""
    return settings.prefix + topic


def topics(settings: Settings) -> list[Topic]:
    """Return every topic that Encore reads or writes, as it has to be."""
    many = settings.partitions
    deleted = {"cleanup.policy": "delete"}
    kept = {"cleanup.policy": "delete", "retention.ms": ONE_YEAR_MS}
    all_of_it = {"cleanup.policy": "delete", "retention.ms": UNLIMITED}
    briefly = {"cleanup.policy": "delete", "retention.ms": ONE_DAY_MS}
    compact = {"cleanup.policy": "compact"}
    words = {**compact, "min.cleanable.dirty.ratio": "0.1", "segment.ms": COMPACTION_LAG_MS}
    state = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": COMPACTION_LAG_MS,
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": COMPACTION_LAG_MS,
    }
    rows: list[tuple[str, str, int, dict[str, str], Literal["in", "log", "out", "own"]]] = [
        *(
            (topic, "what a platform sends: any key, any of the event types", many, _input(settings), "in")
            for topic in settings.inputs
        ),
        (EVENTS, "all that happens to people, in one order per person, ticks included", many, _log(settings), "log"),
        (ALERTS, "news of people for whoever keeps them", many, deleted, "out"),
        (TRIGGERS, "coupons to send", many, deleted, "out"),
        (DECISIONS, "every candidate and what became of it, and what became of every offer", many, kept, "out"),
        (PROFILES, "people as they stand, by person", many, compact, "out"),
        (RECOMMENDATIONS, "what people would like next, by person", many, compact, "out"),
        (AUDIENCES, "whom a course that was announced would please", many, kept, "out"),
        (DEAD_LETTERS, "records that could not be applied, with their bytes and the reason", many, compact, "out"),
        (CATALOG, "courses as they were announced", many, all_of_it, "own"),
        (EXAMPLES, "what the model learns from: labelled rows, and who was back early", 1, kept, "own"),
        (INTERACTIONS, "what courses hear of people: what else they used", many, deleted, "own"),
        (ROWS, "which courses go together: the state of courses, read by every worker", many, state, "own"),
        (LISTS, "short lists that the ranker learns from", 1, briefly, "own"),
        (SNAPSHOTS, "the newest models", 1, state, "own"),
        (CAMPAIGNS, "campaigns as published", 1, compact, "own"),
        (META, "what the state was built on and whose it is, how far ingest is, what operators said", 1, words, "own"),
        (PEOPLE, "the state of people: one record a person and commit", many, state, "own"),
    ]
    return [
        Topic(name=name(settings, topic), about=about, partitions=count, config=config, direction=direction)
        for topic, about, count, config, direction in rows
    ]


def partitions_of(settings: Settings) -> dict[str, int]:
    """Return how many partitions each topic has when it is made."""
    return {topic.name: topic.partitions for topic in topics(settings)}


def _log(settings: Settings) -> dict[str, str]:
    """Stamp records with the broker's time, unless whoever sends history brings their own."""
    if settings.clock == "wall":
        return {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    return {"message.timestamp.type": "CreateTime", **_input(settings)}


def _input(settings: Settings) -> dict[str, str]:
    """Keep history that is stamped with its own time: by that time it is older than any retention."""
    if settings.clock == "wall":
        return {"cleanup.policy": "delete"}
    return {
        "cleanup.policy": "delete",
        "retention.ms": UNLIMITED,
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "message.timestamp.before.max.ms": str(2**63 - 1),
    }
