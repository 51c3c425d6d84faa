"""What so many learners need, worked out from what was measured."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from tests.benchmarks.figures import Report

DAY = 86_400.0
EVENTS_A_DAY = 5.0
"""Events of a learner on a day, on average over all who are known."""
PEAK = 4.0
"""How many times the average the busiest hour has."""
LOAD = 0.7
"""Share of a core that is used at the peak: above it, waiting times grow."""
EVENT = 250.0
"""Bytes of an event in the log, with its key, its origin and what Kafka puts around it."""
RETENTION = 7.0
"""Days that the log is kept."""
COPIES = 3
"""Replicas of a topic."""
UNCOMPACTED = 2.0
"""How many times its smallest size a changelog has between two compactions."""
MOST_MEMORY = 4e9
"""Bytes of people who are not decoded that one worker is given: beyond it, another takes its share."""
PROGRAM = 200e6
"""Bytes of a worker without anybody in it."""
HOT = 20_000
"""People held decoded in each partition (setting `cached_users`)."""
SIZES = (100_000, 1_000_000, 10_000_000)


class Costs(NamedTuple):
    """What was measured: CPU seconds an event under load, people recovered a second, bytes of a value and in memory."""

    event: float
    recovery: float
    value: float
    cold: float
    hot: float


class Need(NamedTuple):
    """What so many people need: events a second at the peak, and the rest as the names say, in bytes and seconds."""

    people: int
    events: float
    workers: int
    partitions: int
    memory: float
    recovery: float
    disk: float
    written: float


def needed(people: int, costs: Costs) -> Need:
    """Work out what so many people need.

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
    """Return what people in different numbers need, as a table for the README."""
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
    """Return the costs that a run has measured, if it has measured all of them."""
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
