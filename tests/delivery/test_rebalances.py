"""Workers that come and go, and partitions that go with them, on a real Kafka."""

from __future__ import annotations

import signal

from models.activity import DAY
from tests.brokers import Kafka
from tests.delivery.harness import HOUR, PARTITIONS, START, Stage, Worker, by_person, history

END = START + 5 * DAY


def held(stage: Stage, worker: Worker, partitions: int) -> None:
    """Wait until a worker holds so many partitions and is ready."""

    def holds() -> bool:
        figures = worker.metrics()
        return figures.get("encore_partitions") == partitions and figures.get("encore_ready") == 1

    stage.until(holds, f"{partitions} partitions held")


def test_workers_join_and_leave_in_mid_stream(kafka: Kafka, prefix: str) -> None:
    """Partitions go to workers that join, and come back when they leave: people and outputs as if nothing happened."""
    sent = by_person(history(300))
    with Stage(kafka, prefix, lateness="6h") as stage:
        first = stage.worker()

        def leave(number: int) -> None:
            assert stage.workers[1].stop(number) == 0
            del stage.workers[1]

        stage.play(
            sent,
            HOUR,
            {
                12: stage.worker,
                22: lambda: held(stage, stage.workers[1], 2),
                26: stage.worker,
                40: lambda: leave(signal.SIGTERM),
                52: lambda: leave(signal.SIGINT),
            },
        )
        held(stage, first, PARTITIONS)
        stage.finish(sent, END)


def test_a_frozen_worker_comes_back_and_spoils_nothing(kafka: Kafka, prefix: str) -> None:
    """SIGSTOP past the session timeout: another worker takes over, and what the frozen one wakes up with is void."""
    sent = by_person(history(200))
    with Stage(kafka, prefix, lateness="6h", commit_every="2s") as stage:
        frozen = stage.worker()

        def freeze() -> None:
            frozen.send(signal.SIGSTOP)
            held(stage, stage.worker(), PARTITIONS)

        def thaw() -> None:
            frozen.send(signal.SIGCONT)

        held(stage, frozen, PARTITIONS)
        stage.play(sent, HOUR, {6: freeze, 40: thaw, 45: lambda: held(stage, frozen, PARTITIONS // 2)})
        stage.finish(sent, END)
