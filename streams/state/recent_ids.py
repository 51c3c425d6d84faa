"""A bounded memory of record ids, for recognising repeats."""

from __future__ import annotations

from collections import OrderedDict


class RecentIds:
    """Remembers the newest ids, up to a limit. When it is full, a new id displaces the oldest one.

    Repeats come from a crash or a rebalance, so they follow soon after the first record. A bounded memory is enough.

    Args:
        limit: the number of ids that are remembered.

    Examples:
        >>> recent = RecentIds(2)
        >>> [recent.add(name) for name in ("a", "b", "a", "c", "b")]
        [False, False, True, False, False]
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, record_id: str) -> bool:
        """Remember an id as the newest one; return whether it is a repeat."""
        repeat = record_id in self._ids
        self._ids[record_id] = None
        if repeat:
            self._ids.move_to_end(record_id)
        elif len(self._ids) > self._limit:
            self._ids.popitem(last=False)
        return repeat

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)
