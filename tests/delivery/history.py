"""Histories for delivery tests: the events of a platform's users within some days of event time."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any, NamedTuple

from models.person.activity import DAY
from models.schema import events as ev

START = 1_760_000_000.0
"""The start of the histories in event time: long ago, so that no event is later than its record's log time."""
END = START + 5 * DAY
"""A time after the histories, when all timers have fired."""
HOUR = 3_600.0
LEARNING, PURCHASES = "learning-events", "purchase-events"


class Sent(NamedTuple):
    """An event and its input topic."""

    event: ev.Event
    topic: str


def history(people: int, days: float = 3.0, seed: int = 1) -> list[Sent]:
    """Return the events of users within some days in time order: busy at first, later silent for a while or for good.

    Two events of a user are more than half an hour apart, the bound within which topics may drift by default.
    Every twentieth event comes twice, as collectors repeat events; every fiftieth user requests erasure.
    """
    rng = Random(seed)
    sent = [one for number in range(people) for one in _events_of(number, days, rng)]
    return sorted(sent, key=lambda one: one.event.time)


def by_person(sent: list[Sent]) -> list[Sent]:
    """Return a history in which all events of a user come through one topic."""
    return [Sent(one.event, (LEARNING, PURCHASES)[one.event.user_id.endswith(("1", "2", "3"))]) for one in sent]


def _events_of(number: int, days: float, rng: Random) -> list[Sent]:
    user, pace = f"person-{number}", rng.uniform(1.2, 8.0) * HOUR
    at, until, sent = rng.uniform(0, DAY), days * DAY * rng.choice((0.35, 0.6, 1.0, 1.0)), list[Sent]()
    while at < until:
        event = _draw_event({"id": f"{user}-{len(sent)}", "user_id": user, "time": START + round(at, 3)}, rng)
        sent += [event] * (2 if rng.random() < 0.05 else 1)
        at += max(0.75 * HOUR, rng.expovariate(1 / pace)) + (rng.random() < 0.04) * rng.uniform(0.5, 1.2) * DAY
    if number % 50 == 7:
        common: dict[str, Any] = {"id": f"{user}-erase", "user_id": user, "time": START + round(at, 3)}
        sent.append(Sent(ev.ErasureRequested(**common), LEARNING))
    return sent


def _draw_event(common: dict[str, Any], rng: Random) -> Sent:
    kind, course = rng.random(), f"course-{rng.randrange(3)}"
    if kind < 0.08:
        return Sent(ev.Purchase(**common, amount=round(rng.uniform(5, 90), 2)), PURCHASES)
    if kind < 0.10:
        return Sent(ev.ConsentGiven(**common), PURCHASES)
    if kind < 0.13:
        return Sent(ev.CourseCompleted(**common, course_id=course), LEARNING)
    if kind < 0.40:
        return Sent(ev.Login(**common), LEARNING)
    progress, minutes = round(rng.random() * 0.9, 2), round(rng.uniform(1, 60), 1)
    return Sent(ev.LessonProgress(**common, course_id=course, progress=progress, minutes=minutes), LEARNING)


def slices(sent: list[Sent], seconds: float) -> list[list[Sent]]:
    """Split a history into slices of so many seconds of event time."""
    cut: dict[int, list[Sent]] = defaultdict(list)
    for one in sent:
        cut[int((one.event.time - START) // seconds)].append(one)
    return [cut[number] for number in sorted(cut)]
