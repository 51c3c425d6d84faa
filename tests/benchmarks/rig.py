"""Measuring: a broker on one core, the measured process on the other, and its figures from Linux."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from tests.harness.process import Process

READ_TIMEOUT = 900.0
"""A bound for waiting: it only turns a hang into a failure."""
_TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Cores(NamedTuple):
    """Which core is whose. With a single core nothing is pinned."""

    engine: set[int]
    others: set[int]

    @classmethod
    def here(cls) -> Cores:
        """Return the first core this process may use for what is measured, the second for the broker and the rest."""
        usable = sorted(os.sched_getaffinity(0))
        return cls({usable[0]}, {usable[1]} if len(usable) > 1 else {usable[0]})

    @property
    def pinned(self) -> bool:
        """Whether what is measured has a core of its own."""
        return self.engine != self.others


MAX_MEMORY = 8 << 30
"""Bytes of memory that a measured process may have: one that runs away must not take the machine with it."""


class Sample(NamedTuple):
    """A process at a moment: events applied so far, the machine's time, its CPU time and its memory in bytes."""

    events: float
    at: float
    cpu: float
    rss: int


class Measured(Process):
    """A process that is measured. It is started on a core of its own and with MAX_MEMORY."""

    def sample(self, events: float) -> Sample:
        """Return its figures now."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return Sample(events, time.monotonic(), (int(stat[11]) + int(stat[12])) / _TICKS, int(stat[21]) * PAGE)

    def watch(self, events: Callable[[], float], until: float, every: float = 0.25) -> list[Sample]:
        """Sample until so many events were applied."""
        samples, deadline = [self.sample(events())], time.monotonic() + READ_TIMEOUT
        while samples[-1].events < until:
            self.check_running()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{samples[-1].events:.0f} of {until:.0f} events in {READ_TIMEOUT:.0f} s")
            time.sleep(every)
            samples.append(self.sample(events()))
        return samples


class Throughput(NamedTuple):
    """How fast it went: events a second, CPU microseconds an event, share of its core, memory at the end in bytes."""

    rate: float
    cpu: float
    busy: float
    rss: int


def throughput(samples: list[Sample], least: float, most: float) -> Throughput:
    """Return the pace between two counts of events, so that neither start nor end is in it."""
    inside = [one for one in samples if least <= one.events <= most]
    if len(inside) < 2:
        raise RuntimeError(f"too few samples between {least:.0f} and {most:.0f} events: take more events")
    first, last = inside[0], inside[-1]
    events, seconds, cpu = last.events - first.events, last.at - first.at, last.cpu - first.cpu
    return Throughput(events / seconds, cpu / events * 1e6, cpu / seconds, max(one.rss for one in samples))


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Run what is inside, and what it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class RecordToWrite(NamedTuple):
    """A record to write: partition, key, value and time in seconds."""

    partition: int
    key: bytes | None
    value: bytes
    time: float


def fill(bootstrap: str, topic: str, records: Iterable[RecordToWrite], headers: Any = None) -> int:
    """Write records to a topic as fast as it goes; return how many.

    Args:
        bootstrap: the broker.
        topic: where to.
        records: in order.
        headers: gives a record's headers by its number, where it is to have some.
    """
    failed: list[Any] = []
    settings = {"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 1 << 19, "acks": "1"}
    producer = Producer(
        {
            **settings,
            "queue.buffering.max.messages": 400_000,
            "on_delivery": lambda error, _: failed.append(error) if error else None,
        }
    )
    number = -1
    for number, one in enumerate(records):
        more = {"headers": headers(number)} if headers else {}
        while True:
            try:
                producer.produce(topic, one.value, one.key, one.partition, timestamp=int(one.time * 1000), **more)
                break
            except BufferError:
                producer.poll(0.05)
        if not number % 1_000:
            producer.poll(0)
    producer.flush()
    if failed:
        raise RuntimeError(f"{len(failed)} records were not written, the first: {failed[0]}")
    return number + 1


def python() -> str:
    """Return the interpreter that runs the worker: the one that runs this."""
    return sys.executable
