"""The people of one partition: cold bytes, hot envelopes, what is dirty, and fences."""

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


def some(name: str, offset: int = 0, tier: str = "") -> Envelope:
    return Envelope(Person(name, ledger=Ledger(tier=tier)), offset)


def sealed(offset: int, fence: int, name: str = "u") -> bytes:
    return encode_envelope(some(name, offset), fence, RULES)


def test_somebody_new_has_an_empty_envelope() -> None:
    """Asking does not make a person: nothing is held or written for it."""
    people = ListedStore()
    assert people.get(b"u") == Envelope(Person("u"))
    assert (len(people), people.hot, people.dirty, people.written) == (0, {}, set(), [])


def test_what_is_put_is_written_once_and_read_back() -> None:
    """Dirty until written; afterwards the bytes in the changelog are those held."""
    people = ListedStore()
    people.put(b"u", some("u", 4))
    assert (people.get(b"u").offset, people.dirty) == (4, {b"u"})
    people.write(b"u")
    assert people.dirty == set()
    assert people.written == [(b"u", encode_envelope(some("u", 4), 0, RULES))] == list(people.cold.items())
    assert people.recovered_copy().get(b"u") == some("u", 4)


def test_who_is_touched_is_written_again() -> None:
    """Though nothing of them changed: what is held may be ahead of the changelog."""
    people = recover([(b"u", sealed(7, 0))])
    people.touch(b"u")
    assert people.dirty == {b"u"}
    people.write(b"u")
    assert people.written == [(b"u", sealed(7, 0))]


def test_shrinking_lets_go_of_clean_people_only() -> None:
    """Who must still be written stays decoded, however many they are; nobody is lost."""
    people = ListedStore(max_cached=2)
    for n in range(6):
        people.put(b"%d" % n, some(str(n), n))
    people.evict()
    assert len(people.hot) == 6
    for n in range(4):
        people.write(b"%d" % n)
    people.evict()
    assert set(people.hot) == {b"4", b"5"} == people.dirty
    assert [people.get(b"%d" % n).offset for n in range(6)] == list(range(6))


def test_shrinking_keeps_as_many_as_allowed() -> None:
    """Within the limit nothing happens; beyond it, those held longest go."""
    people = ListedStore(max_cached=2)
    for n in range(3):
        people.put(b"%d" % n, some(str(n)))
        people.write(b"%d" % n)
    people.evict()
    assert set(people.hot) == {b"1", b"2"}
    people.evict()
    assert set(people.hot) == {b"1", b"2"}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=8))
def test_a_lower_fence_never_replaces_a_higher_one(writes: list[tuple[int, int]]) -> None:
    """Of all values, the last of those with the highest fence stands, in whatever order they come."""
    people = recover([(b"u", sealed(offset, fence)) for fence, offset in writes])
    highest = max(fence for fence, _ in writes)
    assert people.get(b"u").offset == [offset for fence, offset in writes if fence == highest][-1]
    assert people.fence == highest


def test_an_owner_begins_above_everything_before() -> None:
    """Each recovery raises the fence in the changelog before anything else, and all it writes carries it."""
    first = ListedStore()
    first.acquire()
    first.put(b"u", some("u", 1))
    first.write(b"u")
    second = first.recovered_copy()
    second.acquire()
    assert [key for key, _ in second.written] == [FENCE]
    second.put(b"u", some("u", 2))
    second.write(b"u")
    assert [fence_of(value or b"") for _, value in first.written + second.written] == [1, 1, 2, 2]
    assert recover(first.written + second.written[:1]).fence == 2


def zombie(key: bytes, *before: bytes | None) -> ListedStore:
    """What recovery makes of a changelog in which an owner of fence 1 writes after its successor of fence 2 began."""
    standing = [(key, value) for value in before]
    return recover([(FENCE, sealed(0, 1, "")), (FENCE, sealed(0, 2, "")), *standing, (key, sealed(9, 1))])


def test_a_zombie_does_not_overwrite_its_successor() -> None:
    """What a frozen owner still writes when it wakes does not count."""
    assert zombie(b"u", sealed(10, 2)).get(b"u").offset == 10


def test_a_zombie_does_not_raise_who_was_erased_meanwhile() -> None:
    """Nor where its successor deleted the person, so that no value stands there to be compared with."""
    assert b"u" not in zombie(b"u", None).cold


def test_what_recovery_reads_replaces_what_is_held() -> None:
    """A partition that went and came back: the changelog knows better than what was decoded before."""
    people = recover([(b"u", sealed(1, 1))])
    assert people.get(b"u").offset == 1
    people.restore(b"u", sealed(5, 2))
    assert people.get(b"u").offset == 5
    people.restore(b"u", None)
    assert people.get(b"u") == Envelope(Person("u"))


def test_fences_are_not_people() -> None:
    """The fence's own record is nobody: it is neither held nor counted, and nobody can be named so."""
    people = recover([(FENCE, sealed(0, 5, ""))])
    assert (len(people), people.fence, +people.tiers, people.bytes) == (0, 5, Counter(), 0)


def test_a_value_of_another_version_stops_whoever_reads_it() -> None:
    """It is not taken for a new person."""
    people = ListedStore()
    people.restore(b"u", b"\x02" + sealed(1, 1)[1:])
    with pytest.raises(InvalidValue):
        people.get(b"u")
    with pytest.raises(InvalidValue):
        list(people.scan())


def test_scanning_tells_everybody_without_decoding() -> None:
    """Key, offset and tier of all; nobody becomes hot."""
    people = recover([(b"%d" % n, encode_envelope(some(str(n), n, "low"), 1, RULES)) for n in range(3)])
    assert [(key, prefix.offset, prefix.tier) for key, prefix in people.scan()] == [
        (b"%d" % n, n, "low") for n in range(3)
    ]
    assert people.hot == {}


TIERS = ("", "low", "medium", "high")


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(-1, 3), st.booleans()), max_size=20))
@settings(max_examples=300)
def test_counts_and_bytes_add_up(moves: list[tuple[bytes, int, bool]]) -> None:
    """Whoever is written, recover, deleted or erased: the figures are those of the values that are held."""
    people = ListedStore()
    for key, tier, recovery in moves:
        if tier < 0 and recovery:
            people.restore(key, None)
            deque(people.scan(), maxlen=0)
            continue
        person = some(key.decode(), tier=TIERS[tier]) if tier >= 0 else Envelope(Person("", ledger=Ledger(erased_at=1)))
        if recovery:
            people.restore(key, encode_envelope(person, people.fence, RULES))
            deque(people.scan(), maxlen=0)
        else:
            people.put(key, person)
            people.write(key)
    living = [value for key, value in people.cold.items() if not key.startswith(TOMBSTONE)]
    assert people.bytes == sum(map(len, people.cold.values()))
    assert +people.tiers == Counter(TIERS.index(decode_envelope(value).person.ledger.tier) for value in living)
