"""The job as a user of another engine would write it: plain functions over one user, and the same models.

Typed parse and validation, the check for repeats, due work, fold, features, scores, decisions. What another engine
gives (where state lives, how it is made durable, how outputs leave) is in the file of that engine.
"""

from __future__ import annotations

import heapq
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from models.churn.scorer import build_scorer
from models.churn.snapshot import decode_snapshot
from models.offers.campaign import Campaign
from models.person import features
from models.person.person import Person, next_due
from models.person.preferences import Interaction
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.context import Context
from models.retention.risk import Score
from models.retention.step import ScoreRequest, Transition
from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from models.schema.outputs import Alert, CouponTrigger, EarlySignal, Example, Output, Profile, Tombstone

SKEW = 300.0
_pack = msgspec.msgpack.Encoder().encode
SEEDED = _pack(Person(""))[0]
"""The first byte of a record that is a user's state and not an event. Such records load the users at the start."""

_unpack = msgspec.msgpack.Decoder(Person).decode
_json = msgspec.json.Encoder().encode


class Task(msgspec.Struct, kw_only=True):
    """The parameters of a run: a JSON file named on the command line."""

    bootstrap: str
    prefix: str
    group: str
    folder: str
    snapshot: str
    campaign: str
    progress: str
    partitions: int
    commit_every: float = 1.0

    @classmethod
    def read(cls) -> Task:
        """Return the task of this process."""
        return msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=cls)

    def context(self) -> Context:
        """Return the context of decisions: model, rules and campaign."""
        model = build_scorer(decode_snapshot(Path(self.snapshot).read_bytes()))
        campaign = msgspec.json.decode(Path(self.campaign).read_bytes(), type=Campaign)
        return Context(rules=Rules(recommend=False), model=model, campaign=campaign)


class Progress:
    """Writes, from time to time, the numbers of applied events and rejected records, and the CPU time so far."""

    def __init__(self, file: str, job: Job) -> None:
        self._file = Path(file)
        self._job = job
        self._events = 0
        self._next = 0.0
        self._asked = 0

    def add(self) -> None:
        """Count an event."""
        self._events += 1

    def note(self) -> None:
        """Write a line, at most four a second."""
        self._asked += 1
        if self._asked & 31:
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.25
            with self._file.open("a") as file:
                file.write(json.dumps([self._events, now, time.process_time(), self._job.rejected]) + "\n")


class Timers:
    """The timers of users: a heap in which outdated entries are skipped."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, bytes]] = []
        self._entered: dict[bytes, float] = {}

    def enter(self, key: bytes, due: float) -> None:
        """Set a user's timer, unless an earlier one is set."""
        if due < self._entered.get(key, math.inf):
            self._entered[key] = due
            heapq.heappush(self._heap, (due, key))

    def until(self, moment: float) -> list[bytes]:
        """Return the users whose timers are due by a moment, and remove these timers."""
        due = []
        while self._heap and self._heap[0][0] <= moment:
            at, key = heapq.heappop(self._heap)
            if self._entered.get(key) == at:
                del self._entered[key]
                due.append(key)
        return due


class Job:
    """The job for one user; every call returns the user's new state and the outputs."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.rejected = 0

    def parse(self, value: bytes, log_time: float) -> ev.Event | ev.Tick | None:
        """Return a checked event; None for a record that must be dropped."""
        try:
            event = event_codec.decode(value)
        except InvalidEvent:
            event = None
        if isinstance(event, ev.Event | ev.Tick) and event.time <= log_time + SKEW:
            return event
        self.rejected += 1
        return None

    def event(self, person: Person, event: ev.Event) -> tuple[Person, list[Output]]:
        """Apply an event, after the timers that were due before it."""
        person, outputs = self.wake(person, math.nextafter(event.time, 0.0))
        transition = self._score(retention.begin_step(person, event, self._context))
        outputs.extend(transition.outputs)
        return transition.person, outputs

    def wake(self, person: Person, until: float) -> tuple[Person, list[Output]]:
        """Fire a user's timers up to a moment."""
        outputs: list[Output] = []
        while (due := next_due(person, self._context.rules)) <= until:
            transition = self._score(retention.begin_wake(person, due, self._context))
            person = transition.person
            outputs.extend(transition.outputs)
        return person, outputs

    def due(self, person: Person) -> float:
        """Return the time of a user's next timer."""
        return next_due(person, self._context.rules)

    def _score(self, transition: Transition | ScoreRequest) -> Transition:
        """Score a user: one at a time, as these engines process users."""
        if not isinstance(transition, ScoreRequest):
            return transition
        context = self._context
        row = features.row(transition.person.activity, transition.at, context.rules.horizon)
        assert context.model is not None
        (plain,) = context.model.raw_probabilities(row[None])
        return retention.apply_score(transition, Score(row, *context.model.recalibrate([plain]), plain), context)

    @property
    def lateness(self) -> float:
        """Seconds for which timers wait for late events."""
        return self._context.rules.lateness


def encode_person(person: Person) -> bytes:
    """Encode a user's state."""
    return _pack(person)


def decode_person(value: bytes) -> Person:
    """Decode a user's state."""
    return _unpack(value)


def address(output: Output) -> tuple[str, str]:
    """Return an output's topic and key."""
    if isinstance(output, Alert):
        return "retention-alerts", output.user_id
    if isinstance(output, CouponTrigger):
        return "coupon-triggers", output.user_id
    if isinstance(output, Profile | Tombstone):
        return "user-profiles", output.user_id
    if isinstance(output, Interaction):
        return "interactions", output.course
    example_or_decision: Any = output
    return "examples" if isinstance(output, Example | EarlySignal) else "decisions", example_or_decision.user


def encode_output(output: Output) -> bytes:
    """Encode an output."""
    return _json(output)
