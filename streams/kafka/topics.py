"""The topics: purpose, partition count and clean-up policy of each; and the partitioner that all writers share."""

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
"""Keys whose partition is cached: computing it takes ten times as long as the look-up."""
COMPACTION_LAG_MS = "3600000"
ONE_DAY_MS = str(86_400_000)
ONE_YEAR_MS = str(365 * 86_400_000)
UNLIMITED = "-1"


class Topic(Struct, frozen=True, kw_only=True):
    """The required state of a topic: `name` includes the prefix, `config` uses Kafka's own names."""

    name: str
    about: str
    partitions: int
    config: dict[str, str]
    direction: Literal["in", "log", "out", "own"]


@lru_cache(maxsize=PARTITION_CACHE_SIZE)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key: murmur2, the same as Kafka's Java client."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def name(settings: Settings, topic: str) -> str:
    """Return a topic's full name."""
    return settings.prefix + topic


def topics(settings: Settings) -> list[Topic]:
    """Return every topic that Encore reads or writes, in its required state."""
    split = settings.partitions
    deleted = {"cleanup.policy": "delete"}
    one_year = {"cleanup.policy": "delete", "retention.ms": ONE_YEAR_MS}
    unlimited = {"cleanup.policy": "delete", "retention.ms": UNLIMITED}
    one_day = {"cleanup.policy": "delete", "retention.ms": ONE_DAY_MS}
    compact = {"cleanup.policy": "compact"}
    compacted_soon = {**compact, "min.cleanable.dirty.ratio": "0.1", "segment.ms": COMPACTION_LAG_MS}
    state = {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": COMPACTION_LAG_MS,
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": COMPACTION_LAG_MS,
    }
    rows: list[tuple[str, str, int, dict[str, str], Literal["in", "log", "out", "own"]]] = [
        *(
            (topic, "events from the platform: any key, any event type", split, _input(settings), "in")
            for topic in settings.inputs
        ),
        (EVENTS, "the log: all user events, in one order per user, and ticks", split, _log(settings), "log"),
        (ALERTS, "alerts about users for the retention team", split, deleted, "out"),
        (TRIGGERS, "coupons to send", split, deleted, "out"),
        (DECISIONS, "every decision candidate with its result, and the outcome of every offer", split, one_year, "out"),
        (PROFILES, "current profile of every user, by user", split, compact, "out"),
        (RECOMMENDATIONS, "current recommendations of every user, by user", split, compact, "out"),
        (AUDIENCES, "users most likely to be interested in an announced course", split, one_year, "out"),
        (
            DEAD_LETTERS,
            "dead letters: records that could not be applied, with their bytes and the reason",
            split,
            compact,
            "out",
        ),
        (CATALOG, "events of the course catalogue", split, unlimited, "own"),
        (EXAMPLES, "training data of the churn model: labelled rows and early signals", 1, one_year, "own"),
        (INTERACTIONS, "interactions of users, by course: which other courses they used", split, deleted, "own"),
        (ROWS, "state of courses: their similarity to others, read by every worker", split, state, "own"),
        (LISTS, "training data of the ranker: short lists", 1, one_day, "own"),
        (SNAPSHOTS, "newest snapshot of every model", 1, state, "own"),
        (CAMPAIGNS, "published campaigns", 1, compact, "own"),
        (META, "topic ids and owner of the state, progress of ingest, commands of operators", 1, compacted_soon, "own"),
        (PEOPLE, "state of users: one record per changed user and commit", split, state, "own"),
    ]
    return [
        Topic(name=name(settings, topic), about=about, partitions=count, config=config, direction=direction)
        for topic, about, count, config, direction in rows
    ]


def partitions_of(settings: Settings) -> dict[str, int]:
    """Return the partition count of each topic at its creation."""
    return {topic.name: topic.partitions for topic in topics(settings)}


def _log(settings: Settings) -> dict[str, str]:
    """Return the config of the log: records get the broker's time, but a sender of history sets its own."""
    if settings.clock == "wall":
        return {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    return {"message.timestamp.type": "CreateTime", **_input(settings)}


def _input(settings: Settings) -> dict[str, str]:
    """Return the config of an input. Records of a history keep their own time, which is older than any retention."""
    if settings.clock == "wall":
        return {"cleanup.policy": "delete"}
    return {
        "cleanup.policy": "delete",
        "retention.ms": UNLIMITED,
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "message.timestamp.before.max.ms": str(2**63 - 1),
    }
