"""One reader at a time: a group in which one worker has every partition, and the others stand by to take over.

Alignment holds partitions back against each other, which only somebody who reads them all can do: two workers that
each align their own share drift apart as far as two unaligned topics do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor


class SingleConsumerAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """Gives all partitions to the group's first member by id."""

    name = "encore-one"

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Return what each member gets: one of them everything, the others nothing."""
        first = min(members)
        given: dict[str, Any] = super().assign(cluster, {first: members[first]})
        nothing = super().assign(cluster, {member: cls.metadata([]) for member in members})
        return {**nothing, **given}
