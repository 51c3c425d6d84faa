"""Topics made and checked on a real Kafka, and the memory of which ones the state was built on."""

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
    """The one line with which a command refuses, after checking that it is one."""
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1), run
    return run.stderr


def test_topics_are_made_once_and_checked(encore):
    """`create` makes what is missing, a second time nothing, and `check` is content with it."""
    made = encore.check("topics", "create", process=True).splitlines()
    assert len(made) == 21
    assert encore.check("topics", "create") == "all topics exist\n"
    assert encore.check("topics", "check") == "21 topics are correct\n"


def test_a_missing_topic_is_named(encore):
    """Before `create`, `check` and a worker refuse with the command that helps."""
    assert "run `encore topics create`" in refused(encore.run("topics", "check"))
    assert "run `encore topics create`" in refused(encore.run_process("worker"))


def test_a_topic_made_again_under_standing_state_is_refused(encore):
    """An input or a topic in between that was made again has other offsets than state remembers: no worker takes it."""
    encore.check("topics", "create")
    delete(encore, "learning-events", "interactions")
    run = encore.run("topics", "create")
    assert "learning-events was deleted and created again" in refused(run)
    assert "interactions was deleted and created again" in refused(encore.run("worker"))


def test_state_deleted_with_its_topics_is_a_new_beginning(encore):
    """Where the state went too, nothing remembers the old offsets, and `create` begins anew."""
    encore.check("topics", "create")
    delete(encore, "learning-events", "people-changelog", "examples", "model-snapshots")
    assert len(encore.check("topics", "create").splitlines()) == 4
    assert encore.check("topics", "check") == "21 topics are correct\n"


def test_more_partitions_than_the_state_has_are_refused(encore):
    """The log and the state have as many partitions as they had in the beginning."""
    encore.check("topics", "create")
    grow(encore, "events", 6)
    assert "events has 6 partitions and" in refused(encore.run("topics", "check"))
    grow(encore, "people-changelog", 6)
    assert "course-rows 4: they must have the same number" in refused(encore.run("topics", "check"))
    grow(encore, "interactions", 6)
    grow(encore, "course-rows", 6)
    assert "had 4 partitions when the state was built and has 6 now" in refused(encore.run("worker"))


def test_another_clock_needs_another_log(encore):
    """A log stamped by the broker is no log for a simulation that stamps its own records."""
    encore.check("topics", "create")
    other = Deployment(encore.settings.bootstrap[0], encore.settings.group, clock="wall")
    assert "message.timestamp.type=CreateTime, it must be LogAppendTime" in refused(other.run("topics", "check"))


def test_a_campaign_that_is_not_published_cannot_be_ended(encore):
    """The line says which there are; one that is, can."""
    encore.check("topics", "create")
    said = refused(encore.run("campaign", "end", "nosuch"))
    assert "campaign nosuch is not published; published campaigns: none" in said
    encore.check("campaign", "apply", CHECKOUT / "deploy/campaigns/win-back.toml", process=True)
    assert "published campaigns: win-back" in refused(encore.run("campaign", "end", "nosuch"))
    assert encore.check("campaign", "end", "win-back") == "campaign win-back has ended\n"


def test_the_topics_of_a_prefix_belong_to_one_group_and_key(encore):
    """A worker of another group would take the state from under the first one's: it is refused, in shadow mode too.

    With another key, one would not know again whom the first one has erased.
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
