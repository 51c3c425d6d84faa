"""Days of backlog after an outage, on a real Kafka: two topics of different length, read nearly in time order."""

from __future__ import annotations

import signal
import time

from models.schema import events as ev
from streams.agents.ingest.backlog import PAUSE_THRESHOLD
from streams.kafka import topics
from tests.delivery.history import END, HOUR, LEARNING, Sent, history, slices
from tests.delivery.scenario import PARTITIONS, UNHURRIED, Scenario
from tests.delivery.ways import Way, ways
from tests.harness.kafka import Kafka
from tests.harness.process import wait_until


@ways("fast-rocksdb")
def test_three_days_of_backlog_make_no_user_silent(kafka: Kafka, prefix: str, way: Way) -> None:
    """No user is called silent because the other topic was read first; a crash in between changes nothing.

    Collectors write in transactions. Every other transaction is aborted, also the last one: its records do not count.
    """
    sent = history(400)
    with Scenario(kafka, prefix, **way) as scenario:
        marks = _send_as_collectors(scenario, sent)
        first = scenario.worker()
        wait_until(lambda: scenario.recorder.records[topics.ALERTS], "the first alerts")
        first.kill()
        scenario.worker()
        scenario.until_ingested(marks)
        scenario.finish(sent, END)


@ways("fast-memory")
def test_a_backlog_read_by_two_workers_makes_no_user_silent(kafka: Kafka, prefix: str, way: Way) -> None:
    """Two workers read the inputs: neither runs ahead of the other, whichever partitions it reads."""
    sent = history(1_000)
    with Scenario(kafka, prefix, **way, **UNHURRIED) as scenario:
        workers = [scenario.worker(), scenario.worker()]
        for worker in workers:
            scenario.until_held(worker, PARTITIONS // 2)
        for worker in workers:  # shorter than their session: they keep their partitions
            worker.send(signal.SIGSTOP)
        marks = scenario.send_inputs(sent)
        time.sleep(2 * PAUSE_THRESHOLD)
        for worker in workers:
            worker.send(signal.SIGCONT)
        scenario.until_ingested(marks)
        scenario.finish(sent, END)


@ways("fast-memory")
def test_records_sent_to_a_frozen_worker_make_no_user_silent(kafka: Kafka, prefix: str, way: Way) -> None:
    """The fetch response that waits for it holds the first records of one topic and none of the other."""
    sent = history(400)
    with Scenario(kafka, prefix, **way, **UNHURRIED) as scenario:
        worker = scenario.worker()
        scenario.until_held(worker, PARTITIONS)
        for piece in slices(sent, 12 * HOUR):
            worker.send(signal.SIGSTOP)
            marks = scenario.send_inputs([one for one in piece if one.topic == LEARNING])
            marks |= scenario.send_inputs([one for one in piece if one.topic != LEARNING])
            time.sleep(2 * PAUSE_THRESHOLD)
            worker.send(signal.SIGCONT)
            scenario.until_ingested(marks)
        scenario.finish(sent, END)


def _send_as_collectors(scenario: Scenario, sent: list[Sent]) -> dict[tuple[str, int], int]:
    """Send a history in transactions, each followed by an aborted one; return the last offsets."""
    marks: dict[tuple[str, int], int] = {}
    for piece in slices(sent, 12 * HOUR):
        marks |= scenario.send_inputs(piece, transaction=f"{scenario.settings.group}-collector")
        junk = [Sent(_void(one.event), topic) for one in piece[::5] for topic in (one.topic, LEARNING)]
        scenario.send_inputs(junk, transaction=f"{scenario.settings.group}-collector", abort=True)
    return marks


def _void(event: ev.Event) -> ev.Event:
    return ev.Purchase(id=f"{event.id} void", user_id=event.user_id, time=event.time + 24 * HOUR, amount=1.0)
