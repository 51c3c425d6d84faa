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
"""Seconds to wait at most: a limit that only a hang reaches."""
_TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Cores(NamedTuple):
    """The cores of the measured process and of the others. With a single core no process is pinned."""

    engine: set[int]
    others: set[int]

    @classmethod
    def here(cls) -> Cores:
        """Return the first usable core for the measured process, and the second for the broker and the rest."""
        usable = sorted(os.sched_getaffinity(0))
        return cls({usable[0]}, {usable[1]} if len(usable) > 1 else {usable[0]})

    @property
    def pinned(self) -> bool:
        """Whether the measured process has a core of its own."""
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
    """Events a second, CPU microseconds an event, share of the core, and memory at the end in bytes."""

    rate: float
    cpu: float
    busy: float
    rss: int


def throughput(samples: list[Sample], least: float, most: float) -> Throughput:
    """Return the throughput between two counts of events, which exclude start and end."""
    inside = [one for one in samples if least <= one.events <= most]
    if len(inside) < 2:
        raise RuntimeError(f"too few samples between {least:.0f} and {most:.0f} events: take more events")
    first, last = inside[0], inside[-1]
    events, seconds, cpu = last.events - first.events, last.at - first.at, last.cpu - first.cpu
    return Throughput(events / seconds, cpu / events * 1e6, cpu / seconds, max(one.rss for one in samples))


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Run the block, and the processes that it starts, on some cores."""
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
    """Write records to a topic as fast as possible; return their number.

    Args:
        bootstrap: the broker.
        topic: where to.
        records: in order.
        headers: returns a record's headers by its number; None for records without headers.
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
    """Return the interpreter of this process, which runs the workers, too."""
    return sys.executable
