"""The resources for a number of learners, computed from measured costs."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from tests.benchmarks.figures import Report

DAY = 86_400.0
EVENTS_A_DAY = 5.0
"""Events per learner and day, on average over all known learners."""
PEAK = 4.0
"""The rate of the busiest hour as a multiple of the average."""
LOAD = 0.7
"""The share of a core that is used at the peak: above it, latency grows."""
EVENT = 250.0
"""Bytes of an event in the log, with its key, its origin and Kafka's own overhead."""
RETENTION = 7.0
"""Days that the log is kept."""
COPIES = 3
"""Replicas of a topic."""
UNCOMPACTED = 2.0
"""The size of a changelog between two compactions as a multiple of its smallest size."""
MOST_MEMORY = 4e9
"""Bytes of encoded users in one worker: above it, another worker is added."""
PROGRAM = 200e6
"""Bytes of a worker without users."""
HOT = 20_000
"""Users held decoded in each partition (setting `cached_users`)."""
SIZES = (100_000, 1_000_000, 10_000_000)


class Costs(NamedTuple):
    """Measured costs: CPU seconds an event under load, users recovered a second, bytes of a value and in memory."""

    event: float
    recovery: float
    value: float
    cold: float
    hot: float


class Need(NamedTuple):
    """The resources for a number of users: events a second at the peak; the other fields are in bytes and seconds."""

    people: int
    events: float
    workers: int
    partitions: int
    memory: float
    recovery: float
    disk: float
    written: float


def needed(people: int, costs: Costs) -> Need:
    """Compute the resources for so many users.

    Workers carry the peak at `LOAD` of a core each, and hold at most `MOST_MEMORY` of people. Partitions are four a
    worker, so that a worker that goes leaves a quarter of itself to each of four others. Memory and time of recovery
    are a worker's own. Disk is the brokers': the log of `RETENTION` days and the changelog, all `COPIES` of them.
    Written is what producers send at the peak: every event, and every person it changes.
    """
    mean = people * EVENTS_A_DAY / DAY
    peak = mean * PEAK
    workers = max(1, ceil(peak * costs.event / LOAD), ceil(people * costs.cold / MOST_MEMORY))
    partitions = max(16, 1 << (4 * workers - 1).bit_length())
    share = people / workers
    decoded = min(share, HOT * ceil(partitions / workers))
    memory = PROGRAM + share * costs.cold + decoded * costs.hot
    disk = COPIES * (mean * DAY * RETENTION * EVENT + people * costs.value * UNCOMPACTED)
    written = peak * (EVENT + costs.value)
    return Need(people, peak, workers, partitions, memory, share / costs.recovery, disk, written)


def table(costs: Costs, sizes: tuple[int, ...] = SIZES) -> str:
    """Return the resources for several numbers of users, as a table for the README."""
    head = ("learners", "events/s at the peak", "workers (a core each)", "partitions", "memory a worker", "recovery")
    rows = [(*head, "brokers' disk", "sent to brokers at the peak"), ("---",) * 8]
    for size in sizes:
        one = needed(size, costs)
        rows.append(
            (
                f"{one.people:,}",
                f"{one.events:,.0f}",
                f"{one.workers}",
                f"{one.partitions}",
                f"{one.memory / 1e9:.1f} GB",
                f"{one.recovery:,.0f} s",
                f"{one.disk / 1e9:,.0f} GB",
                f"{one.written / 1e6:,.2f} MB/s",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def costs_of(report: Report) -> Costs | None:
    """Return the costs from a report; None if it does not have all of them."""
    wanted = (
        ("b", "CPU an event, 70 % of the pace of catching up"),
        ("d", "recovery"),
        ("e", "a person's value"),
        ("e", "memory a person, cold (key, value, due-queue)"),
        ("e", "memory a person more, hot"),
    )
    found = [report.figures.get(place) for place in wanted]
    medians = [figure.median for figure in found if figure is not None]
    if len(medians) < len(wanted):
        return None
    event, recovery, value, cold, hot = medians
    return Costs(event / 1e6, recovery, value, cold, hot)
