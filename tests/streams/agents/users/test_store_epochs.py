"""Whose word counts in a changelog that others write to as well: gaps, foreign records, owned that end."""

from __future__ import annotations

from math import inf

import pytest

from models.person.ledger import Ledger
from models.person.person import Person
from streams.agents.users.envelope import Envelope, decode_envelope, encode_envelope
from streams.delivery.lease import Fenced
from streams.state.header import fence_of
from streams.state.partition import FENCE
from tests.streams.changelogs import RULES, ListedStore, recover


def sealed(offset: int, fence: int, name: str = "u") -> bytes:
    return encode_envelope(Envelope(Person(name), offset), fence, RULES)


def reigning() -> ListedStore:
    """A partition whose reign's fence stands at offset 0."""
    people = ListedStore()
    people.acquire()
    people.on_acknowledged(FENCE, people.written[0][1], 0, 1)
    return people


def written(people: ListedStore, user: str, offset: int) -> bytes:
    people.put(user.encode(), Envelope(Person(user), offset))
    people.write(user.encode())
    return people.written[-1][1] or b""


def test_the_position_follows_our_own_records() -> None:
    """Up to there nothing has to be read again."""
    people = reigning()
    people.on_acknowledged(b"u", written(people, "u", 5), 1, 1)
    assert (people.cold.position, people.gaps, people.rewrite_overwritten()) == (1, [], 0)


def test_it_does_not_pass_a_gap_before_the_gap_is_known() -> None:
    """What stands there may be another owner's, and what stands behind it void: until then it may be taken back."""
    people = reigning()
    people.on_acknowledged(b"u", written(people, "u", 5), 3, 1)
    people.on_acknowledged(b"v", written(people, "v", 6), 4, 1)
    assert (people.cold.position, people.gaps) == (0, [range(1, 3)])
    people.close_gap(people.gaps[0])
    assert (people.cold.position, people.gaps) == (4, [])
    people.release()
    assert [people.get(key).offset for key in (b"u", b"v")] == [5, 6]


def test_a_gap_that_is_not_known_is_read_by_the_next_recovery() -> None:
    """Nothing behind it counts then but what that reads."""
    people = reigning()
    people.on_acknowledged(b"u", written(people, "u", 5), 3, 1)
    people.release()
    assert (people.cold.position, b"u" in people, people.gaps) == (0, False, [])


def test_when_somebody_is_due_follows_what_is_held_of_them() -> None:
    """Changed, taken back at the end of a reign, and recovered."""
    people, due = reigning(), Person("u", ledger=Ledger(grid=5.0))
    assert people.due_of(b"u") == inf
    people.put(b"u", Envelope(due, 1))
    assert people.due_of(b"u") == 5.0
    people.put(b"u", Envelope(Person("u", ledger=Ledger(grid=7.0)), 2))
    assert people.due_of(b"u") == 7.0
    people.release()
    assert people.due_of(b"u") == inf
    people.restore(b"u", encode_envelope(Envelope(due, 1), 1, RULES))
    assert (people.due_of(b"u"), people.get(b"u").person, people.due_of(b"u")) == (5.0, due, 5.0)


def test_what_a_former_owner_writes_over_is_to_be_written_again() -> None:
    """Its value, its deletion, and its fence alike; somebody it raised is deleted again."""
    people = reigning()
    for name in ("u", "v"):
        written(people, name, 5)
    people.on_foreign_record(b"u", sealed(3, 0), None)
    people.on_foreign_record(b"v", None, 0)
    people.on_foreign_record(b"ghost", sealed(3, 0, "ghost"), None)
    people.on_foreign_record(FENCE, sealed(0, 0, ""), None)
    before = len(people.written)
    assert people.rewrite_overwritten() == 4
    assert people.dirty == {b"u", b"v"}
    again = dict(people.written[before:])
    assert again.keys() == {b"ghost", FENCE}
    assert (again[b"ghost"], fence_of(again[FENCE] or b"")) == (None, 1)
    assert people.rewrite_overwritten() == 0


def test_a_successor_ends_a_reign() -> None:
    """Nothing of ours may be committed then."""
    people = reigning()
    with pytest.raises(Fenced):
        people.on_foreign_record(b"u", sealed(3, 2), None)
    with pytest.raises(Fenced):
        people.on_foreign_record(b"u", None, 2)


def test_the_next_owner_writes_again_what_a_former_one_wrote_over() -> None:
    """Though nobody noticed it while the owner in between was there."""
    people = recover([(FENCE, sealed(0, 2, "")), (b"u", sealed(9, 2)), (b"u", sealed(3, 1)), (b"v", sealed(3, 1))])
    people.acquire()
    assert people.dirty == {b"u"}
    assert people.written[1:] == [(b"v", None)]
    assert decode_envelope(people.cold.get(b"u") or b"").offset == 9


def test_a_late_deletion_does_not_delete() -> None:
    """A deletion has no value to carry the fence: its header does. Without one it counts, as it always did."""
    people = recover([(FENCE, sealed(0, 2, "")), (b"u", sealed(9, 2))])
    people.restore(b"u", None, 1)
    assert people.get(b"u").offset == 9
    people.restore(b"u", None)
    assert b"u" not in people


def test_our_own_record_of_a_former_reign_is_void_like_any_other() -> None:
    """It was on its way when the reign ended, and arrives behind the new fence."""
    people = reigning()
    late = written(people, "u", 5)
    people.acquire()
    people.on_acknowledged(b"u", late, 1, 1)
    people.on_acknowledged(FENCE, people.written[-1][1], 2, 2)
    assert (people.cold.position, b"u" in people, people.rewrite_overwritten()) == (2, False, 1)
    assert people.written[-1] == (b"u", None)


def test_what_recovery_has_read_is_not_taken_again_when_it_is_acknowledged() -> None:
    """The acknowledgement is late, and older than what stands there."""
    people = reigning()
    mine = written(people, "u", 5)
    people.restore(b"u", mine)
    people.restore(b"u", sealed(8, 1))
    people.cold.advance(2)
    people.on_acknowledged(b"u", mine, 1, 1)
    assert people.get(b"u").offset == 8


def test_nothing_is_settled_by_who_does_not_reign() -> None:
    """It has lost the partition, and writes no more."""
    people = reigning()
    people.on_foreign_record(b"u", sealed(3, 0), None)
    people.release()
    before = len(people.written)
    assert people.rewrite_overwritten() == 0
    assert len(people.written) == before
