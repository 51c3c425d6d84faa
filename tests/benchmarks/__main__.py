"""`make bench`: the costs of Encore, compared with its peers, on this machine.

It is seeded. It needs a real Kafka (deploy/kafka) and, for part c, the peers' environment. The measured process has the
first core; everything else (broker, driver) has the second. On a shared machine seconds say little, and CPU time rises.
So compare ratios within a run, and look at the spread and at the share of its core that a process had.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks import audience, capacity, courses, engine_comparison, memory_runs, micro, rig, worker_runs
from tests.benchmarks.figures import Report
from tests.benchmarks.rig import Cores
from tests.benchmarks.workload import Population, models
from tests.harness.kafka import available
from tests.harness.process import CHECKOUT

PARTS = "abcdefgh"


class Size(argparse.Namespace):
    """The sizes of a run."""

    def __init__(self, quick: bool, rounds: int | None) -> None:
        super().__init__()
        self.rounds = rounds or (1 if quick else 3)
        self.events = 100_000 if quick else 400_000
        self.people = 10_000 if quick else 50_000
        self.micro = 20_000 if quick else 60_000
        self.seconds = 10.0 if quick else 40.0
        self.recovered = 100_000 if quick else 1_000_000
        self.sizes = [10_000, 100_000] if quick else [10_000, 100_000, 1_000_000]
        self.courses = [10_000] if quick else [10_000, 100_000]
        self.partitions = [1, 8, 32]


def main() -> int:
    """Measure the given parts, print the table, and write the figures to a file if one is given."""
    asked = _asked()
    size, cores, report = Size(asked.quick, asked.rounds), Cores.here(), Report()
    missing = available() if set(asked.parts) & set("bcdfg") else None
    if missing:
        print(f"no broker: {missing}", file=sys.stderr)
        return 1
    began = time.time()
    os.sched_setaffinity(0, cores.others)
    _about(report, cores, asked)
    population = Population(asked.seed, model=asked.model)
    for part in asked.parts:
        print(f"({part})", flush=True)
        _measure(part, report, cores, population, size, asked)
    report.remark(f"Seed {asked.seed}, model {asked.model}; {(time.time() - began) / 60:.0f} minutes.")
    print("\n" + report.table())
    if (costs := capacity.costs_of(report)) is not None:
        print("\n" + capacity.table(costs))
    if asked.json:
        about = {
            "seed": asked.seed,
            "parts": asked.parts,
            "model": asked.model,
            "quick": asked.quick,
            "at": began,
            "machine": platform.platform(),
        }
        report.write(asked.json, about)
    return 0


def _measure(
    part: str, report: Report, cores: Cores, population: Population, size: Size, asked: argparse.Namespace
) -> None:
    if part == "a":
        with rig.on_cores(cores.engine):
            micro.run(report, population, size.micro, max(3, size.rounds))
    elif part == "b":
        rate = worker_runs.catch_up(report, cores, population, size.people, size.events, size.rounds)
        worker_runs.under_load(report, cores, asked, size.people, 0.7 * rate, size.seconds)
    elif part == "c":
        engine_comparison.run(report, cores, population, size.people, size.events // 2, size.rounds)
    elif part == "d":
        worker_runs.recover(report, cores, population, size.recovered, size.rounds)
    elif part == "e":
        memory_runs.run(report, cores, asked.seed, size.recovered // 5, size.rounds)
    elif part == "f":
        worker_runs.grow(report, cores, population, size.sizes, size.partitions, size.events // 2)
    elif part == "g":
        worker_runs.ingest(report, cores, population, size.people, size.events, size.rounds)
        worker_runs.replay(report, cores, population, size.people // 5, size.events, size.rounds)
    elif part == "h":
        courses.run(report, cores, asked.seed, size.courses, size.micro, size.rounds)
        audience.run(report, cores, asked.seed, size.recovered, size.rounds)


def _about(report: Report, cores: Cores, asked: argparse.Namespace) -> None:
    """Add a remark about the machine and the version."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True)
    load = os.getloadavg()[0]
    pinned = "one core for what is measured, another for the rest" if cores.pinned else "NOT pinned: one core for all"
    version = commit.stdout.strip() or "no commit"
    report.remark(
        f"{version}, CPython {platform.python_version()}, {pinned}; load {load:.1f} before it began "
        f"(above 1 other processes are running: then trust CPU times and ratios, not seconds)."
    )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default=PARTS, help="which parts, such as a,c (all)")
    parser.add_argument("--quick", action="store_true", help="little of everything: to see that it runs")
    parser.add_argument("--rounds", type=int, help="how often each is measured (3; 1 with --quick)")
    parser.add_argument("--seed", type=int, default=1, help="of people and log (1)")
    parser.add_argument("--model", choices=models(), default="logistic", help="what scores (logistic)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    asked = parser.parse_args()
    asked.parts = [part for part in asked.parts if part.isalpha()]
    if set(asked.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
