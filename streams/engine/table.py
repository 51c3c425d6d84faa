"""A Faust table that Faust recovers from its changelog and Encore writes itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import faust
from faust.types import TP

from streams.state.partition import ChangelogRecord


class StateListener(Protocol):
    """Holds the values of the table. All calls come from the event loop."""

    def restore(self, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Take recovered values; None deletes. The offsets of a partition increase."""

    def recovered(self, partitions: set[int]) -> None:
        """Exactly these partitions are owned, and recovered to the end of the changelog."""

    def on_rebalance_started(self) -> None:
        """Partitions were reassigned; recovery follows."""

    def drop(self, partitions: set[int]) -> None:
        """These partitions have another owner."""

    def on_partitions_lost(self) -> None:
        """All partitions may have had another owner: only the changelog is valid."""

    async def resolve_conflicts(self) -> bool:
        """Handle records of other writers in the changelog; return whether something was written again.

        Raises:
            Fenced: another owner has a higher fence.
        """

    async def write_ahead(self) -> None:
        """Write changed values in small slices. The commit writes the rest at once."""

    def persisted_offset(self, partition: int) -> int | None:
        """Return the newest changelog offset in the store; None if there is none."""


class WriteBehindTable(faust.Table):  # type: ignore[type-arg]
    """A table whose values a `StateListener` holds by partition, so that a partition can be dropped and acquired again.

    Faust decides what is recovered and reads it. The listener decides what is written and when. Faust's windows,
    iteration and item access do not apply to this table.
    """

    listener: StateListener

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Pass recovered records to the listener, in order."""
        for event in batch:
            self.listener.restore(event.message.partition, [event.message])

    def persisted_offset(self, tp: TP) -> int | None:
        """Return the offset from which recovery must read. A partition that stays is not read again."""
        return self.listener.persisted_offset(tp.partition)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Drop the revoked partitions before anything is read for the new ones."""
        self.listener.on_rebalance_started()
        topic = self.changelog_topic.get_topic_name()
        self.listener.drop({tp.partition for tp in revoked if tp.topic == topic})

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Notify the listener. Faust would swallow an error here, so it stops the worker."""
        try:
            topic = self.changelog_topic.get_topic_name()  # Faust also reports other tables
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
