"""Graves without names: who was erased is found again by whoever knows the id, and by nobody else."""

from collections import Counter

import pytest
from msgspec.structs import replace

from models.person.person import Person
from models.retention import step as retention
from models.schema import events as ev
from streams.agents.users.envelope import Envelope, OutboxMessage
from streams.agents.users.store import TOMBSTONE
from tests.models.people import NOON, make_context
from tests.streams.changelogs import ListedStore

ERASURE = ev.ErasureRequested(id="gone", user_id="Ada", time=NOON + 10)


def erased() -> ListedStore:
    """Ada, who was known, and asked to be forgotten; her outputs have left."""
    people = ListedStore()
    person = retention.step(Person("Ada"), ev.Login(id="1", user_id="Ada", time=NOON), make_context()).person
    people.put(b"Ada", Envelope(person, 1, {"logins/0": 5}))
    people.write(b"Ada")
    person = retention.step(person, ERASURE, make_context()).person
    people.put(b"Ada", Envelope(person, 2, {"logins/0": 6}))
    people.write(b"Ada")
    return people


def test_an_erasure_leaves_a_stone_without_a_name() -> None:
    """The key is deleted; what stays stands under a keyed hash, and the id is in none of its bytes."""
    people = erased()
    assert people.written[-1] == (b"Ada", None)
    stone, value = people.written[-2]
    assert stone.startswith(TOMBSTONE)
    assert b"Ada" not in stone + (value or b"")
    assert (list(people.cold), people.hot, +people.tiers) == ([stone], {}, Counter())
    assert people.recovered_copy().cold == people.cold


@pytest.mark.parametrize("restarted", [True, False])
def test_a_stone_is_found_by_who_knows_the_name(restarted: bool) -> None:
    """What was applied before stays known: offset, origins and the moment, so that no replay raises the person."""
    people = erased().recovered_copy() if restarted else erased()
    envelope = people.get(b"Ada")
    assert (envelope.offset, envelope.origins, envelope.person.id) == (2, {"logins/0": 6}, "Ada")
    old = ev.Login(id="0", user_id="Ada", time=NOON + 5)
    moved = retention.step(envelope.person, old, make_context())
    assert moved.notes == ("erased",)
    people.put(b"Ada", replace(envelope, person=moved.person))
    people.write(b"Ada")
    assert [key.startswith(TOMBSTONE) for key in people.cold] == [True]
    assert people.get(b"Eve") == Envelope(Person("Eve"))


def test_a_stone_with_outputs_is_still_the_same_stone_after_a_restart() -> None:
    """A crash before the outputs left: whoever delivers them writes the stone again, under its own key."""
    people = erased()
    (stone,) = people.cold
    parcel = OutboxMessage("gone", "user-profiles", b"Ada", None, float("inf"), False)
    people.put(b"Ada", replace(people.get(b"Ada"), outbox=(parcel,)))
    people.write(b"Ada")
    again = people.recovered_copy()
    ((key, prefix),) = again.scan()
    assert (key, prefix.has_outbox) == (stone, True)
    again.put(key, replace(again.get(key), outbox=()))
    again.write(key)
    assert list(again.cold) == [stone]
    assert again.get(b"Ada").person.ledger.erased_at == ERASURE.time
    assert b"Ada" not in b"".join(again.cold.values())


def test_who_comes_back_stands_under_their_own_key_again() -> None:
    """A person who was forgotten and is active later is one like any other; offsets go on."""
    people = erased()
    envelope = people.get(b"Ada")
    back = ev.Login(id="2", user_id="Ada", time=NOON + 99)
    person = retention.step(envelope.person, back, make_context()).person
    people.put(b"Ada", replace(envelope, person=person, offset=3))
    people.write(b"Ada")
    again = people.recovered_copy()
    assert (again.get(b"Ada").person.activity.events, again.get(b"Ada").offset) == (1, 3)
    assert again.get(b"Ada").person.id == "Ada"
