"""Epochs of a changelog with several writers: gaps, records of other workers, and the end of an epoch."""

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


def encoded(offset: int, fence: int, name: str = "u") -> bytes:
    return encode_envelope(Envelope(Person(name), offset), fence, RULES)


def acquired_store() -> ListedStore:
    """A partition whose epoch began with the fence at offset 0."""
    users = ListedStore()
    users.acquire()
    users.on_acknowledged(FENCE, users.written[0][1], 0, 1)
    return users


def write_user(users: ListedStore, user: str, offset: int) -> bytes:
    users.put(user.encode(), Envelope(Person(user), offset))
    users.write(user.encode())
    return users.written[-1][1] or b""


def test_the_position_follows_own_acknowledged_records() -> None:
    """A recovery need not read records up to there again."""
    users = acquired_store()
    users.on_acknowledged(b"u", write_user(users, "u", 5), 1, 1)
    assert (users.cold.position, users.gaps, users.rewrite_overwritten()) == (1, [], 0)


def test_the_position_stops_at_a_gap_until_it_is_read() -> None:
    """The gap may contain a record of another owner, which would make later own records void."""
    users = acquired_store()
    users.on_acknowledged(b"u", write_user(users, "u", 5), 3, 1)
    users.on_acknowledged(b"v", write_user(users, "v", 6), 4, 1)
    assert (users.cold.position, users.gaps) == (0, [range(1, 3)])
    users.close_gap(users.gaps[0])
    assert (users.cold.position, users.gaps) == (4, [])
    users.release()
    assert [users.get(key).offset for key in (b"u", b"v")] == [5, 6]


def test_the_next_recovery_reads_an_open_gap() -> None:
    """Own records after the gap do not count until the recovery reads them."""
    users = acquired_store()
    users.on_acknowledged(b"u", write_user(users, "u", 5), 3, 1)
    users.release()
    assert (users.cold.position, b"u" in users, users.gaps) == (0, False, [])


def test_the_next_timer_follows_the_stored_envelope() -> None:
    """After a change, at the end of an epoch, and after a recovery."""
    users, due = acquired_store(), Person("u", ledger=Ledger(grid=5.0))
    assert users.due_of(b"u") == inf
    users.put(b"u", Envelope(due, 1))
    assert users.due_of(b"u") == 5.0
    users.put(b"u", Envelope(Person("u", ledger=Ledger(grid=7.0)), 2))
    assert users.due_of(b"u") == 7.0
    users.release()
    assert users.due_of(b"u") == inf
    users.restore(b"u", encode_envelope(Envelope(due, 1), 1, RULES))
    assert (users.due_of(b"u"), users.get(b"u").person, users.due_of(b"u")) == (5.0, due, 5.0)


def test_what_a_former_owner_overwrites_is_written_again() -> None:
    """Values, deletions and the fence. A user that it restored is deleted again."""
    users = acquired_store()
    for name in ("u", "v"):
        write_user(users, name, 5)
    users.on_foreign_record(b"u", encoded(3, 0), None)
    users.on_foreign_record(b"v", None, 0)
    users.on_foreign_record(b"ghost", encoded(3, 0, "ghost"), None)
    users.on_foreign_record(FENCE, encoded(0, 0, ""), None)
    before = len(users.written)
    assert users.rewrite_overwritten() == 4
    assert users.dirty == {b"u", b"v"}
    again = dict(users.written[before:])
    assert again.keys() == {b"ghost", FENCE}
    assert (again[b"ghost"], fence_of(again[FENCE] or b"")) == (None, 1)
    assert users.rewrite_overwritten() == 0


def test_a_successor_ends_the_epoch() -> None:
    """After that this worker must commit nothing."""
    users = acquired_store()
    with pytest.raises(Fenced):
        users.on_foreign_record(b"u", encoded(3, 2), None)
    with pytest.raises(Fenced):
        users.on_foreign_record(b"u", None, 2)


def test_the_next_owner_rewrites_what_a_former_one_overwrote() -> None:
    """Even if the owner in between did not notice it."""
    users = recover([(FENCE, encoded(0, 2, "")), (b"u", encoded(9, 2)), (b"u", encoded(3, 1)), (b"v", encoded(3, 1))])
    users.acquire()
    assert users.dirty == {b"u"}
    assert users.written[1:] == [(b"v", None)]
    assert decode_envelope(users.cold.get(b"u") or b"").offset == 9


def test_a_late_deletion_does_not_delete() -> None:
    """A deletion has its fence in a header. A deletion without the header counts."""
    users = recover([(FENCE, encoded(0, 2, "")), (b"u", encoded(9, 2))])
    users.restore(b"u", None, 1)
    assert users.get(b"u").offset == 9
    users.restore(b"u", None)
    assert b"u" not in users


def test_an_own_record_of_a_former_epoch_is_void() -> None:
    """It was in flight when the epoch ended, and arrives after the new fence."""
    users = acquired_store()
    late = write_user(users, "u", 5)
    users.acquire()
    users.on_acknowledged(b"u", late, 1, 1)
    users.on_acknowledged(FENCE, users.written[-1][1], 2, 2)
    assert (users.cold.position, b"u" in users, users.rewrite_overwritten()) == (2, False, 1)
    assert users.written[-1] == (b"u", None)


def test_a_late_acknowledgement_does_not_replace_a_recovered_value() -> None:
    """The acknowledged value is older than the recovered one."""
    users = acquired_store()
    mine = write_user(users, "u", 5)
    users.restore(b"u", mine)
    users.restore(b"u", encoded(8, 1))
    users.cold.advance(2)
    users.on_acknowledged(b"u", mine, 1, 1)
    assert users.get(b"u").offset == 8


def test_a_released_partition_rewrites_nothing() -> None:
    """The worker has lost the partition and must not write."""
    users = acquired_store()
    users.on_foreign_record(b"u", encoded(3, 0), None)
    users.release()
    before = len(users.written)
    assert users.rewrite_overwritten() == 0
    assert len(users.written) == before
