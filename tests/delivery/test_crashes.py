"""Workers and brokers that die in the middle of their work, on a real Kafka."""

from __future__ import annotations

import time
from random import Random

from tests.delivery.history import END, HOUR, by_person, history
from tests.delivery.scenario import PARTITIONS, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka, RealKafka


@ways(*BOTH_STORES, "plain-rocksdb")
def test_a_worker_killed_three_times_leaves_no_trace(kafka: Kafka, prefix: str, way: Way) -> None:
    """SIGKILL in mid-stream, three times: people as undisturbed, every output there, always with the same content.

    Where people are on disk, its successor finds that of the killed one, the last one an empty one.
    """
    sent, rng = by_person(history(300)), Random(4)
    with Scenario(kafka, prefix, **way, lateness="6h", commit_every="2s") as scenario:
        scenario.worker(disk="first")

        def killed(disk: str = "first") -> None:
            time.sleep(rng.uniform(0.0, 0.2))
            scenario.workers[-1].kill()
            scenario.worker(disk)

        scenario.play(sent, HOUR, {15: killed, 35: killed, 55: lambda: killed("second")})
        scenario.finish(sent, END)


@ways("fast-rocksdb")
def test_a_broker_killed_under_load_loses_nothing(own_kafka: RealKafka, prefix: str, way: Way) -> None:
    """The broker dies and comes back on its data while two workers are at work: they go on, and nothing shows."""
    sent = by_person(history(200))
    with Scenario(own_kafka, prefix, **way, lateness="6h") as scenario:
        workers = [scenario.worker(), scenario.worker()]
        for worker in workers:
            scenario.until_held(worker, PARTITIONS // 2)
        scenario.play(sent, HOUR, {20: own_kafka.restart, 50: own_kafka.restart})
        assert all(worker.running for worker in workers)
        scenario.finish(sent, END)
