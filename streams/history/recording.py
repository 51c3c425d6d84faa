"""Replaces Kafka in a replay: records made of history entries, and a sink that acknowledges at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from models.person.rules import Rules
from models.schema import event_codec
from models.schema import events as ev
from streams.agents.users.store import UserStore
from streams.delivery.batching import Headers, OutgoingRecord
from streams.history.sources.source import UnusableEntry
from streams.state.partition import Pair

RecordListener = Callable[[str, bytes | None, bytes | None, Mapping[str, bytes]], None]
"""Receives every record that a worker would send: the topic's name, key, value and headers."""


class ReplayRecord(Struct, frozen=True, gc=False):
    """A history entry as a log record. A replay in time order has one partition, so the partition is always 0."""

    topic: str
    offset: int
    key: bytes | None
    timestamp: int
    event: ev.AnyEvent | None = None
    raw: bytes = b""
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def value(self) -> bytes:
        """The bytes that the record would hold."""
        return self.raw if self.event is None else event_codec.encode(self.event)


def unusable_record(entry: UnusableEntry, names: Sequence[str]) -> ReplayRecord:
    """Return an unusable entry as the record that its dead letter refers to."""
    return ReplayRecord(names[entry.source], entry.position, None, 0, None, entry.raw)


class RecordingSink:
    """A record sink that passes records to a listener and acknowledges them at once."""

    def __init__(self, listener: RecordListener) -> None:
        self._listener = listener
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._done.set_result(None)

    def enqueue(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        *,
        headers: Headers | None = None,
    ) -> asyncio.Future[Any]:
        """Pass one record to the listener."""
        self._listener(topic, key, value, dict(headers or ()))
        return self._done

    def enqueue_all(
        self, topic: str, partition: int, rows: Sequence[OutgoingRecord], after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[Any]:
        """Pass several records to the listener, in order."""
        for row in rows:
            self._listener(topic, row.key, row.value, dict(row.headers or ()))
        return self._done

    def user_store(self, rules: Rules, max_cached: int) -> UserStore:
        """Return a user store that lives in memory and whose writes are acknowledged at once."""
        count = itertools.count()

        def write(pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
            for key, value in pairs:
                store.on_acknowledged(key, value, next(count), store.fence)
            return self._done

        store = UserStore(rules, max_cached, write)
        return store
