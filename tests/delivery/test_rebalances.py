"""Workers that come and go, and partitions that go with them, on a real Kafka."""

from __future__ import annotations

import signal

from models.schema import events as ev
from tests.brokers import Kafka
from tests.delivery.history import END, HOUR, START, Sent, by_person, history
from tests.delivery.process import Worker
from tests.delivery.stage import PARTITIONS, Stage, Way


def test_workers_join_and_leave_in_mid_stream(kafka: Kafka, prefix: str, way: Way) -> None:
    """Partitions go to workers that join, and come back when they leave: people and outputs as if nothing happened.

    Whoever is told to leave, by SIGTERM or SIGINT, does so within its deadline and with exit code 0.
    """
    sent = by_person(history(300))
    with Stage(kafka, prefix, **way, lateness="6h") as stage:
        first = stage.worker()

        def leave(number: int) -> None:
            stage.until(stage.workers[1].metrics, "it answers, so it hears signals")
            assert stage.workers[1].stop(number) == 0
            del stage.workers[1]

        stage.play(
            sent,
            HOUR,
            {
                12: stage.worker,
                22: lambda: stage.held(stage.workers[1], 2),
                26: stage.worker,
                40: lambda: leave(signal.SIGTERM),
                52: lambda: leave(signal.SIGINT),
            },
        )
        stage.held(first, PARTITIONS)
        stage.finish(sent, END)


def test_who_hands_over_in_peace_leaves_nothing_to_redo(kafka: Kafka, prefix: str, way: Way) -> None:
    """What was applied is committed when a partition goes or the worker is told to end, however rare commits are.

    The log is written directly, in transactions of which every other one is aborted: what those wrote never was.
    """
    sent = history(120)
    half = len(sent) // 2
    with Stage(kafka, prefix, **way, agents="users", commit_every="10m") as stage:
        first = stage.worker()
        _transacted(stage, sent[:half])
        stage.until(lambda: _taken(first) == half, "the first half applied")
        second = stage.worker()
        stage.held(second, PARTITIONS // 2)
        assert stage.behind() == 0
        _transacted(stage, sent[half:])
        stage.until(lambda: _taken(first) + _taken(second) == len(sent), "the second half applied")
        taken = _taken(second)
        assert first.stop(signal.SIGTERM) == 0
        stage.held(second, PARTITIONS)
        assert stage.behind() == 0
        assert _taken(second) == taken
        assert second.stop(signal.SIGINT) == 0
        assert stage.behind() == 0
        last = stage.worker(commit_every="1s")
        stage.tick(END)
        stage.settle(sent, END)
        assert _taken(last) == PARTITIONS


def _taken(worker: Worker) -> int:
    return int(worker.count("encore_records_total"))


def _transacted(stage: Stage, sent: list[Sent]) -> None:
    """Write events into the log, after others of the same people that are taken back."""
    junk = [Sent(ev.Login(id=f"{one.event.id} void", user_id=one.event.user_id, time=START), one.topic) for one in sent]
    stage.tell(stage.told(junk), transaction=f"{stage.settings.group}-collector", abort=True)
    stage.tell(stage.told(sent), transaction=f"{stage.settings.group}-collector")
