"""The people of one partition: bytes for the cold, decoded envelopes for the hot, and what must still be written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple

from msgspec.structs import replace

from models.ledger import pseudonym
from models.person import Person
from models.rules import Rules
from streams import envelope as env
from streams.delivery.lease import Dethroned
from streams.delivery.stores import Memory, Store
from streams.envelope import Envelope

Write = Callable[[bytes, bytes | None], "asyncio.Future[Any]"]
TOMBSTONE = b"\0erased/"
FENCE = b"\0fence"


class Ours(NamedTuple):
    """A record of ours that the changelog has."""

    key: bytes
    value: bytes | None
    offset: int
    fence: int


class People:
    """One partition's values. Reading decodes once; writing is behind, until `write`.

    `cold` holds for every key the bytes that were last written or recovered; `hot` what was decoded or changed since;
    `dirty` the keys whose hot value is not in the changelog yet. A person who was erased stands under a hash of their
    key, so that the id itself is gone. `gaps` are offsets between acknowledgements of our own writes: others wrote
    there, and `met` has to be told what.
    """

    def __init__(self, rules: Rules, most_hot: int, write: Write, cold: Store | None = None) -> None:
        self.cold: Store = Memory() if cold is None else cold
        self.hot: dict[bytes, Envelope] = {}
        self.dirty: set[bytes] = set()
        self.gaps: list[range] = []
        self.tiers: Counter[int] = Counter()
        self.bytes = 0
        self.fence = self.cold.fence
        self._reign = -1
        self._known = 0
        self._erased = 0
        self._beyond: list[Ours] = []
        self._spoiled: set[bytes] = set()
        self._rules = rules
        self._most_hot = most_hot
        self._write = write

    # -- what the changelog has

    def restore(self, key: bytes, value: bytes | None, fence: int | None = None) -> None:
        """Take a value from the changelog: it stands unless an owner with a higher fence has written before.

        Args:
            key: whose value it is.
            value: none deletes.
            fence: under which it was deleted, where that is known; a value carries its own.
        """
        under = env.fence_of(value) if value is not None else self.fence if fence is None else fence
        if under < self.fence:  # whoever wrote this had lost the partition; compaction may prefer it to what stands
            self._spoiled.add(key)
            return
        self.fence = self.cold.fence = under
        self._spoiled.discard(key)
        if key != FENCE:
            if self.hot:
                self.hot.pop(key, None)
                self.dirty.discard(key)
            self.cold.restored(key, value)

    def logged(self, key: bytes, value: bytes | None, offset: int, fence: int) -> None:
        """Note that the changelog has what we wrote under a fence, and where."""
        if offset <= self.cold.position:
            return  # a recovery has read it back
        end = self._beyond[-1].offset if self._beyond else self.cold.position
        if offset > end + 1:
            self.gaps.append(range(end + 1, offset))
        self._beyond.append(Ours(key, value, offset, fence))
        self._advance()

    def met(self, key: bytes, value: bytes | None, fence: int | None) -> None:
        """Take what somebody else wrote between our own records: ours is written again, so that it stands last.

        Raises:
            Dethroned: they are the owner, not we.
        """
        under = env.fence_of(value) if value is not None else 0 if fence is None else fence
        if under > self.fence:
            raise Dethroned(f"a record of fence {under} while our reign is {self.fence}")
        self._spoiled.add(key)

    def filled(self, gap: range) -> None:
        """Note that all of a gap was met."""
        self.gaps = [other for other in self.gaps if other is not gap]
        self._advance()

    def settle(self) -> int:
        """Have written again what others have written over; return how many keys that are."""
        if not self.reigns:
            return 0
        spoiled, self._spoiled = self._spoiled, set()
        for key in spoiled:
            if key == FENCE:
                self._announce()
            elif key in self:
                self.touch(key)
            else:
                self._write(key, None)
        return len(spoiled)

    def _advance(self) -> None:
        """Hold what is in the changelog, as far as we know all that is before it."""
        if self.gaps:
            return
        for ours in self._beyond:
            if ours.fence < self.fence:
                self._spoiled.add(ours.key)
            else:
                self.cold.fence = ours.fence
                if ours.key != FENCE:
                    self.cold.arrived(ours.key, ours.value)
            self.cold.reached(ours.offset)
        self._beyond.clear()

    # -- reigns

    @property
    def reigns(self) -> bool:
        """Whether nobody has begun a reign since ours began."""
        return self.fence == self._reign

    def begin(self) -> None:
        """Begin a reign: what is written from now on stands above whatever an owner before us may still write."""
        self.abdicate()
        self.fence += 1
        self._reign = self.fence
        self._announce()
        self.settle()

    def abdicate(self) -> None:
        """End a reign: nothing counts any more but what the changelog has."""
        self.hot.clear()
        self.dirty.clear()
        self.gaps.clear()
        self._beyond.clear()
        self.cold.forget()
        self._reign = -1

    def _announce(self) -> None:
        self._write(FENCE, env.seal(Envelope(Person("")), self.fence, self._rules))

    # -- values

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

    def __contains__(self, key: bytes) -> bool:
        return key in self.hot or self.cold.get(key) is not None

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
        for key in list(islice((key for key in self.hot if key not in self.dirty), surplus)):
            del self.hot[key]

    def scan(self) -> Iterator[tuple[bytes, env.Prefix]]:
        """Yield every key with the prefix of its value, decoding nothing, and count them anew.

        Raises:
            BadEnvelope: a value was written by another version.
        """
        self.tiers.clear()
        self.bytes = self._known = self._erased = 0
        for key, value in self.cold.items():
            prefix = env.peek(value)
            self._count(key, value, 1)
            yield key, prefix

    def __len__(self) -> int:
        return self._known

    def _kept(self, key: bytes, value: bytes | None) -> None:
        before = self.cold.get(key)
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
