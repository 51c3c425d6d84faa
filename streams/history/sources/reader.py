"""Turns the bytes of a line or record into an entry, for files and topics, with or without a mapping file."""

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
"""The log time of an entry from a source without a log."""


class Reader:
    """Reads entries.

    Args:
        settings: the maximum size of an event, and how far its time may be after the log time.
        mapping: turns foreign objects into events.
    """

    def __init__(self, settings: Settings, mapping: EventMapping | None) -> None:
        self.skipped = 0
        self._max_record_bytes = settings.max_record_bytes
        self._skew = settings.skew
        self._mapping = mapping

    def read_lines(self, first: int, lines: Sequence[bytes]) -> list[HistoryEntry | UnusableEntry]:
        """Return the entries of one or more lines; `first` is the position of the first line. Skip empty lines."""
        if self._mapping is None and max(map(len, lines)) <= self._max_record_bytes:
            with contextlib.suppress(InvalidEvent):  # whose it is, is entries line by line
                return list(map(HistoryEntry, itertools.count(first), event_codec.decode_all(lines)))
        max_bytes = self._max_record_bytes + 1  # the line may still end with a carriage return
        stripped = (line.strip() if len(line) <= max_bytes else line for line in lines)
        entries = (self.read(position, line) for position, line in enumerate(stripped, first) if line)
        return [entry for entry in entries if entry is not None]

    def read(
        self, position: int, raw: bytes | None, log_time: float = NO_LOG_TIME
    ) -> HistoryEntry | UnusableEntry | None:
        """Return the entry of some bytes; None, and counted, if the mapping file skips them."""
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
