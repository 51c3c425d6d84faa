"""Topics created and checked on a real Kafka, and the record of the topics on which the state was built."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.harness.deployment import Deployment
from tests.harness.process import CHECKOUT, PATIENCE


@pytest.fixture
def encore(kafka, prefix):
    return Deployment(kafka.bootstrap, prefix)


def delete(encore, *topics):
    """Delete topics; return when the broker does not list them any more."""
    names = {encore.settings.prefix + topic for topic in topics}

    async def run():
        async with admin_client(encore) as admin:
            await admin.delete_topics(list(names))
            async with asyncio.timeout(PATIENCE):
                while names & set(await admin.list_topics()):
                    await asyncio.sleep(0.05)

    asyncio.run(run())


def grow(encore, topic, partitions):
    """Give a topic more partitions; return when the broker tells of them."""
    name = encore.settings.prefix + topic

    async def run():
        async with admin_client(encore) as admin:
            await admin.create_partitions({name: NewPartitions(partitions)})
            async with asyncio.timeout(PATIENCE):
                while len((await admin.describe_topics([name]))[0]["partitions"]) < partitions:
                    await asyncio.sleep(0.05)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def admin_client(encore):
    admin = AIOKafkaAdminClient(bootstrap_servers=encore.settings.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def refused(run):
    """Assert that a command refused with one line, and return the line."""
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run
    return run.stderr


def test_topics_are_created_once_and_checked(encore):
    """`create` creates the missing topics, a second time none; then `check` finds no fault."""
    created = encore.check("topics", "create", process=True).splitlines()
    assert len(created) == 21
    assert encore.check("topics", "create") == "all topics exist\n"
    assert encore.check("topics", "check") == "21 topics are correct\n"


def test_a_missing_topic_is_named(encore):
    """Before `create`, `check` and a worker refuse with the command that helps."""
    assert "run `encore topics create`" in refused(encore.run("topics", "check"))
    assert "run `encore topics create`" in refused(encore.run_process("worker"))


def test_a_topic_created_again_under_existing_state_is_refused(encore):
    """An input or intermediate topic that was created again has other offsets than the state: no worker starts."""
    encore.check("topics", "create")
    delete(encore, "learning-events", "interactions")
    run = encore.run("topics", "create")
    assert "learning-events was deleted and created again" in refused(run)
    assert "interactions was deleted and created again" in refused(encore.run("worker"))


def test_state_deleted_with_its_topics_starts_over(encore):
    """Where the state is deleted, too, nothing refers to the old offsets, and `create` starts over."""
    encore.check("topics", "create")
    delete(encore, "learning-events", "people-changelog", "examples", "model-snapshots")
    assert len(encore.check("topics", "create").splitlines()) == 4
    assert encore.check("topics", "check") == "21 topics are correct\n"


def test_more_partitions_than_the_state_has_are_refused(encore):
    """The log and the state keep the number of partitions that they had at first."""
    encore.check("topics", "create")
    grow(encore, "events", 6)
    assert "events has 6 partitions and" in refused(encore.run("topics", "check"))
    grow(encore, "people-changelog", 6)
    assert "course-rows 4: they must have the same number" in refused(encore.run("topics", "check"))
    grow(encore, "interactions", 6)
    grow(encore, "course-rows", 6)
    assert "had 4 partitions when the state was built and has 6 now" in refused(encore.run("worker"))


def test_another_clock_needs_another_log(encore):
    """A log with timestamps of its producers does not fit a live system, which needs those of the broker."""
    encore.check("topics", "create")
    other = Deployment(encore.settings.bootstrap[0], encore.settings.group, clock="wall")
    assert "message.timestamp.type=CreateTime, it must be LogAppendTime" in refused(other.run("topics", "check"))


def test_only_a_published_campaign_can_be_ended(encore):
    """The line names the published campaigns."""
    encore.check("topics", "create")
    line = refused(encore.run("campaign", "end", "nosuch"))
    assert "campaign nosuch is not published; published campaigns: none" in line
    encore.check("campaign", "apply", CHECKOUT / "deploy/campaigns/win-back.toml", process=True)
    assert "published campaigns: win-back" in refused(encore.run("campaign", "end", "nosuch"))
    assert encore.check("campaign", "end", "win-back") == "campaign win-back has ended\n"


def test_the_topics_of_a_prefix_belong_to_one_group_and_key(encore):
    """A worker of another group would share the state with the first group: it is refused, also in shadow mode.

    With another key, a worker would not recognise the users that were erased.
    """
    encore.check("topics", "create")
    with encore.worker() as worker:
        worker.ready()
    assert "pseudonym_key is not the one" in refused(
        Deployment(encore.settings.bootstrap[0], encore.settings.group, pseudonym_key="another").run("worker")
    )
    other = Deployment(encore.settings.bootstrap[0], encore.settings.group, group="other", mode="shadow")
    assert f"belong to group {encore.settings.group}; another Encore needs another prefix" in refused(
        other.run("worker")
    )
    with encore.worker() as worker:
        worker.ready()
