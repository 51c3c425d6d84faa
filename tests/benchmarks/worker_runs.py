"""(b, d, f, g) A worker on a real Kafka: catching up, under load, recovering, growing, and ingesting."""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import latency, rig
from tests.benchmarks.deployment import INPUT, BenchmarkDeployment
from tests.benchmarks.figures import Report
from tests.benchmarks.rig import Cores, Measured, RecordToWrite, Sample, Throughput
from tests.benchmarks.workload import CAMPAIGN, Population, WorkloadEvent
from tests.harness.kafka import RealKafka

WARM, NEARLY = 0.1, 0.95
"""A run is measured between these shares of its events, to exclude its start and its end."""
STEADY = (5_000, 15_000)
"""Further rates for the latency: at one a worker has room, at the other it uses most of its core."""
START = 2_000
"""Events of a short replay, whose costs are subtracted from a long one: they are the costs of starting."""


def catch_up(report: Report, cores: Cores, population: Population, people: int, events: int, rounds: int) -> float:
    """(b) Let a worker catch up on a backlog; return events/s."""
    with RealKafka() as broker:
        for number in range(rounds):
            for how in ("direct", "ingested"):
                if how == "ingested" and number >= max(1, rounds // 2):
                    continue
                with BenchmarkDeployment(broker, cores, population) as encore:
                    encore.write_users(people)
                    encore.write_log(people, events, how == "ingested")
                    what = "catching up" if how == "direct" else "catching up, with ingest's origins on the records"
                    _add_throughput(report, "b", what, measure_applying(encore, events))
    return report.figures["b", "catching up"].median


def under_load(report: Report, cores: Cores, asked: Namespace, people: int, most: float, seconds: float) -> None:
    """(b) Time from event to decision, live: at a rate, and at lower ones.

    What comes live comes in small chunks, of which each costs as much as a large one: the pace of catching up is none
    that can be kept up live.
    """
    rates = {"70 % of the pace of catching up": most} | {f"{rate:,} events/s": float(rate) for rate in STEADY}
    for what, rate in rates.items():
        with RealKafka() as broker:
            delays = latency.measure(broker, cores, asked.seed, asked.model, people, rate, seconds)
        report.add("b", f"p50 from event to decision, {what}", "ms", delays.p50 * 1e3, more=False)
        report.add("b", f"p99 from event to decision, {what}", "ms", delays.p99 * 1e3, more=False, goal=100.0)
        report.add("b", f"share of its core, {what}", "%", delays.busy * 100, more=False)
        report.add("b", f"CPU an event, {what}", "us", delays.busy / delays.rate * 1e6, more=False)
        report.remark(
            f"Latency at {delays.rate:,.0f} events/s over {seconds:.0f} s: {delays.count} decisions, slowest "
            f"{delays.worst * 1e3:.0f} ms."
        )


def measure_applying(encore: BenchmarkDeployment, events: int) -> Throughput:
    """Return the throughput at which a worker applies a log."""
    with encore.worker() as worker:
        worker.seconds_to_ready()
        samples = worker.watch(worker.applied, events * NEARLY)
        return rig.throughput(samples, events * WARM, events * 2.0)


def recover(report: Report, cores: Cores, population: Population, people: int, rounds: int) -> None:
    """(d) Let a worker recover so many users with their timers."""
    with RealKafka() as broker, BenchmarkDeployment(broker, cores, population) as encore:
        size = encore.write_users(people) / people
        for _ in range(rounds):
            with encore.worker() as worker:
                ready = worker.seconds_to_ready()
                figures = worker.metrics()
                took, back = figures["encore_recovery_seconds"], figures["encore_recovered_people"]
                sample = worker.sample(0)
                report.add("d", "recovery", "people/s", back / took, goal=50_000.0)
                report.add("d", "CPU a person recovered", "us", sample.cpu / back * 1e6, more=False)
                report.add("d", "from start to ready", "s", ready, more=False)
                report.add("d", "memory a person, the whole worker", "bytes", sample.rss / back, more=False)
        report.remark(f"Recovered: {people:,} people of {size:,.0f} bytes.")


def grow(
    report: Report, cores: Cores, population: Population, sizes: list[int], counts: list[int], events: int
) -> None:
    """(f) The cost of an event by number of users and by number of partitions."""
    for people in sizes:
        with RealKafka() as broker, BenchmarkDeployment(broker, cores, population) as encore:
            encore.write_users(people)
            encore.write_log(people, events)
            report.add("f", f"CPU an event, {people:,} people", "us", measure_applying(encore, events).cpu, more=False)
    few, many = (f"CPU an event, {people:,} people" for people in (sizes[0], sizes[-1]))
    report.ratio("f", f"{sizes[-1]:,} people to {sizes[0]:,}", many, few)
    for partitions in counts:
        with RealKafka() as broker, BenchmarkDeployment(broker, cores, population, partitions) as encore:
            encore.write_users(sizes[0])
            encore.write_log(sizes[0], events)
            report.add(
                "f",
                f"CPU an event, {partitions} partitions",
                "us",
                measure_applying(encore, events).cpu,
                more=False,
            )
    report.remark(
        "Workers share partitions and nothing else: what a second core adds is what this one does, as long as the "
        "broker and the partitions are not what limits; two cores cannot show it."
    )


def ingest(report: Report, cores: Cores, population: Population, people: int, events: int, rounds: int) -> None:
    """(g) Ingest alone: records read, checked, keyed and appended."""
    with RealKafka() as broker:
        for _ in range(rounds):
            with BenchmarkDeployment(broker, cores, population, agents="ingest") as encore:
                log = itertools.islice(population.log(people), events)
                rig.fill(broker.bootstrap, encore.settings.prefix + INPUT, _without_keys(log, encore.partitions))
                with encore.worker() as worker:
                    worker.seconds_to_ready()
                    samples = worker.watch(
                        functools.partial(worker.metric, "encore_records_total", agent="ingest"), events * NEARLY
                    )
                    _add_throughput(
                        report, "g", "ingest", rig.throughput(samples, events * WARM, events * 2.0), 100_000.0
                    )


def replay(report: Report, cores: Cores, population: Population, people: int, events: int, rounds: int) -> None:
    """(g) `encore replay` of a file, with all features and no broker; the costs of its start are subtracted."""
    with tempfile.TemporaryDirectory(prefix="encore-bench-") as folder:
        log = [one.value for one in itertools.islice(population.log(people), events)]
        model, few, all_ = (Path(folder) / name for name in ("model", "few.jsonl", "all.jsonl"))
        model.write_bytes(population.snapshot)
        few.write_bytes(b"\n".join(log[:START]) + b"\n")
        all_.write_bytes(b"\n".join(log) + b"\n")
        for _ in range(rounds):
            start, whole = (_measure_replay(cores, file, model, Path(folder)) for file in (few, all_))
            seconds, cpu = whole.at - start.at, whole.cpu - start.cpu
            _add_throughput(
                report,
                "g",
                "replay",
                Throughput((events - START) / seconds, cpu / (events - START) * 1e6, cpu / seconds, whole.rss),
                60_000.0,
            )


def _measure_replay(cores: Cores, file: Path, model: Path, folder: Path) -> Sample:
    """Return the seconds, the CPU time and the memory of a replay."""
    command = [rig.python(), "-m", "streams", "replay", str(file), "--model", str(model), "--campaign", str(CAMPAIGN)]
    with Measured([*command, "--json"], os.environ, folder / "log", cores.engine, rig.MAX_MEMORY) as process:
        status, usage = process.wait_for_usage()
        took = time.monotonic() - process.started_at
    if status:
        raise RuntimeError(f"the replay failed:\n{(folder / 'log').read_text()[-2_000:]}")
    return Sample(0, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1_024)


def _without_keys(log: Iterator[WorkloadEvent], partitions: int) -> Iterator[RecordToWrite]:
    """Yield events as a platform without keys sends them: to the partitions in turn."""
    for number, one in enumerate(log):
        yield RecordToWrite(number // 50 % partitions, None, one.value, one.time)


def _add_throughput(report: Report, part: str, what: str, pace: Throughput, goal: float | None = None) -> None:
    report.add(part, what, "events/s", pace.rate, goal=goal if goal else 30_000.0 if what == "catching up" else None)
    report.add(part, f"{what}: CPU an event", "us", pace.cpu, more=False)
    report.add(part, f"{what}: events/s of a core's own second", "events/s", 1e6 / pace.cpu)
    report.add(part, f"{what}: share of its core that it had", "%", pace.busy * 100)
    report.add(part, f"{what}: memory", "MB", pace.rss / 1e6, more=False)
