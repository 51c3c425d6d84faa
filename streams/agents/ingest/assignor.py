"""A partition assignor that gives one consumer every partition. The others stand by to take over.

Watermark alignment holds partitions back against each other. This needs one consumer that reads them all: two workers
that each align their own share drift apart as far as two unaligned topics do.
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
        """Return each member's assignment: all partitions for the first one, none for the others."""
        first = min(members)
        everything: dict[str, Any] = super().assign(cluster, {first: members[first]})
        nothing = super().assign(cluster, {member: cls.metadata([]) for member in members})
        return {**nothing, **everything}
