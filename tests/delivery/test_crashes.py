"""Workers and brokers that crash under load, on a real Kafka."""

from __future__ import annotations

import time
from random import Random

from tests.delivery.history import END, HOUR, by_person, history
from tests.delivery.scenario import PARTITIONS, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka, RealKafka


@ways(*BOTH_STORES, "plain-rocksdb")
def test_a_worker_killed_three_times_leaves_no_trace(kafka: Kafka, prefix: str, way: Way) -> None:
    """Three SIGKILLs: users as in an undisturbed run, every output published, always with the same content.

    With users on disk, a successor finds the disk of the killed worker; the last successor finds an empty one.
    """
    sent, rng = by_person(history(300)), Random(4)
    with Scenario(kafka, prefix, **way, lateness="6h", commit_every="2s") as scenario:
        scenario.worker(disk="first")

        def kill_and_restart(disk: str = "first") -> None:
            time.sleep(rng.uniform(0.0, 0.2))
            scenario.workers[-1].kill()
            scenario.worker(disk)

        scenario.play(sent, HOUR, {15: kill_and_restart, 35: kill_and_restart, 55: lambda: kill_and_restart("second")})
        scenario.finish(sent, END)


@ways("fast-rocksdb")
def test_a_broker_killed_under_load_loses_nothing(own_kafka: RealKafka, prefix: str, way: Way) -> None:
    """The broker crashes and restarts on its data under two workers: they continue, and the outputs show nothing."""
    sent = by_person(history(200))
    with Scenario(own_kafka, prefix, **way, lateness="6h") as scenario:
        workers = [scenario.worker(), scenario.worker()]
        for worker in workers:
            scenario.until_held(worker, PARTITIONS // 2)
        scenario.play(sent, HOUR, {20: own_kafka.restart, 50: own_kafka.restart})
        assert all(worker.running for worker in workers)
        scenario.finish(sent, END)
