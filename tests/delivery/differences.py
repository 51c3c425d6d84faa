"""Compares what workers published with the reference, in words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from models.person.person import Person
from streams.agents.users import envelope as env
from tests.delivery.recorder import TopicRecorder
from tests.delivery.reference import Reference


def assert_as_undisturbed(recorder: TopicRecorder, reference: Reference) -> None:
    """Assert that users and outputs are those of an undisturbed run."""
    wrong = find_differences(recorder, reference)
    assert not wrong, f"{len(wrong)} differences, the first:\n" + "\n".join(line[:600] for line in wrong[:12])


def find_differences(recorder: TopicRecorder, reference: Reference) -> list[str]:
    """Return each difference of users and outputs from an undisturbed run, in words."""
    found = recorder.users(reference.rules)
    wrong = _differing_users(reference.people, found)
    wrong += [
        f"{key.decode()}: {len(one.outbox)} outputs were never published" for key, one in found.items() if one.outbox
    ]
    for topic, published in recorder.outputs().items():
        expected = reference.outputs[topic]
        wrong += [f"{topic}: {name} is missing" for name in expected.keys() - published.keys()]
        wrong += [f"{topic}: {name} should not be: {published[name]!r}" for name in published.keys() - expected.keys()]
        both = published.keys() & expected.keys()
        wrong += [
            f"{topic}: {name} is {published[name]!r}, not {expected[name]!r}"
            for name in both
            if published[name] != expected[name]
        ]
    return wrong


def _differing_fields(name: str, found: object, expected: object) -> list[str]:
    """Return the innermost fields in which two structs differ."""
    if not isinstance(found, msgspec.Struct):
        return [] if found == expected else [f"{name[1:]} is {found!r}, not {expected!r}"]
    fields = found.__struct_fields__
    return [
        one
        for field in fields
        for one in _differing_fields(f"{name}.{field}", getattr(found, field), getattr(expected, field))
    ]


def _differing_users(people: Mapping[str, Person], found: Mapping[bytes, env.Envelope]) -> list[str]:
    wrong = []
    for user, person in people.items():
        envelope = found.get(user.encode())
        forgotten = person.ledger.erased_at >= 0 and not person.activity.events
        if forgotten != (envelope is None):
            wrong.append(f"{user}: " + ("was not erased" if forgotten else "is missing"))
        elif envelope is not None and envelope.person != person:
            wrong.append(f"{user}: " + "; ".join(_differing_fields("", envelope.person, person)))
    return wrong + [f"{key.decode()}: unknown user" for key in found if key.decode() not in people]
