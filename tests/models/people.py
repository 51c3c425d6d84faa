"""Events, histories, models, campaigns and contexts that tests share."""

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

_EVENTS: tuple[Callable[[dict, str, float], ev.Event], ...] = (
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


def make_event(index: int, time: float, kind: int, share: float, user: str) -> ev.Event:
    """Make an event of the numbered kind, in one of six courses."""
    base = {"id": f"{user}-{index}", "user_id": user, "time": time}
    return _EVENTS[kind](base, f"c{int(share * 5)}", share)


def histories(max_events: int = 30, max_gap_days: float = 40, user: str = "u") -> st.SearchStrategy[list[ev.Event]]:
    """Generate histories in order of time with bursts, days and long silences. No event is on a whole second."""
    gap = st.one_of(
        st.integers(0, 7_200),
        st.integers(0, int(min(3.0, max_gap_days) * DAY)),
        st.integers(0, int(max_gap_days * DAY)),
    )
    shares = st.integers(0, 1_000).map(lambda thousandths: thousandths / 1_000)
    parts = st.lists(st.tuples(gap, st.integers(0, len(_EVENTS) - 1), shares), min_size=1, max_size=max_events)

    def build(drawn: list[tuple[int, int, float]]) -> list[ev.Event]:
        time, events = START + 0.5, []
        for index, (pause, kind, share) in enumerate(drawn):
            time += pause
            events.append(make_event(index, time, kind, share, user))
        return events

    return parts.map(build)


def shuffle_events(events: Sequence[ev.Event], seed: int, lateness: float = HOUR) -> list[ev.Event]:
    """Shuffle events so that each is displaced by at most the lateness."""
    rng = random.Random(seed)
    return [event for _, event in sorted(((event.time + rng.uniform(0, lateness)), event) for event in events)]


def make_model(weight: float = 2.0, bias: float = -3.0) -> Scorer:
    """Make a model whose risk grows with silence: low when active, medium after 3 days, high after 7."""
    size = len(features.NAMES)
    weights = np.zeros(size)
    weights[features.SILENCE] = weight
    return linear_scorer("test-1", 1_000, np.zeros(size), np.ones(size), weights, bias)


def make_campaign(**changes: object) -> Campaign:
    """Make a campaign without hold-out, consent or quiet hours, with changes."""
    defaults: dict[str, object] = {
        "id": "back", "arm": Arm(name="ten", amount=10.0), "hold_out": 0.0, "needs_consent": False,
        "quiet_from": 0.0, "quiet_until": 0.0, "version": "v1",
    }  # fmt: skip
    return Campaign(**{**defaults, **changes})  # type: ignore[arg-type]


def make_context(**changes: object) -> Context:
    """Make a context with this model and campaign, with changes."""
    return Context(**{"rules": Rules(), "model": make_model(), "campaign": make_campaign(), **changes})  # type: ignore[arg-type]


def active_times(events: Iterable[ev.Event], rules: Rules) -> list[float]:
    """Return the times of events that count as activity."""
    return [event.time for event in events if ev.kind_of(event) in rules.active_kinds]


def process_timers(person: Person, until: float, context: Context) -> tuple[Person, list[Output]]:
    """Process all timers before a moment."""
    outputs: list[Output] = []
    while next_due(person, context.rules) < until:
        transition = retention.wake(person, next_due(person, context.rules), context)
        person = transition.person
        outputs += transition.outputs
    return person, outputs


def process_events(
    person: Person, events: Iterable[ev.Event], context: Context, until: float
) -> tuple[Person, list[Output]]:
    """Process one person's events as a worker does: before each event the timers due, finally those before `until`."""
    outputs: list[Output] = []
    for event in events:
        person, due = process_timers(person, event.time, context)
        transition = retention.step(person, event, context)
        person = transition.person
        outputs += [*due, *transition.outputs]
    person, due = process_timers(person, until, context)
    return person, outputs + due
