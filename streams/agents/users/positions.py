"""Which records of the log a user's envelope contains: by offset, and by origin."""

from __future__ import annotations

from models.person.person import Person
from streams.agents.users.envelope import Envelope
from streams.kafka.codec import Origin, Record

MAX_ORIGINS = 128
"""Origins that are kept per user. Beyond that, the one without a record for the longest time is dropped."""


def duplicate_kind(envelope: Envelope, record: Record, origin: Origin | None) -> str | None:
    """Return how a record is known to be applied already (`offset` or `origin`), or None if it is new."""
    if record.offset <= envelope.offset:
        return "offset"
    if origin is not None and origin[1] <= envelope.origins.get(origin[0], -1):
        return "origin"
    return None


def mark_applied(envelope: Envelope, record: Record, origin: Origin | None, person: Person | None = None) -> Envelope:
    """Return the envelope with the position of a record that is now applied, and with the person's new state."""
    offset, origins = envelope.offset, envelope.origins
    if record.offset > offset:
        offset = record.offset
    if origin is not None:
        origins = dict(origins)
        before = origins.pop(origin[0], -1)
        while len(origins) >= MAX_ORIGINS:
            del origins[next(iter(origins))]
        origins[origin[0]] = max(origin[1], before)
    return Envelope(person or envelope.person, offset, origins, envelope.outbox)
