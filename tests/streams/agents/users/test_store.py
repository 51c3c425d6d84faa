"""The user store of one partition: encoded values, the cache, dirty users, and fences."""

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person.ledger import Ledger
from models.person.person import Person
from streams.agents.users.envelope import Envelope, decode_envelope, encode_envelope
from streams.agents.users.store import TOMBSTONE
from streams.state.header import InvalidValue, fence_of
from streams.state.partition import FENCE
from tests.streams.changelogs import RULES, ListedStore, recover


def make_envelope(name: str, offset: int = 0, tier: str = "") -> Envelope:
    return Envelope(Person(name, ledger=Ledger(tier=tier)), offset)


def encoded(offset: int, fence: int, name: str = "u") -> bytes:
    return encode_envelope(make_envelope(name, offset), fence, RULES)


def test_a_new_user_has_an_empty_envelope() -> None:
    """A look-up creates no user: nothing is stored or written."""
    users = ListedStore()
    assert users.get(b"u") == Envelope(Person("u"))
    assert (len(users), users.hot, users.dirty, users.written) == (0, {}, set(), [])


def test_a_stored_envelope_is_written_once_and_read_back() -> None:
    """It is dirty until it is written. Then the store has the bytes of the changelog."""
    users = ListedStore()
    users.put(b"u", make_envelope("u", 4))
    assert (users.get(b"u").offset, users.dirty) == (4, {b"u"})
    users.write(b"u")
    assert users.dirty == set()
    assert users.written == [(b"u", encode_envelope(make_envelope("u", 4), 0, RULES))] == list(users.cold.items())
    assert users.recovered_copy().get(b"u") == make_envelope("u", 4)


def test_a_touched_user_is_written_again() -> None:
    """Even if nothing changed: the stored value may be ahead of the changelog."""
    users = recover([(b"u", encoded(7, 0))])
    users.touch(b"u")
    assert users.dirty == {b"u"}
    users.write(b"u")
    assert users.written == [(b"u", encoded(7, 0))]


def test_eviction_drops_clean_users_only() -> None:
    """Dirty users stay decoded, however many they are. No user is lost."""
    users = ListedStore(max_cached=2)
    for n in range(6):
        users.put(b"%d" % n, make_envelope(str(n), n))
    users.evict()
    assert len(users.hot) == 6
    for n in range(4):
        users.write(b"%d" % n)
    users.evict()
    assert set(users.hot) == {b"4", b"5"} == users.dirty
    assert [users.get(b"%d" % n).offset for n in range(6)] == list(range(6))


def test_eviction_keeps_the_configured_number() -> None:
    """Within the limit nothing is dropped. Beyond it, the oldest are dropped."""
    users = ListedStore(max_cached=2)
    for n in range(3):
        users.put(b"%d" % n, make_envelope(str(n)))
        users.write(b"%d" % n)
    users.evict()
    assert set(users.hot) == {b"1", b"2"}
    users.evict()
    assert set(users.hot) == {b"1", b"2"}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=8))
def test_a_lower_fence_never_replaces_a_higher_one(writes: list[tuple[int, int]]) -> None:
    """In any order, the last value with the highest fence is kept."""
    users = recover([(b"u", encoded(offset, fence)) for fence, offset in writes])
    highest = max(fence for fence, _ in writes)
    assert users.get(b"u").offset == [offset for fence, offset in writes if fence == highest][-1]
    assert users.fence == highest


def test_an_owner_raises_the_fence_above_all_before() -> None:
    """Each owner first writes a higher fence to the changelog. All its later values carry that fence."""
    first = ListedStore()
    first.acquire()
    first.put(b"u", make_envelope("u", 1))
    first.write(b"u")
    second = first.recovered_copy()
    second.acquire()
    assert [key for key, _ in second.written] == [FENCE]
    second.put(b"u", make_envelope("u", 2))
    second.write(b"u")
    assert [fence_of(value or b"") for _, value in first.written + second.written] == [1, 1, 2, 2]
    assert recover(first.written + second.written[:1]).fence == 2


def zombie(key: bytes, *before: bytes | None) -> ListedStore:
    """Recover a changelog in which an owner with fence 1 writes after its successor has written fence 2."""
    earlier = [(key, value) for value in before]
    return recover([(FENCE, encoded(0, 1, "")), (FENCE, encoded(0, 2, "")), *earlier, (key, encoded(9, 1))])


def test_a_zombie_does_not_overwrite_its_successor() -> None:
    """A value that a paused former owner still writes is ignored."""
    assert zombie(b"u", encoded(10, 2)).get(b"u").offset == 10


def test_a_zombie_does_not_restore_a_user_erased_meanwhile() -> None:
    """Even if the successor deleted the user, so that there is no value whose fence could be compared."""
    assert b"u" not in zombie(b"u", None).cold


def test_recovered_values_replace_cached_ones() -> None:
    """If a partition was reassigned and comes back, the changelog is newer than the cache."""
    users = recover([(b"u", encoded(1, 1))])
    assert users.get(b"u").offset == 1
    users.restore(b"u", encoded(5, 2))
    assert users.get(b"u").offset == 5
    users.restore(b"u", None)
    assert users.get(b"u") == Envelope(Person("u"))


def test_fences_are_not_users() -> None:
    """The record of the fence is neither stored nor counted as a user."""
    users = recover([(FENCE, encoded(0, 5, ""))])
    assert (len(users), users.fence, +users.tiers, users.bytes) == (0, 5, Counter(), 0)


def test_a_value_of_another_version_is_refused() -> None:
    """It does not look like a new user."""
    users = ListedStore()
    users.restore(b"u", b"\x02" + encoded(1, 1)[1:])
    with pytest.raises(InvalidValue):
        users.get(b"u")
    with pytest.raises(InvalidValue):
        list(users.scan())


def test_a_scan_yields_all_users_without_decoding() -> None:
    """It yields key, offset and tier of every user, and caches none."""
    users = recover([(b"%d" % n, encode_envelope(make_envelope(str(n), n, "low"), 1, RULES)) for n in range(3)])
    assert [(key, prefix.offset, prefix.tier) for key, prefix in users.scan()] == [
        (b"%d" % n, n, "low") for n in range(3)
    ]
    assert users.hot == {}


TIERS = ("", "low", "medium", "high")


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(-1, 3), st.booleans()), max_size=20))
@settings(max_examples=300)
def test_counts_and_bytes_add_up(moves: list[tuple[bytes, int, bool]]) -> None:
    """Counts match the stored values after writes, recoveries, deletions and erasures."""
    users = ListedStore()
    for key, tier, recovery in moves:
        if tier < 0 and recovery:
            users.restore(key, None)
            deque(users.scan(), maxlen=0)
            continue
        erased = Envelope(Person("", ledger=Ledger(erased_at=1)))
        envelope = make_envelope(key.decode(), tier=TIERS[tier]) if tier >= 0 else erased
        if recovery:
            users.restore(key, encode_envelope(envelope, users.fence, RULES))
            deque(users.scan(), maxlen=0)
        else:
            users.put(key, envelope)
            users.write(key)
    unerased = [value for key, value in users.cold.items() if not key.startswith(TOMBSTONE)]
    assert users.bytes == sum(map(len, users.cold.values()))
    assert +users.tiers == Counter(TIERS.index(decode_envelope(value).person.ledger.tier) for value in unerased)
