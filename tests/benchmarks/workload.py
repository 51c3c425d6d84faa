"""The workload: users with twelve weeks of history, their next events, and a model that learned from similar users.

Everything follows from the seed. How much work an event causes is set by a few proportions, which are a learning
platform's usual ones: a person has about five events on a day within the look-back (the click logs of the Open
University have four to five), in visits of a dozen. An active user is scored once a visit and at purchases, a silent
user once a day.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from models.churn.learner import ChurnLearner
from models.churn.scorer import build_scorer
from models.churn.snapshot import decode_snapshot, encode_snapshot
from models.person import features
from models.person.activity import DAY
from models.person.ledger import NEVER
from models.person.person import Person, next_due, next_wake
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.context import Context
from models.schema import event_codec
from models.schema.outputs import Example
from streams.operation import campaigns

START = 1_767_571_200.0
"""Monday, 5 January 2026: the start of the log, unless a run uses the present."""
KINDS = 300
"""The number of different histories; each user has one of them under an id of its own."""
HISTORY = 84.0
"""Days of history before the log begins: as many as a user's ring of days holds."""
VISITS = 0.5
"""Mean visits a day of a user who has not left."""
DEEDS = 12.0
"""Events a visit, on average."""
TICK = 600.0
"""Seconds of event time between two ticks of a partition: the share of ticks in a log of tens of thousands a second."""
CAMPAIGN = Path(__file__).parents[2] / "deploy" / "campaigns" / "win-back.toml"
_MASK = (1 << 64) - 1
_COURSES = 400


class WorkloadEvent(NamedTuple):
    """An event as a platform sends it: the user's number, the time, and the bytes."""

    number: int
    time: float
    value: bytes


def user_id_of(number: int) -> str:
    """Return the id of a user."""
    return f"u-{number:08d}"


def fence_person() -> Person:
    """Return the empty person in a fence."""
    return Person("")


# -- events -----------------------------------------------------------------------------------------------------------

_LESSON = ',"course_id":"{course}","lesson_id":"{course}/{lesson}","progress":{part}'
_SHARES: tuple[tuple[float, str, str], ...] = (
    (0.34, "lesson_progress", _LESSON + ',"minutes":{minutes}'),
    (0.18, "page_view", ',"page":"/courses/{course}/lessons/{lesson}"'),
    (0.10, "course_view", ',"course_id":"{course}"'),
    (0.09, "lesson_completed", _LESSON),
    (0.08, "exercise", ',"course_id":"{course}","score":{part}'),
    (0.05, "search", ',"query":"introduction to {course}"'),
    (0.04, "like", ',"course_id":"{course}"'),
    (0.03, "comment", ',"course_id":"{course}"'),
    (0.025, "points_earned", ',"points":{minutes}'),
    (0.02, "favourite", ',"course_id":"{course}"'),
    (0.01, "question", ',"course_id":"{course}"'),
    (0.01, "live_session", ',"course_id":"{course}","minutes":{minutes}'),
    (0.008, "review", ',"course_id":"{course}","rating":{part}'),
    (0.012, "purchase", ',"course_id":"{course}","amount":{minutes},"currency":"EUR"'),
    (0.005, "course_completed", ',"course_id":"{course}"'),
)  # fmt: skip
_CUMULATED = [sum(share for share, _, _ in _SHARES[: index + 1]) for index in range(len(_SHARES))]


