"""Topics made and checked on a real Kafka, and the memory of which ones the state was built on."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.operation.encore import Encore


@pytest.fixture
def encore(kafka, prefix):
    return Encore(kafka.bootstrap, prefix)


def delete(encore, *topics):
    async def run():
        admin = AIOKafkaAdminClient(bootstrap_servers=encore.settings.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([encore.settings.prefix + topic for topic in topics])
        finally:
            await admin.close()

    asyncio.run(run())


def grow(encore, topic, partitions):
    async def run():
        admin = AIOKafkaAdminClient(bootstrap_servers=encore.settings.bootstrap)
        await admin.start()
        try:
            await admin.create_partitions({encore.settings.prefix + topic: NewPartitions(partitions)})
        finally:
            await admin.close()

    asyncio.run(run())


def refused(run):
    """The one line with which a command refuses, after checking that it is one."""
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run
    return run.stderr


def test_topics_are_made_once_and_checked(encore):
    """`create` makes what is missing, a second time nothing, and `check` is content with it."""
    made = encore.done("topics", "create").splitlines()
    assert len(made) == 21
    assert encore.done("topics", "create") == "all topics exist\n"
    assert encore.done("topics", "check") == "21 topics are correct\n"


def test_a_missing_topic_is_named(encore):
    """Before `create`, `check` and a worker refuse with the command that helps."""
    assert "run `encore topics create`" in refused(encore.run("topics", "check"))
    assert "run `encore topics create`" in refused(encore.run("worker"))


def test_a_topic_made_again_under_standing_state_is_refused(encore):
    """An input or a topic in between that was made again has other offsets than state remembers: no worker takes it."""
    encore.done("topics", "create")
    delete(encore, "learning-events", "interactions")
    run = encore.run("topics", "create")
    assert "learning-events was deleted and made again" in refused(run)
    assert "interactions was deleted and made again" in refused(encore.run("worker"))


def test_state_deleted_with_its_topics_is_a_new_beginning(encore):
    """Where the state went too, nothing remembers the old offsets, and `create` begins anew."""
    encore.done("topics", "create")
    delete(encore, "learning-events", "people-changelog", "examples", "model-snapshots")
    assert len(encore.done("topics", "create").splitlines()) == 4
    assert encore.done("topics", "check") == "21 topics are correct\n"


def test_more_partitions_than_the_state_has_are_refused(encore):
    """The log and the state have as many partitions as they had in the beginning."""
    encore.done("topics", "create")
    grow(encore, "events", 6)
    assert "events has 6 partitions and" in refused(encore.run("topics", "check"))
    grow(encore, "people-changelog", 6)
    assert "course-rows 4: they must have as many" in refused(encore.run("topics", "check"))
    grow(encore, "interactions", 6)
    grow(encore, "course-rows", 6)
    assert "had 4 partitions when the state was built and has 6 now" in refused(encore.run("worker"))


def test_another_clock_needs_another_log(encore):
    """A log stamped by the broker is no log for a simulation that stamps its own records."""
    encore.done("topics", "create")
    other = Encore(encore.settings.bootstrap[0], encore.settings.group, clock="wall")
    assert "message.timestamp.type=CreateTime, it must be LogAppendTime" in refused(other.run("topics", "check"))


def test_a_campaign_that_is_not_published_cannot_be_ended(encore):
    """The line says which there are; one that is, can."""
    encore.done("topics", "create")
    said = refused(encore.run("campaign", "end", "nosuch"))
    assert "campaign nosuch is not published; published campaigns: none" in said
    encore.done("campaign", "apply", "deploy/campaigns/win-back.toml")
    assert "published campaigns: win-back" in refused(encore.run("campaign", "end", "nosuch"))
    assert encore.done("campaign", "end", "win-back") == "campaign win-back has ended\n"


def test_the_topics_of_a_prefix_belong_to_one_group_and_key(encore):
    """A worker of another group would take the state from under the first one's: it is refused, in shadow mode too.

    With another key, one would not know again whom the first one has erased.
    """
    encore.done("topics", "create")
    with encore.worker() as worker:
        worker.ready()
    assert "pseudonym_key is not the one" in refused(
        Encore(encore.settings.bootstrap[0], encore.settings.group, pseudonym_key="another").run("worker")
    )
    other = Encore(encore.settings.bootstrap[0], encore.settings.group, group="other", mode="shadow")
    assert f"belong to group {encore.settings.group}; another Encore needs another prefix" in refused(
        other.run("worker")
    )
    with encore.worker() as worker:
        worker.ready()
