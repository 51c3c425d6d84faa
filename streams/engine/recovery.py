"""Batch recovery: whole fetched batches of a changelog go to the table, instead of one event at a time."""

from __future__ import annotations

from typing import Any, cast

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from streams.clock import monotonic
from streams.engine.table import WriteBehindTable


class BatchRecovery(Recovery):
    """Faust's recovery, but for who applies what was fetched: the consumer hands batches over, past all queues.

    Faust decides as ever which partitions have to be recovered, from where and up to where, and what follows.
    """

    def apply(self, tp: TP, records: list[Any]) -> None:
        """Take the next records of a changelog partition, in their order; the last one of all ends the recovery."""
        if tp not in self.active_tps:
            return
        seen = self.active_offsets[tp]
        fresh = records if seen is None or records[0].offset > seen else [one for one in records if one.offset > seen]
        if fresh:
            cast(WriteBehindTable, self.tp_to_table[tp]).keeper.restore(tp.partition, fresh)
            self.active_offsets[tp] = fresh[-1].offset
            self._active_events_received_at[tp] = self._last_flush_at = monotonic()
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()

    def _set_recovery_started(self) -> None:
        self.signal_recovery_end.clear()
        super()._set_recovery_started()

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Read no queue: nothing is put there."""


class BatchTables(TableManager):
    """Tables that are recovered in batches."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = BatchRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
