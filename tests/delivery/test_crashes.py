"""Workers and brokers that die in the middle of their work, on a real Kafka."""

from __future__ import annotations

import time
from random import Random

from tests.brokers import Kafka, RealKafka
from tests.delivery.history import END, HOUR, by_person, history
from tests.delivery.stage import PARTITIONS, Stage, Way


def test_a_worker_killed_three_times_leaves_no_trace(kafka: Kafka, prefix: str, way: Way) -> None:
    """SIGKILL in mid-stream, three times: people as undisturbed, every output there, always with the same content.

    Where people are on disk, its successor finds that of the killed one, the last one an empty one.
    """
    sent, rng = by_person(history(300)), Random(4)
    with Stage(kafka, prefix, **way, lateness="6h", commit_every="2s") as stage:
        stage.worker(disk="first")

        def killed(disk: str = "first") -> None:
            time.sleep(rng.uniform(0.0, 0.2))
            stage.workers[-1].kill()
            stage.worker(disk)

        stage.play(sent, HOUR, {15: killed, 35: killed, 55: lambda: killed("second")})
        stage.finish(sent, END)


def test_a_broker_killed_under_load_loses_nothing(own_kafka: RealKafka, prefix: str, way: Way) -> None:
    """The broker dies and comes back on its data while two workers are at work: they go on, and nothing shows."""
    sent = by_person(history(200))
    with Stage(own_kafka, prefix, **way, lateness="6h") as stage:
        workers = [stage.worker(), stage.worker()]
        for worker in workers:
            stage.held(worker, PARTITIONS // 2)
        stage.play(sent, HOUR, {20: own_kafka.restart, 50: own_kafka.restart})
        assert all(worker.running for worker in workers)
        stage.finish(sent, END)
