"""Topics: one partitioner, the same as everybody's, and names that belong to one Encore."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka import topics
from streams.settings import Settings

PARTITIONER = DefaultPartitioner()
JAVA = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}


@given(st.binary(max_size=200), st.integers(1, 1_000))
def test_a_key_belongs_where_every_client_would_put_it(key: bytes, partitions: int) -> None:
    """The partition is that of aiokafka's default partitioner, which is that of Kafka's Java client."""
    everywhere = list(range(partitions))
    assert topics.partition_of(key, partitions) == PARTITIONER(key, everywhere, everywhere)


def test_a_key_keeps_its_partition_between_versions() -> None:
    """State stands where the partitioner of the day put it: these hashes are those of Kafka's own tests."""
    for key, hashed in JAVA.items():
        assert topics.partition_of(key, 1_000) == (hashed & 0x7FFFFFFF) % 1_000


def test_every_topic_has_the_prefix_and_a_name_of_its_own() -> None:
    """Two Encores with different prefixes share none."""
    one, two = ({topic.name for topic in topics.topics(Settings(prefix=prefix))} for prefix in ("a.", "b."))
    assert all(name.startswith("a.") for name in one)
    assert one & two == set()
    assert len(one) == len(topics.topics(Settings(prefix="a.")))


def test_state_stands_beside_its_log() -> None:
    """The changelog of people is compacted, not too soon, and has as many partitions as the log."""
    found = {topic.name: topic for topic in topics.topics(Settings(partitions=7))}
    people = found[topics.PEOPLE]
    assert people.partitions == found[topics.EVENTS].partitions == 7
    assert people.config["cleanup.policy"] == "compact"
    assert int(people.config["min.compaction.lag.ms"]) >= 3_600_000
    assert topics.partitions_of(Settings(partitions=7)) == {name: topic.partitions for name, topic in found.items()}


@pytest.mark.parametrize("topic", [topics.EXAMPLES, topics.SNAPSHOTS, topics.CAMPAIGNS, topics.META])
def test_what_has_one_order_has_one_partition(topic: str) -> None:
    """Whatever is read by offset, or by everybody, is one sequence."""
    assert {found.name: found.partitions for found in topics.topics(Settings(partitions=9))}[topic] == 1


def test_the_catalogue_is_kept_whole() -> None:
    """A worker that starts reads all of it: what was withdrawn years ago stays withdrawn."""
    found = {topic.name: topic.config for topic in topics.topics(Settings())}
    assert found[topics.CATALOG] == {"cleanup.policy": "delete", "retention.ms": "-1"}


@pytest.mark.parametrize(("clock", "stamped"), [("wall", "LogAppendTime"), ("source", "CreateTime")])
def test_the_log_is_stamped_by_the_broker_unless_history_is_sent(clock: str, stamped: str) -> None:
    """History keeps the time it brings, and is not deleted for being old; live, nobody may claim another time."""
    found = {topic.name: topic.config for topic in topics.topics(Settings(clock=clock))}
    assert found[topics.EVENTS]["message.timestamp.type"] == stamped
    assert (found["learning-events"].get("retention.ms") == "-1") == (clock == "source")
    assert (found[topics.EVENTS].get("retention.ms") == "-1") == (clock == "source")
