"""Latency from event to decision: events are sent at a steady rate; the broker's timestamps give the times."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from models.schema import event_codec
from models.schema import events as ev
from streams.kafka import admin, topics
from streams.kafka.topics import partition_of
from tests.benchmarks import workload
from tests.benchmarks.deployment import BenchmarkDeployment, MeasuredWorker
from tests.benchmarks.rig import Cores
from tests.benchmarks.workload import Population, WorkloadEvent
from tests.harness.kafka import Kafka

STEP = 0.01
WARM_UP = 12.0
"""Seconds that are not measured: a broker that has just started compiles itself on its only core."""
LATENESS = 5.0


class Delays(NamedTuple):
    """Seconds from an event in the log to its decision in its topic, the rate, and the worker's share of its core."""

    p50: float
    p99: float
    worst: float
    count: int
    rate: float
    busy: float


class PreparedEvent(NamedTuple):
    """An event encoded except for its time, because sending shares the core of the broker."""

    name: str
    key: bytes
    partition: int
    before: bytes
    after: bytes

    @classmethod
    def of(cls, one: WorkloadEvent, partitions: int) -> PreparedEvent:
        """Prepare an event."""
        name, begin = workload.user_id_of(one.number), one.value.index(b'"time":') + 7
        end = one.value.find(b",", begin)
        key, rest = name.encode(), one.value[end if end >= 0 else len(one.value) - 1 :]
        return cls(name, key, partition_of(key, partitions), one.value[:begin], rest)

    def at(self, moment: float) -> bytes:
        """Return the encoded event with this time."""
        return b"%s%.3f%s" % (self.before, moment, self.after)


def measure(
    broker: Kafka, cores: Cores, seed: int, model: str, people: int, rate: float, seconds: float, partitions: int = 16
) -> Delays:
    """Send so many events a second for some seconds, and measure the decisions that they cause.

    People wake as often for an event as in a backlog: what a day is there, is as much shorter here as time is denser.
    """
    population = Population(seed, start=float(int(time.time())), model=model)
    log = list(itertools.islice(population.log(people), int(rate * (seconds + WARM_UP)) + 1))
    day = 86_400.0 * (seconds + WARM_UP) / (log[-1].time - log[0].time)
    population.day = day
    ready = [PreparedEvent.of(one, partitions) for one in log]
    changed = {
        "clock": "wall",
        "expiry": "wall",
        "wake_every": day,
        "lateness": LATENESS,
        "skew": LATENESS,
        "tick_every": 1.0,
    }
    with BenchmarkDeployment(broker, cores, population, partitions, **changed) as encore:
        _stamped_by_broker(encore)
        encore.write_users(people)
        with encore.worker() as worker:
            worker.seconds_to_ready()
            while worker.metric("encore_ticks_total") < encore.partitions:
                worker.check_running()
                time.sleep(0.1)
            sent, busy, pace = _send_at_rate(encore, worker, ready, rate, seconds)
            time.sleep(3.0)
        delays = sorted(_delays(encore, sent))
    if not delays:
        raise RuntimeError("no decision came of any event: take more of them")
    at = lambda share: delays[min(len(delays) - 1, int(share * len(delays)))]  # noqa: E731
    return Delays(at(0.5), at(0.99), delays[-1], len(delays), pace, busy)


def _send_at_rate(
    encore: BenchmarkDeployment, worker: MeasuredWorker, log: list[PreparedEvent], rate: float, seconds: float
) -> tuple[set[tuple[str, float]], float, float]:
    """Send the log at a rate; return the events sent after the warm-up, the worker's load and the real rate."""
    producer = Producer({"bootstrap.servers": encore.broker.bootstrap, "linger.ms": 2, "acks": "1"})
    topic, partitions = encore.settings.prefix + topics.EVENTS, encore.partitions
    for place in range(partitions):  # a producer that is not connected yet would send a burst later
        producer.produce(topic, event_codec.encode(ev.Tick(time=time.time())), None, place)
    producer.flush()
    sent = set[tuple[str, float]]()
    began, done, before, measured_from = time.time(), 0, None, 0
    while (elapsed := time.time() - began) < seconds + WARM_UP and done < len(log):
        if before is None and elapsed >= WARM_UP:
            before, measured_from = worker.sample(0), done
        for one in log[done : int(elapsed * rate)]:
            now = round(time.time(), 3)
            producer.produce(topic, one.at(now), one.key, one.partition)
            if before is not None:
                sent.add((one.name, now))
        done = max(done, min(len(log), int(elapsed * rate)))
        producer.poll(0)
        time.sleep(STEP)
    assert before is not None
    after = worker.sample(0)
    producer.flush()
    spent = after.at - before.at
    return sent, (after.cpu - before.cpu) / spent, (done - measured_from) / spent


def _delays(encore: BenchmarkDeployment, sent: set[tuple[str, float]]) -> list[float]:
    """Return how long after its event each alert that an event caused stood in its topic, both by the broker's clock.

    So what the sender takes is not in it, but the worker's fetch is, and all until others can read the alert.
    """
    appended = {name: at for name, at in _read(encore, topics.EVENTS) if name in sent}
    return [at - appended[name] for name, at in _read(encore, topics.ALERTS) if name in appended]


def _read(encore: BenchmarkDeployment, topic: str) -> Iterator[tuple[tuple[str, float], float]]:
    """Yield the user and event time of a topic's records, and the time at which the broker appended them."""
    consumer = Consumer(
        {"bootstrap.servers": encore.broker.bootstrap, "group.id": "latency", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(encore.settings.prefix + topic, place, 0) for place in range(encore.partitions)])
    left = encore.partitions
    while left and (message := consumer.poll(30.0)) is not None:
        if message.error():
            left -= 1
            continue
        about = orjson.loads(message.value() or b"")
        yield (about.get("user_id", ""), about["time"]), message.timestamp()[1] / 1000.0
    consumer.close()


def _stamped_by_broker(encore: BenchmarkDeployment) -> None:
    """Let the broker stamp alerts with its own time, at which others can read them."""
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, encore.settings.prefix + topics.ALERTS, incremental_configs=[entry])
    client = admin.connect(encore.settings)
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)
