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

Direction = Literal["in", "log", "out", "own"]
"""Input of Encore, its log, output for others, or used by Encore only."""


class Topic(Struct, frozen=True, kw_only=True):
    """The required state of a topic: `name` includes the prefix, `config` uses Kafka's own names."""

    name: str
    about: str
    partitions: int
    config: dict[str, str]
    direction: Direction


@lru_cache(maxsize=PARTITION_CACHE_SIZE)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key: murmur2, the same as Kafka's Java client."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def name(settings: Settings, topic: str) -> str:
    """Return a topic's full name."""
    return settings.prefix + topic


_DELETED = {"cleanup.policy": "delete"}
_ONE_DAY = {"cleanup.policy": "delete", "retention.ms": ONE_DAY_MS}
_ONE_YEAR = {"cleanup.policy": "delete", "retention.ms": ONE_YEAR_MS}
_UNLIMITED = {"cleanup.policy": "delete", "retention.ms": UNLIMITED}
_COMPACTED = {"cleanup.policy": "compact"}
_COMPACTED_SOON = {**_COMPACTED, "min.cleanable.dirty.ratio": "0.1", "segment.ms": COMPACTION_LAG_MS}
_STATE = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": COMPACTION_LAG_MS,
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": COMPACTION_LAG_MS,
}
_SPLIT, _SINGLE = True, False
_OUTPUTS: tuple[tuple[str, str, bool, dict[str, str]], ...] = (
    (ALERTS, "alerts about users for the retention team", _SPLIT, _DELETED),
    (TRIGGERS, "coupons to send", _SPLIT, _DELETED),
    (DECISIONS, "every decision candidate with its result, and the outcome of every offer", _SPLIT, _ONE_YEAR),
    (PROFILES, "current profile of every user, by user", _SPLIT, _COMPACTED),
    (RECOMMENDATIONS, "current recommendations of every user, by user", _SPLIT, _COMPACTED),
    (AUDIENCES, "users most likely to be interested in an announced course", _SPLIT, _ONE_YEAR),
    (DEAD_LETTERS, "records that could not be applied, with their bytes and the reason", _SPLIT, _COMPACTED),
)
_OWN: tuple[tuple[str, str, bool, dict[str, str]], ...] = (
    (CATALOG, "events of the course catalogue", _SPLIT, _UNLIMITED),
    (EXAMPLES, "training data of the churn model: labelled rows and early signals", _SINGLE, _ONE_YEAR),
    (INTERACTIONS, "interactions of users, by course: which other courses they used", _SPLIT, _DELETED),
    (ROWS, "state of courses: their similarity to others, read by every worker", _SPLIT, _STATE),
    (LISTS, "training data of the ranker: short lists", _SINGLE, _ONE_DAY),
    (SNAPSHOTS, "newest snapshot of every model", _SINGLE, _STATE),
    (CAMPAIGNS, "published campaigns", _SINGLE, _COMPACTED),
    (META, "topic ids and owner of the state, progress of ingest, commands of operators", _SINGLE, _COMPACTED_SOON),
    (PEOPLE, "state of users: one record per changed user and commit", _SPLIT, _STATE),
)
"""Topics that Encore reads and writes itself: name, purpose, whether it has as many partitions as the log, config."""


def topics(settings: Settings) -> list[Topic]:
    """Return every topic that Encore reads or writes, in its required state."""
    platform = "events from the platform: any key, any event type"
    log = "the log: all user events, in one order per user, and ticks"
    return [
        *(_topic(settings, short, platform, _SPLIT, _input(settings), "in") for short in settings.inputs),
        _topic(settings, EVENTS, log, _SPLIT, _log(settings), "log"),
        *(_topic(settings, *row, "out") for row in _OUTPUTS),
        *(_topic(settings, *row, "own") for row in _OWN),
    ]


def _topic(
    settings: Settings, short: str, about: str, split: bool, config: dict[str, str], direction: Direction
) -> Topic:
    return Topic(
        name=name(settings, short),
        about=about,
        partitions=settings.partitions if split else 1,
        config=config,
        direction=direction,
    )


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
