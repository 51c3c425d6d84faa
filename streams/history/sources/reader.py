"""From the bytes of one line or record to an entry: the same for files and topics, with a mapping file or without."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

from models.schema import event_codec
from models.schema.errors import InvalidEvent
from streams.agents.ingest.mapping import EventMapping
from streams.delivery.dead_letters import MAX_VALUE_BYTES
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.kafka import codec
from streams.settings import Settings

NO_LOG_TIME = float("inf")
"""Stands for the time at which a log took a record, where there is no log."""


class Reader:
    """Reads entries.

    Args:
        settings: how large an event may be, and how far it may lie beyond the log's time.
        mapping: what makes events of foreign objects.
    """

    def __init__(self, settings: Settings, mapping: EventMapping | None) -> None:
        self.skipped = 0
        self._max_record_bytes = settings.max_record_bytes
        self._skew = settings.skew
        self._mapping = mapping

    def read_lines(self, first: int, lines: Sequence[bytes]) -> list[HistoryEntry | UnusableEntry]:
        """Return what lines are, at least one, the first of them at a position; those that are empty are nothing."""
        if self._mapping is None and max(map(len, lines)) <= self._max_record_bytes:
            with contextlib.suppress(InvalidEvent):  # whose it is, is found line by line
                return list(map(HistoryEntry, itertools.count(first), event_codec.decode_all(lines)))
        most = self._max_record_bytes + 1  # with the other half of a line's end
        bare = (line.strip() if len(line) <= most else line for line in lines)
        found = (self.read(position, line) for position, line in enumerate(bare, first) if line)
        return [one for one in found if one is not None]

    def read(
        self, position: int, raw: bytes | None, log_time: float = NO_LOG_TIME
    ) -> HistoryEntry | UnusableEntry | None:
        """Return what bytes at a position are, None (and counted) if the mapping file skips them."""
        try:
            value = raw
            if self._mapping is not None and raw is not None and len(raw) <= self._max_record_bytes:
                value = self._mapping.translate(raw)
                if value is None:
                    self.skipped += 1
                    return None
            return HistoryEntry(position, codec.decode_event(value, log_time, self._max_record_bytes, self._skew))
        except InvalidEvent as error:
            return UnusableEntry(position, (raw or b"")[:MAX_VALUE_BYTES], error)
