"""(h) The audience of a new course, in a process of its own: `python -m tests.benchmarks.audience SEED PEOPLE`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from models.recommend.catalogue import Catalogue
from models.schema import events as ev
from streams.agents.users import envelope as env
from streams.agents.users.audience import select_audience
from streams.agents.users.envelope import Envelope
from streams.agents.users.store import UserStore
from streams.state.partition import Pair
from tests.benchmarks import rig
from tests.benchmarks.figures import Report
from tests.benchmarks.rig import Cores
from tests.benchmarks.workload import Population
from tests.harness.process import CHECKOUT

PART = "h"
PARTITIONS = 16
SIZE = 500
COURSES = 400
"""Courses of the population."""
FIELDS = 19
"""Of so many fields, the courses of one resemble the announced course."""


def run(report: Report, cores: Cores, seed: int, people: int, rounds: int) -> None:
    """Announce a course to so many people, so many times."""
    command = [rig.python(), "-m", "tests.benchmarks.audience", str(seed), str(people)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for _ in range(rounds):
        with rig.on_cores(cores.engine):
            done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, check=True)
        found = json.loads(done.stdout)
        report.add(PART, "an audience: looking a cold person over", "us", found["a person"], more=False)
        report.add(PART, f"an audience: all of {people:,} people", "s", found["all"], more=False, goal=10.0)
        report.add(PART, "an audience: what others wait at most", "ms", found["wait"], more=False, goal=100.0)


def measure(seed: int, people: int) -> dict[str, float]:
    """Return CPU seconds for all users, microseconds a user, and the longest wait of other tasks in milliseconds."""
    population, catalogue = Population(seed), Catalogue()
    parts = [UserStore(population.context.rules, 1, _refuse) for _ in range(PARTITIONS)]
    for number in range(people):
        person = population.person(number)
        parts[number % PARTITIONS].restore(
            person.id.encode(), env.encode_envelope(Envelope(person), 1, population.context.rules)
        )
    for course in range(COURSES):
        catalogue.on_course_event(_entry(f"course-{course}", course % FIELDS))
    gc.collect()
    gc.freeze()
    announced = ev.Announced(time=population.start, course=_entry("course-new", 3))
    spent, wait = asyncio.run(_write_fence(parts, announced, catalogue))
    return {"a person": spent / people * 1e6, "all": spent, "wait": wait * 1e3}


def _entry(course: str, field: int) -> ev.CoursePublished:
    return ev.CoursePublished(
        id=course,
        course_id=course,
        time=0.0,
        title=f"{course} of field {field}",
        tags=(f"field {field}",),
        audience=SIZE,
    )


async def _write_fence(parts: list[UserStore], announced: ev.Announced, catalogue: Catalogue) -> tuple[float, float]:
    """Query one partition after the other, while another task wants a turn all the time."""
    waits: list[float] = []
    other = asyncio.create_task(_wait(waits))
    await asyncio.sleep(0)
    began = time.process_time()
    for part, people in enumerate(parts):
        selection = await select_audience(people, announced, part, PARTITIONS, catalogue, 1_000_000)
        if not selection.members:
            raise AssertionError("the audience is empty: nothing is measured")
    spent = time.process_time() - began
    await asyncio.sleep(0)
    other.cancel()
    return spent, max(waits)


async def _wait(waits: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0)
        waits.append(time.perf_counter() - began)


def _refuse(pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
    raise AssertionError("people are held here, not written")


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:3]))))
