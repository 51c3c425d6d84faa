"""Tombstones of erased users: they do not contain the user id, but can be found with it."""

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
    """A store with Ada, who was active and then erased. Her outputs were sent."""
    users = ListedStore()
    person = retention.step(Person("Ada"), ev.Login(id="1", user_id="Ada", time=NOON), make_context()).person
    users.put(b"Ada", Envelope(person, 1, {"logins/0": 5}))
    users.write(b"Ada")
    person = retention.step(person, ERASURE, make_context()).person
    users.put(b"Ada", Envelope(person, 2, {"logins/0": 6}))
    users.write(b"Ada")
    return users


def test_an_erasure_leaves_a_tombstone_without_the_user_id() -> None:
    """The key is deleted. The tombstone's key is a keyed hash, and the id is in none of its bytes."""
    users = erased()
    assert users.written[-1] == (b"Ada", None)
    tombstone, value = users.written[-2]
    assert tombstone.startswith(TOMBSTONE)
    assert b"Ada" not in tombstone + (value or b"")
    assert (list(users.cold), users.hot, +users.tiers) == ([tombstone], {}, Counter())
    assert users.recovered_copy().cold == users.cold


@pytest.mark.parametrize("restarted", [True, False])
def test_a_tombstone_is_found_by_the_user_id(restarted: bool) -> None:
    """Offset, origins and time of erasure stay known, so that a replay does not restore the user."""
    users = erased().recovered_copy() if restarted else erased()
    envelope = users.get(b"Ada")
    assert (envelope.offset, envelope.origins, envelope.person.id) == (2, {"logins/0": 6}, "Ada")
    old = ev.Login(id="0", user_id="Ada", time=NOON + 5)
    transition = retention.step(envelope.person, old, make_context())
    assert transition.results == ("erased",)
    users.put(b"Ada", replace(envelope, person=transition.person))
    users.write(b"Ada")
    assert [key.startswith(TOMBSTONE) for key in users.cold] == [True]
    assert users.get(b"Eve") == Envelope(Person("Eve"))


def test_a_tombstone_with_outputs_keeps_its_key_after_a_restart() -> None:
    """After a crash before the outputs were sent, the next owner sends them and writes the same tombstone."""
    users = erased()
    (tombstone,) = users.cold
    message = OutboxMessage("gone", "user-profiles", b"Ada", None, float("inf"), False)
    users.put(b"Ada", replace(users.get(b"Ada"), outbox=(message,)))
    users.write(b"Ada")
    again = users.recovered_copy()
    ((key, prefix),) = again.scan()
    assert (key, prefix.has_outbox) == (tombstone, True)
    again.put(key, replace(again.get(key), outbox=()))
    again.write(key)
    assert list(again.cold) == [tombstone]
    assert again.get(b"Ada").person.ledger.erased_at == ERASURE.time
    assert b"Ada" not in b"".join(again.cold.values())


def test_a_returning_user_has_their_own_key_again() -> None:
    """An erased user who is active again is a normal user. Offsets continue."""
    users = erased()
    envelope = users.get(b"Ada")
    login = ev.Login(id="2", user_id="Ada", time=NOON + 99)
    person = retention.step(envelope.person, login, make_context()).person
    users.put(b"Ada", replace(envelope, person=person, offset=3))
    users.write(b"Ada")
    again = users.recovered_copy()
    assert (again.get(b"Ada").person.activity.events, again.get(b"Ada").offset) == (1, 3)
    assert again.get(b"Ada").person.id == "Ada"
