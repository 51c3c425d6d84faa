"""Workers that come and go, and partitions that go with them, on a real Kafka."""

from __future__ import annotations

import signal

from models.schema import events as ev
from tests.delivery.history import END, HOUR, START, Sent, by_person, history
from tests.delivery.scenario import PARTITIONS, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka
from tests.harness.process import wait_until
from tests.harness.worker import WorkerProcess


@ways(*BOTH_STORES)
def test_workers_join_and_leave_in_mid_stream(kafka: Kafka, prefix: str, way: Way) -> None:
    """Partitions go to workers that join, and come back when they leave: people and outputs as if nothing happened.

    Whoever is told to leave, by SIGTERM or SIGINT, does so within its deadline and with exit code 0.
    """
    sent = by_person(history(300))
    with Scenario(kafka, prefix, **way, lateness="6h") as scenario:
        first = scenario.worker()

        def leave(number: int) -> None:
            wait_until(scenario.workers[1].metrics, "it answers, so it hears signals")
            assert scenario.workers[1].stop(number) == 0
            del scenario.workers[1]

        scenario.play(
            sent,
            HOUR,
            {
                12: scenario.worker,
                22: lambda: scenario.until_held(scenario.workers[1], 2),
                26: scenario.worker,
                40: lambda: leave(signal.SIGTERM),
                52: lambda: leave(signal.SIGINT),
            },
        )
        scenario.until_held(first, PARTITIONS)
        scenario.finish(sent, END)


@ways(*BOTH_STORES)
def test_who_hands_over_in_peace_leaves_nothing_to_redo(kafka: Kafka, prefix: str, way: Way) -> None:
    """What was applied is committed when a partition goes or the worker is told to end, however rare commits are.

    The log is written directly, in transactions of which every other one is aborted: what those wrote never was.
    """
    sent = history(120)
    half = len(sent) // 2
    with Scenario(kafka, prefix, **way, agents="users", commit_every="10m") as scenario:
        first = scenario.worker()
        _transacted(scenario, sent[:half])
        wait_until(lambda: _taken(first) == half, "the first half applied")
        second = scenario.worker()
        scenario.until_held(second, PARTITIONS // 2)
        assert scenario.lag() == 0
        _transacted(scenario, sent[half:])
        wait_until(lambda: _taken(first) + _taken(second) == len(sent), "the second half applied")
        taken = _taken(second)
        assert first.stop(signal.SIGTERM) == 0
        scenario.until_held(second, PARTITIONS)
        assert scenario.lag() == 0
        assert _taken(second) == taken
        assert second.stop(signal.SIGINT) == 0
        assert scenario.lag() == 0
        last = scenario.worker(commit_every="1s")
        scenario.tick(END)
        scenario.settle(sent, END)
        assert _taken(last) == PARTITIONS


def _taken(worker: WorkerProcess) -> int:
    return int(worker.metric("encore_records_total"))


def _transacted(scenario: Scenario, sent: list[Sent]) -> None:
    """Write events into the log, after others of the same people that are taken back."""
    junk = [Sent(ev.Login(id=f"{one.event.id} void", user_id=one.event.user_id, time=START), one.topic) for one in sent]
    scenario.append(scenario.with_partitions(junk), transaction=f"{scenario.settings.group}-collector", abort=True)
    scenario.append(scenario.with_partitions(sent), transaction=f"{scenario.settings.group}-collector")
