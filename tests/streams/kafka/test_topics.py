"""Topics: the partitioner of Kafka's clients, and names that belong to one Encore."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka import topics
from streams.settings import Settings

PARTITIONER = DefaultPartitioner()
JAVA = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}


@given(st.binary(max_size=200), st.integers(1, 1_000))
def test_a_key_has_the_partition_that_every_client_gives_it(key: bytes, partitions: int) -> None:
    """The partition is the same as that of aiokafka's default partitioner and of Kafka's Java client."""
    everywhere = list(range(partitions))
    assert topics.partition_of(key, partitions) == PARTITIONER(key, everywhere, everywhere)


def test_a_key_keeps_its_partition_between_versions() -> None:
    """State depends on the partitioner of the version that wrote it. These hashes are from Kafka's own tests."""
    for key, hashed in JAVA.items():
        assert topics.partition_of(key, 1_000) == (hashed & 0x7FFFFFFF) % 1_000


def test_every_topic_has_the_prefix_and_a_unique_name() -> None:
    """Two Encores with different prefixes share no topic."""
    one, two = ({topic.name for topic in topics.topics(Settings(prefix=prefix))} for prefix in ("a.", "b."))
    assert all(name.startswith("a.") for name in one)
    assert one & two == set()
    assert len(one) == len(topics.topics(Settings(prefix="a.")))


def test_the_changelog_has_the_partitions_of_its_log() -> None:
    """The changelog of users is compacted after a delay, and has as many partitions as the log."""
    found = {topic.name: topic for topic in topics.topics(Settings(partitions=7))}
    people = found[topics.PEOPLE]
    assert people.partitions == found[topics.EVENTS].partitions == 7
    assert people.config["cleanup.policy"] == "compact"
    assert int(people.config["min.compaction.lag.ms"]) >= 3_600_000
    assert topics.partitions_of(Settings(partitions=7)) == {name: topic.partitions for name, topic in found.items()}


@pytest.mark.parametrize("topic", [topics.EXAMPLES, topics.SNAPSHOTS, topics.CAMPAIGNS, topics.META])
def test_a_single_sequence_has_a_single_partition(topic: str) -> None:
    """A topic that is read by offset, or completely by every worker, is one sequence."""
    assert {found.name: found.partitions for found in topics.topics(Settings(partitions=9))}[topic] == 1


def test_the_catalogue_never_expires() -> None:
    """A starting worker reads all of it, so a course that was withdrawn years ago stays withdrawn."""
    found = {topic.name: topic.config for topic in topics.topics(Settings())}
    assert found[topics.CATALOG] == {"cleanup.policy": "delete", "retention.ms": "-1"}


@pytest.mark.parametrize(("clock", "stamped"), [("wall", "LogAppendTime"), ("source", "CreateTime")])
def test_the_broker_stamps_the_log_unless_a_history_is_sent(clock: str, stamped: str) -> None:
    """Records of a history keep their own time and do not expire. Live records get the time of the broker."""
    found = {topic.name: topic.config for topic in topics.topics(Settings(clock=clock))}
    assert found[topics.EVENTS]["message.timestamp.type"] == stamped
    assert (found["learning-events"].get("retention.ms") == "-1") == (clock == "source")
    assert (found[topics.EVENTS].get("retention.ms") == "-1") == (clock == "source")
