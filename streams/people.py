"""The people of one partition: bytes for the cold, decoded envelopes for the hot, and what must still be written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from models.ledger import pseudonym
from models.person import Person
from models.rules import Rules
from streams import envelope as env
from streams.envelope import Envelope

Write = Callable[[bytes, bytes | None], "asyncio.Future[Any]"]
TOMBSTONE = b"\0erased/"
FENCE = b"\0fence"


class People:
    """One partition's values. Reading decodes once; writing is behind, until `write`.

    `cold` holds for every key the bytes that were last written or recovered; `hot` what was decoded or changed since;
    `dirty` the keys whose hot value is not in the changelog yet. A person who was erased stands under a hash of their
    key, so that the id itself is gone.
    """

    def __init__(self, rules: Rules, most_hot: int, write: Write) -> None:
        self.cold: dict[bytes, bytes] = {}
        self.hot: dict[bytes, Envelope] = {}
        self.dirty: set[bytes] = set()
        self.tiers: Counter[int] = Counter()
        self.bytes = 0
        self.fence = 0
        self._reign = -1
        self._erased = 0
        self._rules = rules
        self._most_hot = most_hot
        self._write = write

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take a value from the changelog: it stands unless an owner with a higher fence has written before."""
        fence = env.fence_of(value) if value is not None else self.fence
        if fence < self.fence:
            return  # whoever wrote this had lost the partition
        self.fence = fence
        if key != FENCE:
            self.hot.pop(key, None)
            self.dirty.discard(key)
            self._kept(key, value)

    @property
    def reigns(self) -> bool:
        """Whether nobody has begun a reign since ours began."""
        return self.fence == self._reign

    def begin(self) -> None:
        """Begin a reign: what is written from now on stands above whatever an owner before us may still write."""
        self.hot.clear()
        self.dirty.clear()
        self.fence += 1
        self._reign = self.fence
        self._write(FENCE, env.seal(Envelope(Person("")), self.fence, self._rules))

    def get(self, key: bytes) -> Envelope:
        """Return a person's envelope; somebody new has an empty one.

        Raises:
            BadEnvelope: the value was written by another version.
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
        return envelope

    def put(self, key: bytes, envelope: Envelope) -> None:
        """Hold a person's new envelope; it is to be written."""
        self.hot[key] = envelope
        self.dirty.add(key)

    def touch(self, key: bytes) -> None:
        """Have a person written again: what we hold may be ahead of the changelog."""
        self.dirty.add(key)

    def write(self, key: bytes) -> asyncio.Future[Any]:
        """Write a person to the changelog now; the future completes when Kafka has it."""
        self.dirty.discard(key)
        envelope = self.get(key)
        if envelope.person.ledger.erased_at >= 0 and not envelope.person.activity.events:
            return self._bury(key, envelope)
        value = env.seal(envelope, self.fence, self._rules)
        self._kept(key, value)
        return self._write(key, value)

    def shrink(self) -> None:
        """Let go of decoded people beyond the limit, those decoded longest ago first; dirty ones stay."""
        surplus = len(self.hot) - self._most_hot
        if surplus <= 0:
            return
        for key in [key for key in self.hot if key not in self.dirty][:surplus]:
            del self.hot[key]

    def scan(self) -> Iterator[tuple[bytes, env.Prefix]]:
        """Yield every key with the prefix of its value, decoding nothing.

        Raises:
            BadEnvelope: a value was written by another version.
        """
        for key, value in self.cold.items():
            yield key, env.peek(value)

    def __len__(self) -> int:
        return len(self.cold)

    def _kept(self, key: bytes, value: bytes | None) -> None:
        before = self.cold.pop(key, None) if value is None else self.cold.get(key)
        if before is not None:
            self._count(key, before, -1)
        if value is not None:
            self.cold[key] = value
            self._count(key, value, 1)

    def _count(self, key: bytes, value: bytes, by: int) -> None:
        self.bytes += by * len(value)
        if key.startswith(TOMBSTONE):
            self._erased += by
        elif len(value) > 1:
            self.tiers[value[1] >> 1] += by

    def _bury(self, key: bytes, envelope: Envelope) -> asyncio.Future[Any]:
        """Keep offsets and the time of erasure under a hash, then delete what stands under the key."""
        stone = key if key.startswith(TOMBSTONE) else self._tombstone(key)
        value = env.seal(replace(envelope, person=replace(envelope.person, id="")), self.fence, self._rules)
        self._kept(stone, value)
        written = self._write(stone, value)
        if stone == key:
            return written
        self._kept(key, None)
        self.hot.pop(key, None)
        return self._write(key, None)

    def _tombstone(self, key: bytes) -> bytes:
        name = pseudonym(key.decode(), self._rules.pseudonym_key)
        return TOMBSTONE + blake2b(name.encode(), digest_size=16).hexdigest().encode()
