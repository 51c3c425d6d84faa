"""People, histories and worlds that the tests of models/ share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from models.churn.scorer import Scorer, linear_scorer
from models.offers.campaign import Arm, Campaign
from models.person import features
from models.person.activity import DAY
from models.person.person import Person, next_due
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import Output

HOUR = 3_600.0
START = 20_000 * DAY
"""A Friday, midnight UTC."""
NOON = START + 12 * HOUR

_MAKERS: tuple[Callable[[dict, str, float], ev.Event], ...] = (
    lambda base, course, share: ev.Login(**base),
    lambda base, course, share: ev.CourseView(**base, course_id=course),
    lambda base, course, share: ev.LessonProgress(**base, course_id=course, progress=share, minutes=60 * share),
    lambda base, course, share: ev.LessonProgress(**base, course_id=course, progress=share / 2),
    lambda base, course, share: ev.LessonCompleted(**base, course_id=course),
    lambda base, course, share: ev.CourseCompleted(**base, course_id=course),
    lambda base, course, share: ev.Exercise(**base, course_id=course, score=share),
    lambda base, course, share: ev.LiveSession(**base, minutes=90 * share),
    lambda base, course, share: ev.Review(**base, rating=share),
    lambda base, course, share: ev.Comment(**base),
    lambda base, course, share: ev.Purchase(**base, amount=100 * share),
    lambda base, course, share: ev.Refund(**base, amount=10 * share),
    lambda base, course, share: ev.SubscriptionStarted(**base, amount=10.0),
    lambda base, course, share: ev.SubscriptionCancelled(**base),
    lambda base, course, share: ev.CouponDelivered(**base, offer_id="o"),
    lambda base, course, share: ev.PointsEarned(**base, points=share),
    lambda base, course, share: ev.ConsentGiven(**base),
)


def made(index: int, time: float, kind: int, share: float, user: str) -> ev.Event:
    """Return an event of a kind by number, in one of six courses."""
    base = {"id": f"{user}-{index}", "user_id": user, "time": time}
    return _MAKERS[kind](base, f"c{int(share * 5)}", share)


def histories(most: int = 30, longest_gap_days: float = 40, user: str = "u") -> st.SearchStrategy[list[ev.Event]]:
    """Histories in order of time: bursts, days and long silences; no event falls on a whole second."""
    gap = st.one_of(
        st.integers(0, 7_200),
        st.integers(0, int(min(3.0, longest_gap_days) * DAY)),
        st.integers(0, int(longest_gap_days * DAY)),
    )
    shares = st.integers(0, 1_000).map(lambda thousandths: thousandths / 1_000)
    parts = st.lists(st.tuples(gap, st.integers(0, len(_MAKERS) - 1), shares), min_size=1, max_size=most)

    def told(drawn: list[tuple[int, int, float]]) -> list[ev.Event]:
        time, events = START + 0.5, []
        for index, (pause, kind, share) in enumerate(drawn):
            time += pause
            events.append(made(index, time, kind, share, user))
        return events

    return parts.map(told)


def shuffled(events: Sequence[ev.Event], seed: int, lateness: float = HOUR) -> list[ev.Event]:
    """Return the events displaced by at most the lateness each."""
    dice = random.Random(seed)
    return [event for _, event in sorted(((event.time + dice.uniform(0, lateness)), event) for event in events)]


def model(weight: float = 2.0, bias: float = -3.0) -> Scorer:
    """Return a model that raises the risk with the silence: low when active, medium after 3 days, high after 7."""
    size = len(features.NAMES)
    weights = np.zeros(size)
    weights[features.SILENCE] = weight
    return linear_scorer("test-1", 1_000, np.zeros(size), np.ones(size), weights, bias)


def campaign(**changes: object) -> Campaign:
    """Return a campaign for everybody, at any hour, unless changed."""
    plain: dict[str, object] = {
        "id": "back", "arm": Arm(name="ten", amount=10.0), "hold_out": 0.0, "needs_consent": False,
        "quiet_from": 0.0, "quiet_until": 0.0, "version": "v1",
    }  # fmt: skip
    return Campaign(**{**plain, **changes})  # type: ignore[arg-type]


def world(**changes: object) -> Context:
    """Return a world with that model and campaign, unless changed."""
    return Context(**{"rules": Rules(), "model": model(), "campaign": campaign(), **changes})  # type: ignore[arg-type]


def active_times(events: Iterable[ev.Event], rules: Rules) -> list[float]:
    """Return when the person was active by the rules."""
    return [event.time for event in events if ev.kind_of(event) in rules.active_kinds]


def woken(person: Person, until: float, state: Context) -> tuple[Person, list[Output]]:
    """Do all that is due before a moment."""
    said: list[Output] = []
    while next_due(person, state.rules) < until:
        moved = retention.wake(person, next_due(person, state.rules), state)
        person = moved.person
        said += moved.outputs
    return person, said


def live(person: Person, events: Iterable[ev.Event], state: Context, until: float) -> tuple[Person, list[Output]]:
    """Do what a worker does for one person: before each event what is due before it, in the end what is due by then."""
    said: list[Output] = []
    for event in events:
        person, due = woken(person, event.time, state)
        moved = retention.step(person, event, state)
        person = moved.person
        said += [*due, *moved.outputs]
    person, due = woken(person, until, state)
    return person, said + due
