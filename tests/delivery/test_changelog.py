"""The users changelog in every condition: empty, compacted, truncated, written by another owner. On a real Kafka."""

from __future__ import annotations

import shutil
from pathlib import Path

from models.person.person import Person
from models.schema import events as ev
from streams.agents.users import envelope as env
from streams.kafka import topics
from streams.kafka.topics import partition_of
from streams.state import header
from streams.state.partition import FENCE
from tests.delivery import changelog_faults
from tests.delivery.history import END, by_person, history
from tests.delivery.scenario import PARTITIONS, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka
from tests.harness.process import wait_until

COMPACTED_SOON = {"segment_ms": "300", "min_compaction_lag_ms": "0", "min_cleanable_dirty_ratio": "0.01"}
USUAL = {"segment_ms": "3600000", "min_compaction_lag_ms": "3600000", "min_cleanable_dirty_ratio": "0.1"}


@ways(*BOTH_STORES, "plain-memory")
def test_a_worker_starts_on_an_empty_changelog(kafka: Kafka, prefix: str, way: Way) -> None:
    """A worker ends without having had a user; its successor finds only a fence."""
    sent = by_person(history(10, days=1.0))
    with Scenario(kafka, prefix, **way, agents="users") as scenario:
        scenario.until_held(worker := scenario.worker(disk="same"), PARTITIONS)
        assert worker.stop() == 0
        scenario.until_held(scenario.worker(disk="same"), PARTITIONS)
        scenario.append(scenario.with_partitions(sent))
        scenario.finish(sent, END)


@ways(*BOTH_STORES)
def test_recovery_of_a_compacted_changelog_finds_every_user(kafka: Kafka, prefix: str, way: Way) -> None:
    """Recovery ends although most offsets of the changelog are gone, and no user is missing."""
    sent = by_person(history(40))
    half = len(sent) // 2
    with Scenario(kafka, prefix, **way, agents="users", commit_every="0.1s") as scenario:
        scenario.until_held(worker := scenario.worker(), PARTITIONS)
        changelog_faults.configure(scenario, **COMPACTED_SOON)
        for start in range(0, half, 20):
            scenario.append(scenario.with_partitions(sent[start : min(half, start + 20)]))
            scenario.until_applied()
        wait_until(lambda: changelog_faults.count_missing(scenario) > half // 4, "compacted")
        worker.kill()
        changelog_faults.configure(scenario, **USUAL)
        scenario.until_held(worker := scenario.worker(), PARTITIONS)
        assert worker.metric("encore_recovered_people") > 20
        scenario.append(scenario.with_partitions(sent[half:]))
        scenario.finish(sent, END)


def test_recovery_continues_from_the_disk(kafka: Kafka, prefix: str) -> None:
    """Records whose values are on disk are not read again: the test deletes them from the changelog."""
    sent = by_person(history(60))
    half = len(sent) // 2
    with Scenario(kafka, prefix, store="rocksdb", agents="users") as scenario:
        scenario.until_held(worker := scenario.worker(disk="kept"), PARTITIONS)
        scenario.append(scenario.with_partitions(sent[:half]))
        scenario.until_applied()
        assert worker.stop() == 0
        changelog_faults.truncate(scenario)
        scenario.until_held(scenario.worker(disk="kept"), PARTITIONS)
        scenario.append(scenario.with_partitions(sent[half:]))
        scenario.finish(sent, END)


def test_a_disk_ahead_of_its_changelog_is_refused(kafka: Kafka, prefix: str, tmp_path: Path) -> None:
    """The topic was lost or created again: only an operator can decide which of the two is right."""
    sent = by_person(history(20, days=1.0))
    with Scenario(kafka, prefix, store="rocksdb", agents="users") as scenario:
        scenario.until_held(worker := scenario.worker(data_folder=str(tmp_path)), PARTITIONS)
        scenario.append(scenario.with_partitions(sent))
        scenario.until_applied()
        assert worker.stop() == 0
    again = f"{prefix}again"
    shutil.move(tmp_path / prefix / f"{prefix}-{topics.PEOPLE}", tmp_path / again / f"{again}-{topics.PEOPLE}")
    with Scenario(kafka, again, store="rocksdb", agents="users") as scenario:
        worker = scenario.worker(data_folder=str(tmp_path))
        wait_until(lambda: not worker.running, "refused")
        assert worker.stop() == 1
        assert "delete the folder" in worker.log.read_text()


@ways(*BOTH_STORES, "plain-memory")
def test_a_value_overwritten_by_a_former_owner_is_written_again(kafka: Kafka, prefix: str, way: Way) -> None:
    """A late record of a former owner must not stay the last of its key: compaction would keep only that record."""
    sent = by_person(history(10, days=1.0))
    user = sent[0].event.user_id.encode()
    place = partition_of(user, PARTITIONS)
    with Scenario(kafka, prefix, **way, agents="users") as scenario:

        def last() -> bytes:
            records = [record for record in list(scenario.recorder.records[topics.PEOPLE]) if record.key == user]
            return records[-1].value or b"" if records else b""

        scenario.until_held(worker := scenario.worker(), PARTITIONS)
        scenario.append(scenario.with_partitions(sent))
        scenario.until_applied()
        wait_until(lambda: header.fence_of(last()) == 1, "written")
        changelog_faults.write(scenario, place, user, stale := last()[:2] + bytes(4) + last()[6:])
        wait_until(lambda: last() == stale, "written over")
        neighbour = next(name for n in range(99) if partition_of((name := f"n{n}").encode(), PARTITIONS) == place)
        scenario.append([(place, ev.Login(id="late", user_id=neighbour, time=sent[-1].event.time))])
        wait_until(lambda: header.fence_of(last()) == 1, "written again")
        assert worker.stop() == 0


@ways(*BOTH_STORES, "plain-memory")
def test_a_worker_that_finds_a_higher_fence_commits_nothing_and_starts_over(
    kafka: Kafka, prefix: str, way: Way
) -> None:
    """Its values behind that fence are void for the next owner, which has to read their records from the log."""
    sent = by_person(history(20, days=1.0))
    half = len(sent) // 2
    with Scenario(kafka, prefix, **way, agents="users") as scenario:
        scenario.until_held(worker := scenario.worker(), PARTITIONS)
        scenario.append(scenario.with_partitions(sent[:half]))
        scenario.until_applied()
        for partition in range(PARTITIONS):
            changelog_faults.write(
                scenario, partition, FENCE, env.encode_envelope(env.Envelope(Person("")), 50, scenario.rules)
            )
        scenario.append(scenario.with_partitions(sent[half:]))
        scenario.until_applied()
        worker.kill()
        scenario.until_held(scenario.worker(), PARTITIONS)
        scenario.finish(sent, END)
