"""(e) Memory a user: runs `memory` in a new process for each round."""

from __future__ import annotations

import json
import os
import subprocess

from tests.benchmarks import rig
from tests.benchmarks.figures import Report
from tests.benchmarks.rig import Cores
from tests.harness.process import CHECKOUT


def run(report: Report, cores: Cores, seed: int, cold: int, rounds: int) -> None:
    """Measure with so many users, so many times."""
    command = [rig.python(), "-m", "tests.benchmarks.memory", str(seed), str(cold), str(cold // 10)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for _ in range(rounds):
        with rig.on_cores(cores.engine):
            run = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
        found = json.loads(run.stdout)
        report.add("e", "a person's value", "bytes", found["value"], more=False)
        report.add(
            "e", "memory a person, cold (key, value, due-queue)", "bytes", found["cold"], more=False, goal=1_500.0
        )
        report.add("e", "memory a person more, hot", "bytes", found["hot"], more=False)
