"""Workers that join and leave, and the partitions that move with them, on a real Kafka."""

from __future__ import annotations

import signal

from models.schema import events as ev
from tests.delivery.history import END, HOUR, START, Sent, by_person, history
from tests.delivery.scenario import PARTITIONS, UNHURRIED, Scenario
from tests.delivery.ways import BOTH_STORES, Way, ways
from tests.harness.kafka import Kafka
from tests.harness.process import wait_until
from tests.harness.worker import WorkerProcess


@ways(*BOTH_STORES)
def test_workers_join_and_leave_under_load(kafka: Kafka, prefix: str, way: Way) -> None:
    """Partitions move to workers that join and back when they leave: users and outputs are those of an undisturbed run.

    A worker that gets SIGTERM or SIGINT ends within its deadline, with exit code 0.
    """
    sent = by_person(history(300))
    with Scenario(kafka, prefix, **way, **UNHURRIED, lateness="6h") as scenario:
        first = scenario.worker()

        def leave(number: int) -> None:
            wait_until(scenario.workers[1].metrics, "the worker answers, so it handles signals")
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
def test_an_orderly_handover_leaves_no_work_to_repeat(kafka: Kafka, prefix: str, way: Way) -> None:
    """Applied records are committed at a revocation and at the end, however rare periodic commits are.

    The log is written directly, in transactions. Every other one is aborted: its records do not count.
    """
    sent = history(120)
    half = len(sent) // 2
    with Scenario(kafka, prefix, **way, **UNHURRIED, agents="users", commit_every="10m") as scenario:
        first = scenario.worker()
        _append_in_transactions(scenario, sent[:half])
        wait_until(lambda: _records_applied(first) == half, "the first half applied")
        second = scenario.worker()
        scenario.until_held(second, PARTITIONS // 2)
        assert scenario.lag() == 0
        _append_in_transactions(scenario, sent[half:])
        wait_until(lambda: _records_applied(first) + _records_applied(second) == len(sent), "the second half applied")
        applied = _records_applied(second)
        assert first.stop(signal.SIGTERM) == 0
        scenario.until_held(second, PARTITIONS)
        assert scenario.lag() == 0
        assert _records_applied(second) == applied
        assert second.stop(signal.SIGINT) == 0
        assert scenario.lag() == 0
        last = scenario.worker(commit_every="1s")
        scenario.tick(END)
        scenario.settle(sent, END)
        assert _records_applied(last) == PARTITIONS


def _records_applied(worker: WorkerProcess) -> int:
    return int(worker.metric("encore_records_total"))


def _append_in_transactions(scenario: Scenario, sent: list[Sent]) -> None:
    """Append events to the log, after other events of the same users in an aborted transaction."""
    aborted = [
        Sent(ev.Login(id=f"{one.event.id} void", user_id=one.event.user_id, time=START), one.topic) for one in sent
    ]
    scenario.append(scenario.with_partitions(aborted), transaction=f"{scenario.settings.group}-collector", abort=True)
    scenario.append(scenario.with_partitions(sent), transaction=f"{scenario.settings.group}-collector")
