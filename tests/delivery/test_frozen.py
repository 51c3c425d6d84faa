"""A worker that stands still for longer than its session lasts, on a real Kafka, and does not know it."""

from __future__ import annotations

import signal

from tests.delivery.history import END, HOUR, by_person, history
from tests.delivery.scenario import PARTITIONS, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka


@ways(*BOTH_STORES)
def test_a_frozen_worker_comes_back_and_spoils_nothing(kafka: Kafka, prefix: str, way: Way) -> None:
    """SIGSTOP: another worker takes over, and what the frozen one writes and commits when it wakes up is void.

    It is given some of its partitions back, and to Faust they never went.
    """
    sent = by_person(history(200))
    with Scenario(kafka, prefix, **way, lateness="6h", commit_every="2s") as scenario:
        frozen = scenario.worker()

        def freeze() -> None:
            frozen.send(signal.SIGSTOP)
            scenario.until_held(scenario.worker(), PARTITIONS)

        scenario.until_held(frozen, PARTITIONS)
        scenario.play(
            sent,
            HOUR,
            {
                6: freeze,
                40: lambda: frozen.send(signal.SIGCONT),
                45: lambda: scenario.until_held(frozen, PARTITIONS // 2),
            },
        )
        scenario.finish(sent, END)
