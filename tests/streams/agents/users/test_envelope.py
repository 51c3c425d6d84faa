"""Encoding of a user's value: round trip, prefix, and refusal of damaged or foreign values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.ledger import Ledger
from models.person.person import Person, next_due
from models.person.rules import Rules
from models.schema import events as ev
from streams.agents.users.envelope import Envelope, OutboxMessage, decode_envelope, encode_envelope, read_prefix
from streams.state.header import InvalidValue, fence_of
from tests.models.people import NOON, histories, make_campaign, make_context, make_model, process_events

RULES = Rules()
STATE = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=7.5), model=make_model(1.0, 0.0))
MESSAGES = st.builds(
    OutboxMessage,
    st.text(max_size=9),
    st.text(max_size=9),
    st.binary(max_size=9),
    st.none() | st.binary(max_size=9),
    st.floats(0, 4e9) | st.just(float("inf")),
    st.booleans(),
    st.text(max_size=9),
)
FENCES = st.integers(0, 2**32 - 1)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    """Envelopes of users with histories, in all stages, with offsets and outputs."""
    events: list[ev.Event] = draw(histories(max_events=12, max_gap_days=25))
    person, _ = process_events(Person("u"), events, STATE, events[-1].time + draw(st.integers(0, 60)) * 86_400)
    origins = st.dictionaries(st.text(max_size=9), st.integers(0, 2**63 - 1), max_size=3)
    outbox = st.lists(MESSAGES, max_size=3).map(tuple)
    return Envelope(person, draw(st.integers(-1, 2**63 - 1)), draw(origins), draw(outbox))


@given(envelopes(), FENCES)
@settings(max_examples=60, deadline=None)
def test_an_envelope_survives_encoding(envelope: Envelope, fence: int) -> None:
    """Nothing changes, and the prefix has the same fields."""
    value = encode_envelope(envelope, fence, RULES)
    assert decode_envelope(value) == envelope
    prefix = read_prefix(value)
    assert (prefix.fence, fence_of(value), prefix.offset) == (fence, fence, envelope.offset)
    assert (prefix.tier, prefix.has_outbox) == (envelope.person.ledger.tier, bool(envelope.outbox))
    assert prefix.due == next_due(envelope.person, RULES)
    assert prefix.last_active == envelope.person.activity.last


@pytest.mark.parametrize("tier", ["", "low", "medium", "high"])
@pytest.mark.parametrize("waits", [True, False])
def test_the_prefix_has_tier_and_outbox(tier: str, waits: bool) -> None:
    """For each tier, with and without messages."""
    message = OutboxMessage("i", "t", b"k", b"v", 1.0, True)
    value = encode_envelope(Envelope(Person("u", ledger=Ledger(tier=tier)), outbox=(message,) * waits), 3, RULES)
    assert (read_prefix(value).tier, read_prefix(value).has_outbox) == (tier, waits)


ENCODED = encode_envelope(
    Envelope(process_events(Person("u"), [ev.Login(id="1", user_id="u", time=NOON)], STATE, NOON)[0], 5), 2, RULES
)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused(version: int) -> None:
    """The error message contains both versions."""
    other = bytes((version,)) + ENCODED[1:]
    for read in (read_prefix, decode_envelope):
        with pytest.raises(InvalidValue) as caught:
            read(other)
        assert f"version {version}, but this version of Encore reads 1" in str(caught.value)


def test_a_value_shorter_than_a_prefix_is_refused() -> None:
    """From no bytes to one byte less than a prefix. It has no fence."""
    for size in range(30):
        with pytest.raises(InvalidValue):
            read_prefix(ENCODED[:size])
        assert fence_of(ENCODED[:size]) == 0


def read_or_refuse(value: bytes) -> None:
    """Read a value in every way; the only allowed exception is InvalidValue."""
    fence_of(value)
    for read in (read_prefix, decode_envelope):
        try:
            read(value)
        except InvalidValue as bad:
            assert str(bad)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=300)
def test_any_bytes_are_an_envelope_or_refused(raw: bytes, ours: bool) -> None:
    """Any bytes in the changelog raise nothing but InvalidValue."""
    read_or_refuse(ENCODED[:30] + raw if ours else raw)


@given(st.lists(st.tuples(st.integers(1, len(ENCODED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=2_000)
def test_a_damaged_value_is_an_envelope_or_refused(changes: list[tuple[int, int]]) -> None:
    """A real value with some changed bytes is decoded or refused."""
    damaged = bytearray(ENCODED)
    for at, byte in changes:
        damaged[at] = byte
    read_or_refuse(bytes(damaged))


def test_any_flags_are_a_tier_or_refused() -> None:
    """Flags without a known tier are refused."""
    for flags in range(256):
        read_or_refuse(ENCODED[:1] + bytes((flags,)) + ENCODED[2:])
