"""A worker that is frozen for longer than its session lasts and does not know it, on a real Kafka."""

from __future__ import annotations

import signal

from tests.delivery.history import END, HOUR, by_person, history
from tests.delivery.scenario import PARTITIONS, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka


@ways(*BOTH_STORES)
def test_a_frozen_worker_that_resumes_damages_nothing(kafka: Kafka, prefix: str, way: Way) -> None:
    """SIGSTOP: another worker takes over. What the frozen one writes and commits after SIGCONT is void.

    It gets some of its partitions back; to Faust it never lost them.
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
