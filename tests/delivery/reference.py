"""The expected users and outputs of a history, computed without `streams` except for the encoding of outputs.

The events of each user go in order through `retention.wake` and `retention.step`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from math import nextafter
from typing import NamedTuple

import msgspec

from models.churn.learner import ChurnLearner
from models.churn.snapshot import encode_snapshot
from models.person import features
from models.person.activity import DAY
from models.person.person import Person, next_due
from models.person.rules import Rules
from models.retention import step as retention
from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import Example, Output, Tombstone
from streams.kafka import codec, topics
from tests.delivery.history import START, Sent, history

OUTPUT_TOPICS = (
    topics.ALERTS,
    topics.TRIGGERS,
    topics.DECISIONS,
    topics.EXAMPLES,
    topics.PROFILES,
    topics.INTERACTIONS,
)

Outputs = dict[str, dict[str, set[bytes]]]
"""By topic and id, every content that was published under that id."""


class Reference(NamedTuple):
    """The users and outputs of an undisturbed run, from the two functions of `models.retention` alone."""

    people: dict[str, Person]
    outputs: Outputs
    rules: Rules

    @classmethod
    def of(cls, sent: Iterable[Sent], context: Context, until: float) -> Reference:
        """Compute it for a history, up to a last tick."""
        by_user: dict[str, list[ev.Event]] = defaultdict(list)
        for one in sent:
            by_user[one.event.user_id].append(one.event)
        people, outputs = {}, {topic: defaultdict(set) for topic in OUTPUT_TOPICS}
        for user, events in by_user.items():
            people[user], published = play(user, events, context, until)
            for output in published:
                if not isinstance(output, Tombstone):
                    outputs[codec.address(output)[0]][output.id].add(codec.encode_output(output) or b"")
        return cls(people, {topic: dict(by_id) for topic, by_id in outputs.items()}, context.rules)


def play(user: str, events: Iterable[ev.Event], context: Context, until: float) -> tuple[Person, list[Output]]:
    """Apply the events of a user in order, and fire the timers that fall due in between."""
    person, outputs = Person(user), list[Output]()
    for event in events:
        person, more = _wake(person, nextafter(event.time, 0.0), context)
        transition = retention.step(person, event, context)
        person, outputs = transition.person, [*outputs, *more, *transition.outputs]
        if not person.id:  # erased: a later event under the same id starts a new user
            person = msgspec.structs.replace(person, id=user)
    person, more = _wake(person, until - context.rules.lateness, context)
    return person, outputs + more


def _wake(person: Person, until: float, context: Context) -> tuple[Person, list[Output]]:
    outputs = list[Output]()
    while (due := next_due(person, context.rules)) <= until:
        transition = retention.wake(person, due, context)
        person, outputs = transition.person, [*outputs, *transition.outputs]
    return person, outputs


@cache
def frozen_model(rules: Rules) -> bytes:
    """Return the snapshot of a model that has learned from another history and learns no more."""
    learner = ChurnLearner()
    for user, events in _by_user(history(80, 6.0, seed=77)).items():
        for output in play(user, events, Context(rules=rules), START + 9 * DAY)[1]:
            if isinstance(output, Example):
                learner.learn(features.array(output.x), output.churned)
    assert learner.labels > 100
    return encode_snapshot(learner.snapshot(0))


def _by_user(sent: Iterable[Sent]) -> dict[str, list[ev.Event]]:
    by_user: dict[str, list[ev.Event]] = defaultdict(list)
    for one in sent:
        by_user[one.event.user_id].append(one.event)
    return by_user
