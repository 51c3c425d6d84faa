"""The changelog of people as others may leave it: empty, compacted, cut off, written by a stranger. On a real Kafka."""

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
def test_an_empty_changelog_is_a_beginning(kafka: Kafka, prefix: str, way: Way) -> None:
    """A worker that saw nobody ends, and its successor begins where nothing but a fence is."""
    sent = by_person(history(10, days=1.0))
    with Scenario(kafka, prefix, **way, agents="users") as scenario:
        scenario.until_held(worker := scenario.worker(disk="same"), PARTITIONS)
        assert worker.stop() == 0
        scenario.until_held(scenario.worker(disk="same"), PARTITIONS)
        scenario.append(scenario.with_partitions(sent))
        scenario.finish(sent, END)


@ways(*BOTH_STORES)
def test_compaction_leaves_gaps_and_nobody_out(kafka: Kafka, prefix: str, way: Way) -> None:
    """Recovery ends though most offsets of the changelog are gone, and everybody is there."""
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


def test_a_disk_that_stays_is_read_on_from(kafka: Kafka, prefix: str) -> None:
    """What the changelog had before is on the disk, and is not read again: here it could not be."""
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
    """The topic was lost or made anew: which of the two is right, only an operator can say."""
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
def test_what_a_stranger_wrote_over_is_written_again(kafka: Kafka, prefix: str, way: Way) -> None:
    """A former owner's late record must not be the last of its key: compaction would leave nothing else."""
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
def test_who_finds_a_higher_fence_commits_nothing_and_begins_anew(kafka: Kafka, prefix: str, way: Way) -> None:
    """What it wrote behind that fence is void for the next owner: it has to come again from the log."""
    sent = by_person(history(20, days=1.0))
    half = len(sent) // 2
    with Scenario(kafka, prefix, **way, agents="users") as scenario:
        scenario.until_held(worker := scenario.worker(), PARTITIONS)
        scenario.append(scenario.with_partitions(sent[:half]))
        scenario.until_applied()
        for partition in range(PARTITIONS):
            changelog_faults.write(scenario, partition, FENCE, env.seal(env.Envelope(Person("")), 50, scenario.rules))
        scenario.append(scenario.with_partitions(sent[half:]))
        scenario.until_applied()
        worker.kill()
        scenario.until_held(scenario.worker(), PARTITIONS)
        scenario.finish(sent, END)
