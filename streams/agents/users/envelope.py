"""The stored value of a user: an envelope with the business state (`Person`) and what delivery needs.

The bytes begin with a fixed prefix: version, flags, fence, offset, next timer and last activity. A recovery can so scan
a million users without decoding one of them. State, offset and outbox are in one record. So the state always says
which records it contains, and which outputs are still to be sent.
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
    """An output in the outbox. It is sent when Kafka has the state, and removed when Kafka has the output."""

    id: str
    topic: str
    key: bytes
    value: bytes | None
    expires_at: float
    urgent: bool
    user: str = ""


class Envelope(Struct, frozen=True, array_like=True, gc=False):
    """A user's state, the offset of the last applied record, the highest offset per origin, and the outbox."""

    person: Person
    offset: int = -1
    origins: dict[str, int] = {}
    outbox: tuple[OutboxMessage, ...] = ()


class Prefix(Struct, frozen=True, gc=False):
    """The fields before the encoded envelope."""

    tier: str
    has_outbox: bool
    fence: int
    offset: int
    due: float
    last_active: float


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def encode_envelope(envelope: Envelope, fence: int, rules: Rules, due: float | None = None) -> bytes:
    """Encode an envelope. `due` is the user's next timer by the rules; it is computed if left out."""
    person = envelope.person
    flags = _TIERS[person.ledger.tier] << 1 | (_OUTBOX if envelope.outbox else 0)
    if due is None:
        due = next_due(person, rules)
    return _PREFIX.pack(VERSION, flags, fence, envelope.offset, due, person.activity.last) + _encoder.encode(envelope)


def read_prefix(value: bytes) -> Prefix:
    """Read the prefix without decoding the rest.

    Raises:
        InvalidValue: the value has another version, or was not written by Encore.
    """
    if len(value) < _PREFIX.size or value[0] != VERSION:
        found = value[0] if value else "nothing"
        raise InvalidValue(f"a user's value has version {found}, but this version of Encore reads {VERSION}")
    _, flags, fence, offset, due, last = _PREFIX.unpack_from(value)
    if flags >> 1 > len(TIERS):
        raise InvalidValue(f"a user's value has unknown flags {flags}")
    return Prefix(("", *TIERS)[flags >> 1], bool(flags & _OUTBOX), fence, offset, due, last)


def due_of(value: bytes) -> float:
    """Return the time of the next timer. The value must have been written by `encode_envelope`."""
    due: float = _DUE.unpack_from(value, _DUE_AT)[0]
    return due


def decode_envelope(value: bytes) -> Envelope:
    """Decode what `encode_envelope` wrote.

    Raises:
        InvalidValue: the value has another version, or is damaged.
    """
    read_prefix(value)
    try:
        return _decoder.decode(memoryview(value)[_PREFIX.size :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidValue(f"a user's value is damaged: {error}") from None
