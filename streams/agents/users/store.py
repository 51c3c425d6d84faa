"""The people of one partition: bytes for the cold, decoded envelopes for the hot, and what must still be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain

from msgspec.structs import replace

from models.person.ledger import pseudonym
from models.person.person import Person, next_due, timers_unchanged
from models.person.rules import Rules
from streams.agents.users import envelope as env
from streams.agents.users.envelope import Envelope
from streams.state.partition import ChangelogWriter, Pair, StorePartition
from streams.state.stores import Store

TOMBSTONE = b"\0erased/"


class UserStore(StorePartition[Envelope]):
    """One partition's people, counted by tier.

    A person who was erased stands under a hash of their key, so that the id itself is gone. When somebody decoded is
    next due is worked out once, when they come or change.
    """

    def __init__(self, rules: Rules, max_cached: int, write: ChangelogWriter, cold: Store | None = None) -> None:
        super().__init__(max_cached, write, cold)
        self.tiers: Counter[int] = Counter()
        self.bytes = 0
        self._known = 0
        self._erased = 0
        self._rules = rules
        self._dues: dict[bytes, float] = {}

    def _empty(self) -> Envelope:
        return Envelope(Person(""))

    def _encode(self, key: bytes, value: Envelope) -> bytes:
        return env.seal(value, self.fence, self._rules, self._dues.get(key))

    def get(self, key: bytes) -> Envelope:
        """Return a person's envelope; somebody new has an empty one.

        Raises:
            InvalidValue: the value was written by another version.
        """
        found = self.hot.get(key)
        if found is not None:
            return found
        value = self.cold.get(key)
        if value is None and self._erased:
            value = self.cold.get(self._tombstone(key))
        if value is None:
            return Envelope(Person(key.decode()))
        envelope = env.unseal(value)
        if not envelope.person.id and not key.startswith(TOMBSTONE):
            envelope = replace(envelope, person=replace(envelope.person, id=key.decode()))
        self.hot[key] = envelope
        self._dues[key] = next_due(envelope.person, self._rules)
        return envelope

    def put(self, key: bytes, value: Envelope) -> None:
        """Hold a person's new envelope; it is to be written."""
        before = self.hot.get(key)
        if before is None or not timers_unchanged(before.person, value.person):
            self._dues[key] = next_due(value.person, self._rules)
        self.hot[key] = value
        self.dirty.add(key)

    def due_of(self, key: bytes) -> float:
        """Return when a person is next due, decoding nobody; infinity for somebody unknown."""
        if (due := self._dues.get(key)) is not None:
            return due
        value = self.cold.get(key)
        return float("inf") if value is None else env.due_of(value)

    def release(self) -> None:
        """End a reign, and forget who is due."""
        super().release()
        self._dues.clear()

    def scan(self) -> Iterator[tuple[bytes, env.Prefix]]:
        """Yield every key with the prefix of its value, decoding nothing, and count them anew.

        Raises:
            InvalidValue: a value was written by another version.
        """
        self.tiers.clear()
        self.bytes = self._known = self._erased = 0
        for key, value in self.cold.items():
            prefix = env.peek(value)
            self._count(key, value, 1)
            yield key, prefix

    def everybody(self) -> Iterator[Person]:
        """Yield all who are not forgotten, in no order; people may change between.

        Raises:
            InvalidValue: a value was written by another version.
        """
        held = [key for key, _ in self.cold.items()]
        fresh = [key for key in self.dirty if self.cold.get(key) is None]
        for key in chain(held, fresh):
            if key.startswith(b"\0"):
                continue
            envelope, value = self.hot.get(key), self.cold.get(key)
            if envelope is None and value is not None:
                envelope = env.unseal(value)  # not kept: whoever looks everybody over would push the hot out
            if envelope is not None:
                yield envelope.person

    def __len__(self) -> int:
        return self._known

    def _prepare(self, key: bytes, value: Envelope) -> Sequence[Pair]:
        if value.person.ledger.erased_at >= 0 and not value.person.activity.events:
            return self._prepare_erased(key, value)
        return super()._prepare(key, value)

    def _evict_one(self, key: bytes) -> None:
        super()._evict_one(key)
        self._dues.pop(key, None)

    def _store_bytes(self, key: bytes, value: bytes | None) -> None:
        before = self.cold.get(key)
        if before is not None and value is not None and before[1] >> 1 == value[1] >> 1:  # the usual case
            self.bytes += len(value) - len(before)
        else:
            if before is not None:
                self._count(key, before, -1)
            if value is not None:
                self._count(key, value, 1)
        self.cold.put(key, value)

    def _count(self, key: bytes, value: bytes, by: int) -> None:
        self._known += by
        self.bytes += by * len(value)
        if key.startswith(TOMBSTONE):
            self._erased += by
        elif len(value) > 1:
            self.tiers[value[1] >> 1] += by

    def _prepare_erased(self, key: bytes, envelope: Envelope) -> Sequence[Pair]:
        """Keep offsets and the time of erasure under a hash, then delete what stands under the key."""
        stone = key if key.startswith(TOMBSTONE) else self._tombstone(key)
        value = self._encode(stone, replace(envelope, person=replace(envelope.person, id="")))
        self._store_bytes(stone, value)
        if stone == key:
            return ((stone, value),)
        self._store_bytes(key, None)
        self._evict_one(key)
        return (stone, value), (key, None)

    def _tombstone(self, key: bytes) -> bytes:
        name = pseudonym(key.decode(), self._rules.pseudonym_key)
        return TOMBSTONE + blake2b(name.encode(), digest_size=16).hexdigest().encode()