class Platform:
    """Encodes events. Half of the users are on the web, with times in RFC 3339; the others have times in seconds."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._written = 0
        self._salt = rng.getrandbits(64)

    def visit(self, number: int, at: float) -> list[WorkloadEvent]:
        """Return one visit: a login and the events until its end."""
        rng = self._rng
        course = f"course-{(number * 7 + rng.randrange(3)) % _COURSES}"
        reached = rng.random() * 0.9
        events = [self.write(number, at, "login" if rng.random() < 0.6 else "page_view", "")]
        for _ in range(min(60, int(rng.expovariate(1.0 / (DEEDS - 0.5))))):
            at += 1.0 + rng.expovariate(1.0 / 100.0)
            reached = min(1.0, reached + 0.01)
            kind, more = self._deed()
            minutes = round(rng.expovariate(1.0 / 14.0) % 90.0, 1)
            more = more.format(course=course, lesson=int(reached * 24) + 1, part=round(reached, 3), minutes=minutes)
            events.append(self.write(number, at, kind, more))
        return events

    def write(self, number: int, at: float, kind: str, more: str = "") -> WorkloadEvent:
        """Return one event."""
        self._written += 1
        name = (self._written * 0x9E3779B97F4A7C15 + self._salt) & _MASK
        at = round(at, 3)
        when = f'"{np.datetime64(round(at * 1000), "ms")}Z"' if number & 1 else f"{at:.3f}"
        text = f'{{"type":"{kind}","id":"{name:016x}","user_id":"{user_id_of(number)}","time":{when}{more}}}'
        return WorkloadEvent(number, at, text.encode())

    def _deed(self) -> tuple[str, str]:
        drawn = self._rng.random() * _CUMULATED[-1]
        for index, bound in enumerate(_CUMULATED):
            if drawn < bound:
                return _SHARES[index][1:]
        return _SHARES[0][1:]


# -- users ------------------------------------------------------------------------------------------------------------


class Population:
    """The users at the start of the log, a model that learned from similar users, and a campaign.

    Attributes:
        start: when the log begins, in seconds since 1970 UTC.
        day: seconds between two wakes of a user; a run with denser time makes it shorter.
        snapshot: the model as it is published.
        context: the rules, that model and that campaign.
    """

    def __init__(
        self, seed: int, start: float = START, rules: Rules | None = None, kinds: int = KINDS, model: str = "logistic"
    ) -> None:
        self.start = start
        self.day = DAY
        self._seed = seed
        self._rules = rules or Rules()
        self.campaign = campaigns.read_campaign(CAMPAIGN)
        rng = Random(f"lives {seed}")
        self._paces = _visit_rates(kinds, rng)
        lives = [self._life(number, rng) for number in range(kinds)]
        learner = _learner(model)
        for row in sorted((row for _, rows in lives for row in rows), key=lambda row: row.time):
            learner.learn(features.array(row.x), row.churned)
        self.snapshot = encode_snapshot(learner.snapshot(0))
        self.context = Context(
            rules=self._rules, model=build_scorer(decode_snapshot(self.snapshot)), campaign=self.campaign
        )
        self._kinds = [self._known(person) for person, _ in lives]

    def person(self, number: int) -> Person:
        """Return a user at the start of the log, with no timer overdue."""
        kind = self._kinds[number % len(self._kinds)]
        name = user_id_of(number)
        grid = (
            kind.ledger.grid
            if kind.ledger.grid == NEVER
            else next_wake(name, self.start, replace(self._rules, wake_every=self.day))
        )
        return replace(kind, id=name, ledger=replace(kind.ledger, grid=grid, done_until=self.start))

    def log(self, people: int) -> Iterator[WorkloadEvent]:
        """Yield the events of so many users in time order, without end."""
        rng = Random(f"log {self._seed}")
        platform, draw = Platform(rng), np.random.default_rng(self._seed)
        weights = np.tile(self._paces, people // len(self._paces) + 1)[:people].cumsum()
        ahead: list[tuple[float, int, WorkloadEvent]] = []
        at, written, rate = self.start, 0, float(weights[-1]) / DAY
        while True:
            for number in np.searchsorted(weights, draw.random(4_096) * weights[-1]).tolist():
                at += rng.expovariate(rate)
                while ahead and ahead[0][0] <= at:
                    yield heapq.heappop(ahead)[2]
                for happening in platform.visit(number, at):
                    written += 1
                    heapq.heappush(ahead, (happening.time, written, happening))

    def _life(self, number: int, rng: Random) -> tuple[Person, list[Example]]:
        """Return the history of twelve weeks; two of five users leave in between and rarely come back."""
        platform, begins = Platform(rng), self.start - HISTORY * DAY
        leaves = self.start if rng.random() < 0.6 else begins + rng.random() * HISTORY * DAY
        at, events_written = begins + rng.random() * 14 * DAY, list[WorkloadEvent]()
        events_written += [platform.write(number, at, "signup"), platform.write(number, at, "consent_given")][
            : rng.choice((1, 2, 2))
        ]
        rate = float(self._paces[number]) / DAY
        while (at := at + 60 + rng.expovariate(rate)) < leaves:
            events_written += platform.visit(number, at)
            at = events_written[-1].time
        if leaves < self.start:
            self._paces[number] *= 0.05
        context = Context(rules=self._rules)
        person, outputs = play(
            Person(user_id_of(number)),
            [event_codec.decode(one.value) for one in events_written if one.time < self.start],
            self.start,
            context,
        )
        return person, [output for output in outputs if isinstance(output, Example)]

    def _known(self, person: Person) -> Person:
        """Give a user the risk tier that the model would have given at the end."""
        ledger = person.ledger
        if ledger.grid == NEVER:
            return person
        row = features.row(person.activity, self.start, self._rules.horizon)
        assert self.context.model is not None
        probability = self.context.model.probability(row)
        tier = ("low", "medium", "high")[(probability >= self._rules.medium) + (probability >= self._rules.high)]
        since = self.start - DAY * (1 + len(person.id) % 3)
        return replace(person, ledger=replace(ledger, tier=tier, tier_since=since, probability=probability))


def models() -> tuple[str, ...]:
    """Return the kinds of models with which this version can score."""
    return ("logistic", "net") if "kind" in signature(ChurnLearner).parameters else ("logistic",)


def _learner(kind: str) -> ChurnLearner:
    chosen: Any = ChurnLearner
    return chosen(kind) if len(models()) > 1 else chosen()


def play(person: Person, events: list[Any], until: float, context: Context) -> tuple[Person, list[Any]]:
    """Apply events in order, and fire the timers that fall due in between."""
    outputs: list[Any] = []
    for event in [*events, None]:
        before = math.nextafter(event.time, 0.0) if event is not None else until
        while (due := next_due(person, context.rules)) <= before:
            transition = retention.wake(person, due, context)
            person, outputs = transition.person, [*outputs, *transition.outputs]
        if event is not None:
            transition = retention.step(person, event, context)
            person, outputs = transition.person, [*outputs, *transition.outputs]
    return person, outputs


def _visit_rates(kinds: int, rng: Random) -> Any:
    """Return visits a day by kind of history, by Zipf's law: few users come daily, most every other week."""
    ranks = np.arange(1, kinds + 1) ** -0.8
    paces = np.minimum(4.0, ranks / ranks.mean() * VISITS)
    order = list(range(kinds))
    rng.shuffle(order)
    return paces[order]
