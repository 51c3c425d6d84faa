"""The decisions of each engine on the same workload: they prove that all engines do the same job."""

from __future__ import annotations

import time

import orjson
from confluent_kafka import Consumer, TopicPartition

from streams.kafka import topics
from tests.benchmarks import peers
from tests.benchmarks.deployment import BenchmarkDeployment
from tests.benchmarks.peers import Peer
from tests.benchmarks.rig import Cores
from tests.benchmarks.workload import Population
from tests.harness.kafka import RealKafka

QUIET = 6.0
"""Seconds without a new decision after which an engine is finished."""
MOST = 120.0


def decision_ids(engine: str, population: Population, python: str, people: int, events: int, cores: Cores) -> set[str]:
    """Return the ids of an engine's decisions and examples for so many events and all timers after them."""
    with RealKafka() as broker, BenchmarkDeployment(broker, cores, population, 4) as encore:
        if engine == "encore":
            encore.write_users(people)
            last = encore.write_log(people, events).last
        else:
            last = peers.fill(encore, people, events).last
        running = encore.worker() if engine == "encore" else Peer(encore, engine, python)
        with running:
            found, deadline, since, tick = set[str](), time.monotonic() + MOST, float("inf"), 7_200.0
            while time.monotonic() < min(deadline, since + QUIET):
                encore.tick(last + (tick := tick + 0.001))
                time.sleep(1.0)
                running.check_running()
                fresh = _ids(encore)
                if fresh - found:
                    found, since = found | fresh, time.monotonic()
            return found


def _ids(encore: BenchmarkDeployment) -> set[str]:
    """Return the ids of decisions and examples. Records of undelivered outputs do not count: they are about sending."""
    places = [TopicPartition(encore.settings.prefix + topics.DECISIONS, place, 0) for place in range(encore.partitions)]
    places.append(TopicPartition(encore.settings.prefix + topics.EXAMPLES, 0, 0))
    consumer = Consumer(
        {"bootstrap.servers": encore.broker.bootstrap, "group.id": "decisions", "enable.partition.eof": True}
    )
    consumer.assign(places)
    ids, left = set[str](), len(places)
    while left and (message := consumer.poll(30.0)) is not None:
        if message.error():
            left -= 1
        elif (found := orjson.loads(message.value() or b""))["type"] != "undelivered":
            ids.add(found["id"])
    consumer.close()
    return ids
