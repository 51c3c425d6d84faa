"""The table behind people: Faust recovers it from its changelog, we write that changelog ourselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import faust
from faust.types import TP

from streams.state.partition import ChangelogRecord


class StateListener(Protocol):
    """Whoever keeps the values of the table. All calls come from the event loop."""

    def restore(self, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Take values from the changelog; None deletes. Offsets of a partition only grow."""

    def recovered(self, partitions: set[int]) -> None:
        """All of these partitions, and no others, are ours and stand as the changelog ends."""

    def on_rebalance_started(self) -> None:
        """Partitions were given out anew; recovery follows."""

    def drop(self, partitions: set[int]) -> None:
        """These partitions are no longer ours."""

    def on_partitions_lost(self) -> None:
        """All partitions may have been somebody else's for a while: only what the changelog has counts."""

    async def resolve_conflicts(self) -> bool:
        """Look after what others wrote to our changelog; return whether that made us write.

        Raises:
            Dethroned: another owner began a reign.
        """

    async def write_ahead(self) -> None:
        """Write what changed by now, in turns with everything else; what a commit still finds, it writes at once."""

    def persisted_offset(self, partition: int) -> int | None:
        """Return the newest changelog offset whose value is held, None where nothing is."""


class WriteBehindTable(faust.Table):  # type: ignore[type-arg]
    """A table whose values a `StateListener` holds by partition, so that a partition can be dropped and come back.

    Faust decides what must be recovered and reads it; the listener decides when and what is written. Faust's own
    windows, iteration and item access are not for this table.
    """

    listener: StateListener

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Hand recovered records to the listener, in the changelog's order."""
        for event in batch:
            self.listener.restore(event.message.partition, [event.message])

    def persisted_offset(self, tp: TP) -> int | None:
        """Return from where recovery has to read: nothing is read twice while a partition stays."""
        return self.listener.persisted_offset(tp.partition)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Forget the partitions that went, before anything is read for those that came."""
        self.listener.on_rebalance_started()
        topic = self.changelog_topic.get_topic_name()
        self.listener.drop({tp.partition for tp in revoked if tp.topic == topic})

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Tell the listener; Faust would swallow what goes wrong here, so it stops the worker instead."""
        try:
            topic = self.changelog_topic.get_topic_name()  # of other tables Faust tells as well
            self.listener.recovered({tp.partition for tp in active_tps if tp.topic == topic})
        except Exception as error:  # noqa: BLE001 - handed to crash, which ends the worker with it
            await self.app.crash(error)


def changelog(app: faust.App, name: str, **options: Any) -> Any:
    """Return a changelog topic that recovery reads as raw bytes."""
    return app.topic(
        name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        compacting=True,
        allow_empty=True,
        internal=True,
        **options,
    )
