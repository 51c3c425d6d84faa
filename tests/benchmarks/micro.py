"""(a) CPU microseconds of each step on users and events of the workload, and how often each step runs."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models.offers import campaign
from models.person import activity, features
from models.person.ledger import NEVER
from models.person.person import Person, next_due
from models.retention import step as retention
from models.retention.step import ScoreRequest
from models.schema import event_codec
from models.schema import events as ev
from streams.agents.users import envelope as env
from streams.agents.users.envelope import Envelope
from streams.kafka import codec
from streams.kafka.topics import partition_of
from tests.benchmarks import workload
from tests.benchmarks.figures import Report
from tests.benchmarks.workload import Population
from tests.streams.doubles import Record

PART = "a"
PEOPLE = 2_000
CHUNK = 64
"""Rows that share one matrix product here; in a worker this depends on the chunk and its users."""


def run(report: Report, population: Population, events: int, rounds: int) -> None:
    """Measure each step so many times."""
    log = list(itertools.islice(population.log(PEOPLE), events))
    decoded = [event_codec.decode(one.value) for one in log]
    people = [population.person(number) for number in range(PEOPLE)]
    alive = [person for person in people if person.ledger.grid != NEVER]
    proportions(report, population, people, decoded)
    for _ in range(rounds):
        steps = _event_steps(population, people, log, decoded)
        steps += _scoring_steps(population, alive) + _encoding_steps(population, people)
        for what, operations, work in steps:
            began = time.process_time()
            work()
            report.add(PART, what, "us", (time.process_time() - began) / operations * 1e6, more=False)


def _record(one: Any) -> Record:
    key = workload.user_id_of(one.number).encode()
    return Record("events", partition_of(key, 16), 0, int(one.time * 1_000), key, one.value)


Step = tuple[str, int, Callable[[], object]]
"""A step: its name, its number of operations, and a function that does them."""


def _event_steps(population: Population, people: list[Person], log: Sequence[Any], decoded: list[Any]) -> list[Step]:
    context, active = population.context, population.context.rules.active_kinds
    events = [(people[one.number], event) for one, event in zip(log, decoded, strict=True)]
    decoders = [codec.LogDecoder(partition, 16, frozenset(), 900_000, 300.0) for partition in range(16)]
    records = [(record, decoders[record.partition]) for record in map(_record, log)]

    def decode() -> None:
        for record, decoder in records:
            decoder.decode(record)

    def fold() -> None:
        for person, event in events:
            activity.fold(person.activity, event, ev.kind_of(event) in active)

    return [
        ("decode and check an event", len(records), decode),
        ("fold it into the activity", len(records), fold),
        ("step: all of an event but its score", len(records),
         lambda: [retention.begin_step(p, e, context) for p, e in events]),
    ]  # fmt: skip


def _scoring_steps(population: Population, alive: list[Person]) -> list[Step]:
    context, now, horizon = population.context, population.start, population.context.rules.horizon
    model = context.model
    assert model is not None
    alive = alive * (CHUNK * 20 // len(alive) + 1)
    wakes = [(person, person.ledger.grid) for person in alive]
    acts, moments = [person.activity for person in alive], [now] * CHUNK
    chunks = [acts[i : i + CHUNK] for i in range(0, len(alive) - CHUNK + 1, CHUNK)]
    rows = [features.rows(some, moments, horizon) for some in chunks]

    def wake() -> None:
        for person, due in wakes:
            retention.begin_wake(person, due, context)

    def decide() -> None:
        for person in alive:
            campaign.decide("contact", person.id, person.ledger, context.campaign, now, False)

    m = len(chunks) * CHUNK
    return [
        ("wake: all of a wake but its score", len(wakes), wake),
        (f"features, {CHUNK} rows together", m, lambda: [features.rows(a, moments, horizon) for a in chunks]),
        ("features, one row alone", len(acts), lambda: [features.row(a, now, horizon) for a in acts]),
        (f"score, {CHUNK} rows together", m, lambda: [model.logits(r) for r in rows]),
        ("score, one row alone", CHUNK * 5, lambda: [model.probability(row) for r in rows[:5] for row in r]),
        ("decide on an action", len(alive), decide),
    ]


def _encoding_steps(population: Population, people: list[Person]) -> list[Step]:
    rules = population.context.rules
    envelopes = [Envelope(person) for person in people]
    values = [env.encode_envelope(envelope, 1, rules) for envelope in envelopes]
    return [
        ("encode a person", len(envelopes), lambda: [env.encode_envelope(e, 1, rules) for e in envelopes]),
        ("decode a person", len(values), lambda: [env.decode_envelope(value) for value in values]),
        ("read the prefix of an encoded person", len(values), lambda: [env.read_prefix(value) for value in values]),
    ]


def proportions(report: Report, population: Population, people: list[Person], decoded: list[Any]) -> None:
    """Report what a hundred events cause, because these proportions determine the cost of a run."""
    context, by_name, counts = population.context, {person.id: person for person in people}, Counter[str]()
    for event in decoded:
        person = by_name[event.user_id]
        while (due := next_due(person, context.rules)) < event.time:
            person = _through(retention.begin_wake(person, due, context), population, counts, "wakes")
        by_name[event.user_id] = _through(retention.begin_step(person, event, context), population, counts, "events")
    end = decoded[-1].time - context.rules.lateness
    for person in by_name.values():
        while (due := next_due(person, context.rules)) <= end:
            person = _through(retention.begin_wake(person, due, context), population, counts, "wakes")
    share = {name: round(count * 100 / len(decoded), 1) for name, count in sorted(counts.items())}
    size = np.mean([len(env.encode_envelope(Envelope(person), 1, context.rules)) for person in people])
    listed = ", ".join(f"{value} {name}" for name, value in share.items() if name != "events")
    days = (decoded[-1].time - population.start) / activity.DAY
    report.remark(
        f"Of 100 events: {listed}. {len(people)} people, {len(decoded) / len(people) / days:.1f} events a person "
        f"and day; {size:.0f} bytes a person."
    )


def _through(transition: Any, population: Population, counts: Counter[str], cause: str) -> Person:
    """Answer a score request, and count the outputs."""
    counts[cause] += 1
    if isinstance(transition, ScoreRequest):
        counts[f"scores by {cause}"] += 1
        transition = retention.apply_score(
            transition, retention.score_requests([transition], population.context)[0], population.context
        )
    for output in transition.outputs:
        counts[type(output).__name__.lower() + "s"] += 1
    person: Person = transition.person
    return person
