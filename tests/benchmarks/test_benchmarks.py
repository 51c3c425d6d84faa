"""All engines do the same job: the peers' code decides as Encore does, and the workload is as described."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from models.person.ledger import NEVER
from models.person.person import Person, next_due
from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Output
from streams.agents.users import envelope as env
from streams.agents.users.envelope import Envelope
from streams.kafka import codec
from tests.benchmarks import courses, job, workload
from tests.benchmarks.figures import Report
from tests.benchmarks.job import Job, Timers
from tests.benchmarks.workload import Population, WorkloadEvent
from tests.harness.process import CHECKOUT
from tests.streams.doubles import Record
from tests.streams.processor_harness import ProcessorHarness

PEOPLE, EVENTS = 120, 3_000


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(3, kinds=60)


@pytest.fixture(scope="module")
def log(population: Population) -> list[WorkloadEvent]:
    return list(itertools.islice(population.log(PEOPLE), EVENTS))


def end(log: list[WorkloadEvent]) -> float:
    """A moment at which all timers of the log have fired."""
    return log[-1].time + 7_200.0


def by_job(population: Population, log: list[WorkloadEvent]) -> Iterator[Output]:
    """The outputs of the peers' code for a log; users are kept as bytes and woken by a heap at the end."""
    work, due = Job(population.context), Timers()
    kept = {
        workload.user_id_of(number).encode(): job.encode_person(population.person(number)) for number in range(PEOPLE)
    }
    for key, value in kept.items():
        due.enter(key, work.due(job.decode_person(value)))
    for one in log:
        key, event = workload.user_id_of(one.number).encode(), work.parse(one.value, one.time)
        assert isinstance(event, ev.Event)
        person, found = work.event(job.decode_person(kept[key]), event)
        kept[key] = job.encode_person(person)
        due.enter(key, work.due(person))
        yield from found
    until = end(log) - work.lateness
    while keys := due.until(until):
        for key in keys:
            person, found = work.wake(job.decode_person(kept[key]), until)
            kept[key] = job.encode_person(person)
            due.enter(key, work.due(person))
            yield from found


def by_log_processor(population: Population, log: list[WorkloadEvent]) -> set[str]:
    """The output ids of a worker's log processor for the same log."""
    rules = population.context.rules
    changelog = [
        (person.id.encode(), env.encode_envelope(Envelope(person), 1, rules))
        for person in map(population.person, range(PEOPLE))
    ]
    station = ProcessorHarness(changelog, context=population.context, expiry="log", alert_lasts=1e8)
    for offset, one in enumerate(log):
        key = workload.user_id_of(one.number).encode()
        station.process(Record("events", 0, offset, round(one.time * 1000), key, one.value))
    tick = event_codec.encode(ev.Tick(time=end(log)))
    station.process(Record("events", 0, len(log), round(end(log) * 1000), None, tick))
    station.run_timers()
    station.commit_all()
    return {found.id for found in station.outputs}


def test_the_peers_code_says_what_the_fold_says(population: Population, log: list[WorkloadEvent]) -> None:
    found = {output.id for output in by_job(population, log)}
    assert len(found) > 20
    assert found == by_log_processor(population, log)


def test_the_peers_know_a_persons_state_from_an_event(population: Population, log: list[WorkloadEvent]) -> None:
    """By its first byte: no event is mistaken for a state."""
    assert {job.encode_person(population.person(number))[0] for number in range(60)} == {job.SEEDED}
    assert job.SEEDED not in {one.value[0] for one in log}


def test_the_same_seed_gives_the_same_people_and_log(population: Population, log: list[WorkloadEvent]) -> None:
    again, other = Population(3, kinds=60), Population(4, kinds=60)
    assert again.snapshot == population.snapshot
    assert again.person(7) == population.person(7)
    assert list(itertools.islice(again.log(PEOPLE), 500)) == log[:500]
    assert list(itertools.islice(other.log(PEOPLE), 500)) != log[:500]


def test_the_log_is_in_order_of_time_and_every_event_is_valid_and_new(log: list[WorkloadEvent]) -> None:
    events = [event_codec.decode(one.value) for one in log]
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert len({event.id for event in events}) == len(events)
    assert all(abs(event.time - one.time) < 1e-3 for event, one in zip(events, log, strict=True))


def test_nothing_is_overdue_when_the_log_begins(population: Population) -> None:
    people: list[Person] = [population.person(number) for number in range(200)]
    assert all(next_due(person, population.context.rules) > population.start for person in people)
    assert 0.5 < sum(person.ledger.grid != NEVER for person in people) / 200 < 0.95


def test_a_person_has_the_size_of_a_real_one(population: Population) -> None:
    sizes = [
        len(env.encode_envelope(Envelope(population.person(number)), 1, population.context.rules))
        for number in range(60)
    ]
    assert 900 < np.mean(sizes) < 1_500


def test_memory_of_a_cold_person_holds_at_least_their_value() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.memory", "1", "20000", "2000"]
    found = json.loads(subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout)
    assert found["cold"] > found["value"] > 900


def test_a_ratio_is_taken_round_by_round() -> None:
    report = Report()
    report.add("c", "ours", "events/s", 10.0, 40.0, 90.0)
    report.add("c", "theirs", "events/s", 5.0, 10.0, 10.0)
    report.ratio("c", "ours to theirs", "ours", "theirs", goal=3.0)
    figure = report.figures["c", "ours to theirs"]
    assert (figure.values, figure.median, figure.verdict) == ([2.0, 4.0, 9.0], 4.0, "reached")


def test_a_cost_reaches_its_goal_from_below() -> None:
    report = Report()
    report.add("e", "memory", "bytes", 1_600.0, more=False, goal=1_500.0)
    assert report.figures["e", "memory"].verdict == "SHORT"
    assert "≤ 1,500" in report.table()


def test_the_peers_send_what_is_said_where_a_worker_sends_it(population: Population, log: list[WorkloadEvent]) -> None:
    found = list(by_job(population, log))
    assert len({type(output) for output in found}) > 4
    for output in found:
        topic, key = codec.address(output)
        assert job.address(output) == (topic, key.decode())


def test_recommendations_have_all_figures_that_have_a_goal() -> None:
    """Percentiles of each step and the memory a course; memory needs a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.courses", "1", "120", "600", "4"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    found = json.loads(subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, check=True).stdout)
    assert found.keys() >= courses.GOALS.keys()
    assert all(value > 0 for value in found.values())
    assert any("memory" in what for what in found)


def test_an_audience_is_measured_with_people_whom_the_course_would_please() -> None:
    """In a process of its own: all users of all partitions, and the wait of other tasks."""
    command = [sys.executable, "-m", "tests.benchmarks.audience", "1", "400"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    found = json.loads(subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, check=True).stdout)
    assert found.keys() == {"a person", "all", "wait"}
    assert all(value > 0 for value in found.values())
