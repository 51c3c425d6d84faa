"""(h) Recommendations, in a process of their own: `python -m tests.benchmarks.courses SEED COURSES USES QUERIES`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from models.person.preferences import Interaction, Preferences, fold_use, person_key
from models.recommend import features
from models.recommend.candidates import select_candidates
from models.recommend.cooccurrence import CooccurrenceRow, update_row
from models.recommend.generators import generate, make_query
from models.recommend.index import Index
from models.recommend.lists import Surface, recommend
from streams.evaluation.recommender import Recommender
from tests.benchmarks import rig
from tests.benchmarks.figures import Report
from tests.benchmarks.memory import resident
from tests.benchmarks.rig import Cores
from tests.harness.process import CHECKOUT

PART = "h"
GOALS = {"row update, p99": 200.0, "a whole row into an index, p90": 300.0,
         "candidates, p90": 1_000.0, "query with ranker, p90": 2_000.0,
         "a list of ten with its reasons, p90": 2_000.0}  # fmt: skip
USES_A_PERSON = 40
USES_A_COURSE = 3
"""Uses per course, at least, on average: in a large catalogue most courses have few."""
FIELD = 50
"""Courses of one field; seven of ten uses of a user are in the user's own field."""


def run(report: Report, cores: Cores, seed: int, sizes: list[int], uses: int, rounds: int) -> None:
    """Measure catalogues of several sizes, with so many uses, or three per course if that is more."""
    for courses in sizes:
        for _ in range(rounds):
            arguments = map(str, (seed, courses, max(uses, USES_A_COURSE * courses), 1_000))
            with rig.on_cores(cores.engine):
                command = [rig.python(), "-m", "tests.benchmarks.courses", *arguments]
                environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
                done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, check=True)
            for what, value in json.loads(done.stdout).items():
                unit = "kB" if "memory" in what else "us"
                report.add(PART, f"{what}; {courses:,} courses", unit, value, more=False, goal=GOALS.get(what))


def measure(seed: int, courses: int, uses: int, queries: int) -> dict[str, float]:
    """Return CPU microseconds by operation, and kilobytes a course."""
    before = resident()
    model = Recommender(surface=Surface(repeats="all"))
    dice = np.random.default_rng(seed)
    for number in range(courses):
        model.describe(f"c{number}", {f"word {word}": 1.0 for word in dice.zipf(1.3, 12) % 5_000})
    spent: dict[str, list[float]] = {}
    now = 0.0
    for now, person, course in course_uses(dice, courses, uses):
        taste, interaction = fold_use(
            model.preferences.get(person, Preferences()), "", course, person_key(person), now, 1.0
        )
        model.preferences[person] = taste
        if interaction is not None:
            _apply_interaction(model, interaction, spent)
    index_and_rows = (resident() - before) / courses / 1_000
    _read(list(model.rows.values()), spent)
    _ask(model, [str(person) for person in dice.choice(list(model.preferences), queries)], now, spent)
    return {**_figures(spent), "memory a course, rows and index": index_and_rows}


def course_uses(dice: np.random.Generator, courses: int, uses: int) -> Iterator[tuple[float, str, str]]:
    """Yield uses of a catalogue in which few courses are popular and each user prefers one field."""
    popular = np.cumsum(np.arange(1, courses + 1) ** -0.8)
    people = uses // USES_A_PERSON + 1
    for use in range(uses):
        person = int(dice.integers(0, people))
        course = int(np.searchsorted(popular, dice.random() * popular[-1]))
        if dice.random() < 0.7:
            course = (course // FIELD * FIELD + person * 7 % FIELD) % courses
        yield 10.0 * use, f"p{person}", f"c{course}"


def _apply_interaction(model: Recommender, interaction: Interaction, spent: dict[str, list[float]]) -> None:
    old = model.rows.get(interaction.course, CooccurrenceRow(interaction.course))
    row = model.rows[interaction.course] = _timed(
        spent, "row update", lambda: update_row(old, interaction, model.window)
    )
    changed = [course for course, _ in interaction.others]
    _timed(spent, "what changed of it into an index", lambda: model.index.update(row, changed))


def _read(rows: list[CooccurrenceRow], spent: dict[str, list[float]]) -> None:
    """Read the fullest rows as a worker does at its start: decode them, then put them whole."""
    fullest = sorted(rows, key=lambda row: len(row.near))[-500:]
    index, decoder = Index(), msgspec.msgpack.Decoder(CooccurrenceRow)
    for value in [msgspec.msgpack.encode(row) for row in fullest]:
        row = _timed(spent, "a whole row decoded", lambda value=value: decoder.decode(value))
        _timed(spent, "a whole row into an index", lambda row=row: index.update(row))


def _ask(model: Recommender, people: list[str], now: float, spent: dict[str, list[float]]) -> None:
    for person in people:
        taste = model.preferences[person]

        def candidates(taste: Preferences = taste, person: str = person) -> Any:
            question = make_query(model.index, taste, now, person_key(person))
            drawn = generate(model.index, model.content, question)
            return question, select_candidates(model.index, model.content, taste, drawn, "all")

        def query(candidates: Callable[[], Any] = candidates) -> Any:
            question, chosen = candidates()
            return model.net.scores(features.rows(model.index, chosen, question, "all"))

        _timed(spent, "candidates", candidates)

        def listed(taste: Preferences = taste, person: str = person) -> Any:
            surface, key = model.surface, person_key(person)
            return recommend(model.index, model.content, taste, now, 10, surface, model.net, key)

        _timed(spent, "query with ranker", query)
        _timed(spent, "a list of ten with its reasons", listed)


def _timed(spent: dict[str, list[float]], what: str, work: Callable[[], Any]) -> Any:
    began = time.process_time()
    done = work()
    spent.setdefault(what, []).append(time.process_time() - began)
    return done


def _figures(spent: dict[str, list[float]]) -> dict[str, float]:
    """Return percentiles over the second half of the run, when the model is full."""
    return {
        f"{what}, p{share}": float(np.percentile(seconds[len(seconds) // 2 :], share)) * 1e6
        for what, seconds in spent.items()
        for share in (50, 90, 99)
    }


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:5]))))
