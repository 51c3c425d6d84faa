"""A person's value in the table: an envelope that delivery needs around a person that the business needs.

The bytes begin with a fixed prefix (version, flags, fence, offset, due time, last activity), so that a million people
can be scanned after a recovery without decoding one. State, offset and outbox travel in one record: whoever has the
state knows exactly which records are in it and what is still to be delivered.
"""

from __future__ import annotations

import struct

import msgspec
from msgspec import Struct

from models.person.person import Person, next_due
from models.person.rules import Rules
from models.schema.outputs import TIERS
from streams.state.header import InvalidValue

VERSION = 1
_PREFIX = struct.Struct("<BBIqdd")
_OUTBOX = 1
_TIERS = {tier: number for number, tier in enumerate(("", *TIERS))}
_DUE, _DUE_AT = struct.Struct("<d"), struct.calcsize("<BBIq")


class OutboxMessage(Struct, frozen=True, array_like=True, gc=False):
    """An output in the outbox: it leaves once the state that decided it is safe, and stays until Kafka has it."""

    id: str
    topic: str
    key: bytes
    value: bytes | None
    expires_at: float
    urgent: bool
    user: str = ""


class Envelope(Struct, frozen=True, array_like=True, gc=False):
    """A person with the offset of the last record applied, the highest offset of every origin, and the outbox."""

    person: Person
    offset: int = -1
    origins: dict[str, int] = {}
    outbox: tuple[OutboxMessage, ...] = ()


class Prefix(Struct, frozen=True, gc=False):
    """What stands before the body."""

    tier: str
    has_outbox: bool
    fence: int
    offset: int
    due: float
    last_active: float


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def seal(envelope: Envelope, fence: int, rules: Rules, due: float | None = None) -> bytes:
    """Write an envelope; `due` is when the person is next due by the rules, where that is known already."""
    person = envelope.person
    flags = _TIERS[person.ledger.tier] << 1 | (_OUTBOX if envelope.outbox else 0)
    if due is None:
        due = next_due(person, rules)
    return _PREFIX.pack(VERSION, flags, fence, envelope.offset, due, person.activity.last) + _encoder.encode(envelope)


def peek(value: bytes) -> Prefix:
    """Read the prefix alone.

    Raises:
        InvalidValue: the value is of another version, or none of ours.
    """
    if len(value) < _PREFIX.size or value[0] != VERSION:
        found = value[0] if value else "nothing"
        raise InvalidValue(f"a person's value of version {found}, but this version of Encore reads {VERSION}")
    _, flags, fence, offset, due, last = _PREFIX.unpack_from(value)
    if flags >> 1 > len(TIERS):
        raise InvalidValue(f"a person's value with flags {flags}, which mean nothing")
    return Prefix(("", *TIERS)[flags >> 1], bool(flags & _OUTBOX), fence, offset, due, last)


def due_of(value: bytes) -> float:
    """Return the due time of a value of ours."""
    due: float = _DUE.unpack_from(value, _DUE_AT)[0]
    return due


def unseal(value: bytes) -> Envelope:
    """Read what `seal` wrote.

    Raises:
        InvalidValue: the value is of another version, or broken.
    """
    peek(value)
    try:
        return _decoder.decode(memoryview(value)[_PREFIX.size :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidValue(f"a person's value is broken: {error}") from None
