"""Days of backlog after an outage, on a real Kafka: two topics of different length, read in nearly one order."""

from __future__ import annotations

import signal
import time

from models.schema import events as ev
from streams.agents.ingest.backlog import STOOD_STILL
from streams.kafka import topics
from tests.brokers import Kafka
from tests.delivery.history import END, HOUR, LEARNING, Sent, history, slices
from tests.delivery.stage import PARTITIONS, Stage, Way


def test_three_days_of_backlog_make_nobody_silent(kafka: Kafka, prefix: str, way: Way) -> None:
    """Nobody is called silent because the other topic was read first; a crash in the middle changes nothing.

    Collectors write in transactions, and every other transaction is aborted, the last one too: what those wrote never
    was.
    """
    sent = history(400)
    with Stage(kafka, prefix, **way) as stage:
        marks = _collected(stage, sent)
        first = stage.worker()
        stage.until(lambda: stage.scribe.records[topics.ALERTS], "the first alerts")
        first.kill()
        stage.worker()
        stage.until_ingested(marks)
        stage.finish(sent, END)


def test_a_backlog_read_by_two_workers_makes_nobody_silent(kafka: Kafka, prefix: str, way: Way) -> None:
    """Two workers are there for the inputs: none runs ahead of another, whoever reads what."""
    sent = history(1_000)
    with Stage(kafka, prefix, **way) as stage:
        workers = [stage.worker(), stage.worker()]
        for worker in workers:
            stage.held(worker, PARTITIONS // 2)
        for worker in workers:  # shorter than their session lasts: they keep what they have
            worker.send(signal.SIGSTOP)
        marks = stage.send(sent)
        time.sleep(2 * STOOD_STILL)
        for worker in workers:
            worker.send(signal.SIGCONT)
        stage.until_ingested(marks)
        stage.finish(sent, END)


def test_what_came_while_a_worker_stood_still_makes_nobody_silent(kafka: Kafka, prefix: str, way: Way) -> None:
    """The answer that waits for it holds the first records of one topic, and says of the other that it has none."""
    sent = history(400)
    with Stage(kafka, prefix, **way) as stage:
        worker = stage.worker()
        stage.held(worker, PARTITIONS)
        for piece in slices(sent, 12 * HOUR):
            worker.send(signal.SIGSTOP)
            marks = stage.send([one for one in piece if one.topic == LEARNING])
            marks |= stage.send([one for one in piece if one.topic != LEARNING])
            time.sleep(2 * STOOD_STILL)
            worker.send(signal.SIGCONT)
            stage.until_ingested(marks)
        stage.finish(sent, END)


def _collected(stage: Stage, sent: list[Sent]) -> dict[tuple[str, int], int]:
    """Send a history in transactions, each followed by one that is taken back; return where it ends."""
    marks: dict[tuple[str, int], int] = {}
    for piece in slices(sent, 12 * HOUR):
        marks |= stage.send(piece, transaction=f"{stage.settings.group}-collector")
        junk = [Sent(_void(one.event), topic) for one in piece[::5] for topic in (one.topic, LEARNING)]
        stage.send(junk, transaction=f"{stage.settings.group}-collector", abort=True)
    return marks


def _void(event: ev.Event) -> ev.Event:
    return ev.Purchase(id=f"{event.id} void", user_id=event.user_id, time=event.time + 24 * HOUR, amount=1.0)
