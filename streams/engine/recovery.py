"""Batch recovery: whole fetched batches of a changelog go to the table instead of single events."""

from __future__ import annotations

from typing import Any, cast

from faust.exceptions import ConsistencyError
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from streams.clock import monotonic
from streams.engine.table import WriteBehindTable


class CheckedRecovery(Recovery):
    """Faust's recovery with a stricter check: Faust misses a table ahead of a changelog with a single record."""

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        for tp in tps:
            have, there = offsets[tp], self.active_highwaters[tp]
            if have is not None and have > there:
                raise ConsistencyError(
                    f"{tp.topic}/{tp.partition} ends at {there}, but the data folder has it up to {have}: records were "
                    "lost, or the topic was created again; if that was intended, delete the folder"
                )
        await super()._seek_offsets(consumer, tps, offsets, title)


class BatchRecovery(CheckedRecovery):
    """Faust's recovery, except that the consumer passes fetched batches directly to the table, past all queues.

    Faust still decides which partitions are recovered, from which offset to which, and what follows.
    """

    def apply(self, tp: TP, records: list[Any]) -> None:
        """Apply the next records of a changelog partition in order. The last record of all ends the recovery."""
        if tp not in self.active_tps:
            return
        seen = self.active_offsets[tp]
        fresh = records if seen is None or records[0].offset > seen else [one for one in records if one.offset > seen]
        if fresh:
            cast(WriteBehindTable, self.tp_to_table[tp]).listener.restore(tp.partition, fresh)
            self.active_offsets[tp] = fresh[-1].offset
            self._active_events_received_at[tp] = self._last_flush_at = monotonic()
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()

    def _set_recovery_started(self) -> None:
        """Clear the signal of the last recovery. Faust clears it in the queue reader, which does nothing here."""
        self.signal_recovery_end.clear()
        super()._set_recovery_started()

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Read no queue: batches bypass it."""


class PlainTables(TableManager):
    """Tables that are recovered event by event, by Faust."""

    service: type[Recovery] = CheckedRecovery

    @property
    def recovery(self) -> Recovery:
        """The recovery service. Faust always creates its own `Recovery`."""
        if self._recovery is None:
            self._recovery = self.service(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class BatchTables(PlainTables):
    """Tables that are recovered in batches."""

    service = BatchRecovery
