"""The rig: a broker on one core, what is measured on the other, and what Linux says of a process."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 900.0
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


MOST_MEMORY = 8 << 30
"""Bytes beyond which a process that is measured gets no more: one that runs away must not take the machine along."""


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))


class Sample(NamedTuple):
    """A process at a moment: events applied so far, the machine's time, its CPU time and its memory in bytes."""

    events: float
    at: float
    cpu: float
    rss: int


class Engine:
    """A process that is measured, on its own core."""

    def __init__(self, command: list[str], environment: Mapping[str, str], cores: Cores, log: Path) -> None:
        self.log = log
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores.engine))), *command]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                pinned, env=dict(environment), cwd=CHECKOUT, stdout=out, stderr=out, preexec_fn=_bounded
            )
        self.began = time.monotonic()

    def sample(self, events: float) -> Sample:
        """Return where it stands."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return Sample(events, time.monotonic(), (int(stat[11]) + int(stat[12])) / _TICKS, int(stat[21]) * PAGE)

    def check(self) -> None:
        """Raise if it has ended by itself."""
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended ({self.process.returncode}):\n{self.log.read_text()[-3_000:]}")

    def watch(self, events: Callable[[], float], until: float, every: float = 0.25) -> list[Sample]:
        """Sample until so many events were applied."""
        samples, deadline = [self.sample(events())], time.monotonic() + PATIENCE
        while samples[-1].events < until:
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{samples[-1].events:.0f} of {until:.0f} events in {PATIENCE:.0f} s")
            time.sleep(every)
            samples.append(self.sample(events()))
        return samples

    def end(self) -> None:
        """End it: by asking, and then by force."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(45)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Pace(NamedTuple):
    """How fast it went: events a second, CPU microseconds an event, share of its core, memory at the end in bytes."""

    rate: float
    cpu: float
    busy: float
    rss: int


def pace(samples: list[Sample], least: float, most: float) -> Pace:
    """Return the pace between two counts of events, so that neither start nor end is in it."""
    inside = [one for one in samples if least <= one.events <= most]
    if len(inside) < 2:
        raise RuntimeError(f"too few samples between {least:.0f} and {most:.0f} events: take more events")
    first, last = inside[0], inside[-1]
    events, seconds, cpu = last.events - first.events, last.at - first.at, last.cpu - first.cpu
    return Pace(events / seconds, cpu / events * 1e6, cpu / seconds, max(one.rss for one in samples))


class Figures:
    """A worker's own figures, from its web server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def all(self) -> dict[str, float]:
        """Return every figure by name with labels; none while its server does not answer."""
        with contextlib.suppress(OSError), urllib.request.urlopen(self._url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
            return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        return {}

    def sum(self, name: str, wanted: str = "") -> float:
        """Return a figure summed over its labels, or over those whose text contains something."""
        return total(self.all(), name, wanted)


def total(figures: Mapping[str, float], name: str, wanted: str = "") -> float:
    """Return a figure summed over its labels."""
    return sum(value for key, value in figures.items() if (key == name or key.startswith(name + "{")) and wanted in key)


@contextlib.contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """Run what is inside, and what it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Outgoing(NamedTuple):
    """A record to write: partition, key, value and time in seconds."""

    partition: int
    key: bytes | None
    value: bytes
    time: float


def fill(bootstrap: str, topic: str, records: Iterable[Outgoing], headers: Any = None) -> int:
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
