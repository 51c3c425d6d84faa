"""What an engine says at the job: for the proof that all of them do the same one."""

from __future__ import annotations

import time

import orjson
from confluent_kafka import Consumer, TopicPartition

from streams.kafka import topics
from tests.benchmarks import peers
from tests.benchmarks.peers import Peer
from tests.benchmarks.rig import Cores
from tests.benchmarks.stage import BenchmarkDeployment
from tests.benchmarks.workload import Population
from tests.harness.kafka import RealKafka

QUIET = 6.0
"""Seconds without anything new after which an engine has said all."""
MOST = 120.0


def decision_ids(engine: str, crowd: Population, python: str, people: int, events: int, cores: Cores) -> set[str]:
    """Return the ids of the decisions and examples of an engine over so many events, and what was due after them."""
    with RealKafka() as broker, BenchmarkDeployment(broker, cores, crowd, 4) as stage:
        if engine == "encore":
            stage.settle(people)
            last = stage.log(people, events).last
        else:
            last = peers.fill(stage, people, events).last
        running = stage.worker() if engine == "encore" else Peer(stage, engine, python)
        with running:
            found, deadline, since, tick = set[str](), time.monotonic() + MOST, float("inf"), 7_200.0
            while time.monotonic() < min(deadline, since + QUIET):
                stage.tick(last + (tick := tick + 0.001))
                time.sleep(1.0)
                running.check_running()
                fresh = _ids(stage)
                if fresh - found:
                    found, since = found | fresh, time.monotonic()
            return found


def _ids(stage: BenchmarkDeployment) -> set[str]:
    """Return the ids of what was decided; what was too old to be sent is a word about sending."""
    places = [TopicPartition(stage.settings.prefix + topics.DECISIONS, place, 0) for place in range(stage.partitions)]
    places.append(TopicPartition(stage.settings.prefix + topics.EXAMPLES, 0, 0))
    consumer = Consumer({"bootstrap.servers": stage.broker.bootstrap, "group.id": "said", "enable.partition.eof": True})
    consumer.assign(places)
    ids, left = set[str](), len(places)
    while left and (message := consumer.poll(30.0)) is not None:
        if message.error():
            left -= 1
        elif (found := orjson.loads(message.value() or b""))["type"] != "undelivered":
            ids.add(found["id"])
    consumer.close()
    return ids
