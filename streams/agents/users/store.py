"""The users of one partition: their encoded values, a cache of decoded envelopes, and counts by tier."""

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
    """The users of one partition, counted by tier.

    An erased user is stored under a hash of the key, so that the id itself is gone. The next timer of a decoded user is
    computed once, when the user is decoded or changes.

    Attributes:
        tiers: number of users per tier index.
        bytes: total size of the encoded values.
    """

    def __init__(self, rules: Rules, max_cached: int, write: ChangelogWriter, cold: Store | None = None) -> None:
        super().__init__(max_cached, write, cold)
        self.tiers: Counter[int] = Counter()
        self.bytes = 0
        self._user_count = 0
        self._erased_count = 0
        self._rules = rules
        self._next_due: dict[bytes, float] = {}

    def _empty(self) -> Envelope:
        return Envelope(Person(""))

    def _encode(self, key: bytes, value: Envelope) -> bytes:
        return env.encode_envelope(value, self.fence, self._rules, self._next_due.get(key))

    def get(self, key: bytes) -> Envelope:
        """Return a user's envelope; a new user has an empty one.

        Raises:
            InvalidValue: the value was written by another version of Encore.
        """
        cached = self.hot.get(key)
        if cached is not None:
            return cached
        value = self.cold.get(key)
        if value is None and self._erased_count:
            value = self.cold.get(self._tombstone(key))
        if value is None:
            return Envelope(Person(key.decode()))
        envelope = env.decode_envelope(value)
        if not envelope.person.id and not key.startswith(TOMBSTONE):
            envelope = replace(envelope, person=replace(envelope.person, id=key.decode()))
        self.hot[key] = envelope
        self._next_due[key] = next_due(envelope.person, self._rules)
        return envelope

    def put(self, key: bytes, value: Envelope) -> None:
        """Store a user's new envelope and mark it dirty."""
        before = self.hot.get(key)
        if before is None or not timers_unchanged(before.person, value.person):
            self._next_due[key] = next_due(value.person, self._rules)
        self.hot[key] = value
        self.dirty.add(key)

    def due_of(self, key: bytes) -> float:
        """Return the time of a user's next timer without decoding; infinity for an unknown user."""
        if (due := self._next_due.get(key)) is not None:
            return due
        value = self.cold.get(key)
        return float("inf") if value is None else env.due_of(value)

    def release(self) -> None:
        """End the epoch, and forget the cached times of timers."""
        super().release()
        self._next_due.clear()

    def scan(self) -> Iterator[tuple[bytes, env.Prefix]]:
        """Yield every key with the prefix of its value, without decoding, and count all values anew.

        Raises:
            InvalidValue: a value was written by another version of Encore.
        """
        self.tiers.clear()
        self.bytes = self._user_count = self._erased_count = 0
        for key, value in self.cold.items():
            prefix = env.read_prefix(value)
            self._count_value(key, value, 1)
            yield key, prefix

    def iter_persons(self) -> Iterator[Person]:
        """Yield all users who are not erased, in no order; users may change in between.

        Raises:
            InvalidValue: a value was written by another version of Encore.
        """
        encoded = [key for key, _ in self.cold.items()]
        unwritten = [key for key in self.dirty if self.cold.get(key) is None]
        for key in chain(encoded, unwritten):
            if key.startswith(b"\0"):
                continue
            envelope, value = self.hot.get(key), self.cold.get(key)
            if envelope is None and value is not None:
                envelope = env.decode_envelope(value)  # not cached: a scan of all users would evict the active ones
            if envelope is not None:
                yield envelope.person

    def __len__(self) -> int:
        return self._user_count

    def _prepare(self, key: bytes, value: Envelope) -> Sequence[Pair]:
        if value.person.ledger.erased_at >= 0 and not value.person.activity.events:
            return self._prepare_erased(key, value)
        return super()._prepare(key, value)

    def _evict_one(self, key: bytes) -> None:
        super()._evict_one(key)
        self._next_due.pop(key, None)

    def _store_bytes(self, key: bytes, value: bytes | None) -> None:
        before = self.cold.get(key)
        if before is not None and value is not None and before[1] >> 1 == value[1] >> 1:  # usual: same tier
            self.bytes += len(value) - len(before)
        else:
            if before is not None:
                self._count_value(key, before, -1)
            if value is not None:
                self._count_value(key, value, 1)
        self.cold.put(key, value)

    def _count_value(self, key: bytes, value: bytes, by: int) -> None:
        self._user_count += by
        self.bytes += by * len(value)
        if key.startswith(TOMBSTONE):
            self._erased_count += by
        elif len(value) > 1:
            self.tiers[value[1] >> 1] += by

    def _prepare_erased(self, key: bytes, envelope: Envelope) -> Sequence[Pair]:
        """Store offsets and the time of erasure under a hash of the key, then delete the key."""
        tombstone_key = key if key.startswith(TOMBSTONE) else self._tombstone(key)
        value = self._encode(tombstone_key, replace(envelope, person=replace(envelope.person, id="")))
        self._store_bytes(tombstone_key, value)
        if tombstone_key == key:
            return ((tombstone_key, value),)
        self._store_bytes(key, None)
        self._evict_one(key)
        return (tombstone_key, value), (key, None)

    def _tombstone(self, key: bytes) -> bytes:
        name = pseudonym(key.decode(), self._rules.pseudonym_key)
        return TOMBSTONE + blake2b(name.encode(), digest_size=16).hexdigest().encode()
