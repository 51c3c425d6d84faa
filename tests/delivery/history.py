"""Histories for delivery tests: what people of a platform do within some days of event time."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any, NamedTuple

from models.person.activity import DAY
from models.schema import events as ev

START = 1_760_000_000.0
"""When the histories begin, in event time: long past, so that no event lies beyond its record's log time."""
END = START + 5 * DAY
"""When they are over, and everything that was due has been done."""
HOUR = 3_600.0
LEARNING, PURCHASES = "learning-events", "purchase-events"


class Sent(NamedTuple):
    """An event and the input topic it comes in through."""

    event: ev.Event
    topic: str


def history(people: int, days: float = 3.0, seed: int = 1) -> list[Sent]:
    """Return what people do within some days, in order of time: busy at first, later silent for a while or for good.

    Two events of a person are further apart than half an hour, the bound within which topics may drift by default.
    Every twentieth event comes twice, as collectors repeat them; every fiftieth person asks to be forgotten.
    """
    rng = Random(seed)
    sent = [one for number in range(people) for one in _life(number, days, rng)]
    return sorted(sent, key=lambda one: one.event.time)


def by_person(sent: list[Sent]) -> list[Sent]:
    """Return a history in which all events of a person come in through one topic."""
    return [Sent(one.event, (LEARNING, PURCHASES)[one.event.user_id.endswith(("1", "2", "3"))]) for one in sent]


def _life(number: int, days: float, rng: Random) -> list[Sent]:
    user, pace = f"person-{number}", rng.uniform(1.2, 8.0) * HOUR
    at, until, sent = rng.uniform(0, DAY), days * DAY * rng.choice((0.35, 0.6, 1.0, 1.0)), list[Sent]()
    while at < until:
        deed = _deed({"id": f"{user}-{len(sent)}", "user_id": user, "time": START + round(at, 3)}, rng)
        sent += [deed] * (2 if rng.random() < 0.05 else 1)
        at += max(0.75 * HOUR, rng.expovariate(1 / pace)) + (rng.random() < 0.04) * rng.uniform(0.5, 1.2) * DAY
    if number % 50 == 7:
        told: dict[str, Any] = {"id": f"{user}-erase", "user_id": user, "time": START + round(at, 3)}
        sent.append(Sent(ev.ErasureRequested(**told), LEARNING))
    return sent


def _deed(told: dict[str, Any], rng: Random) -> Sent:
    kind, course = rng.random(), f"course-{rng.randrange(3)}"
    if kind < 0.08:
        return Sent(ev.Purchase(**told, amount=round(rng.uniform(5, 90), 2)), PURCHASES)
    if kind < 0.10:
        return Sent(ev.ConsentGiven(**told), PURCHASES)
    if kind < 0.13:
        return Sent(ev.CourseCompleted(**told, course_id=course), LEARNING)
    if kind < 0.40:
        return Sent(ev.Login(**told), LEARNING)
    progress, minutes = round(rng.random() * 0.9, 2), round(rng.uniform(1, 60), 1)
    return Sent(ev.LessonProgress(**told, course_id=course, progress=progress, minutes=minutes), LEARNING)


def slices(sent: list[Sent], seconds: float) -> list[list[Sent]]:
    """Cut a history into pieces of so many seconds of event time."""
    cut: dict[int, list[Sent]] = defaultdict(list)
    for one in sent:
        cut[int((one.event.time - START) // seconds)].append(one)
    return [cut[number] for number in sorted(cut)]
