"""Watermark alignment: several partitions read together in the order of event time, while any of them has a backlog.

Read each as fast as it comes, two topics drift days apart after an outage, and whoever is silent in the slower one
looks lost. Here none runs more than a bound ahead of the slowest one that still has unread records, and of what may go
the earliest goes first: partitions that are each in order become one that is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from operator import itemgetter
from typing import Generic, TypeVar

Place = TypeVar("Place")
Item = TypeVar("Item")
Offer = tuple[float, float, Place, Item]
"""When its turn comes (after all before it in its place), when it happened, where, and the item."""
NEVER = float("inf")
_turn = itemgetter(0)


class WatermarkAligner(Generic[Place, Item]):
    """Holds back what is ahead.

    The caller offers items of a place in its own order, and takes those that may go. A place that has unread records
    but nothing on offer holds everybody at the last time seen there, without the bound: it is to be read next, and what
    it has may be earlier than what others offer.
    """

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead
        self._offered: dict[Place, list[Offer[Place, Item]]] = {}
        self._last: dict[Place, float] = {}

    def offer(self, place: Place, time: float, item: Item) -> None:
        """Offer an item of a place, which happened at a time."""
        offered = self._offered.setdefault(place, [])
        turn = offered[-1][0] if offered and offered[-1][0] > time else time
        offered.append((turn, time, place, item))

    def wants(self, place: Place) -> bool:
        """Return whether a place has nothing on offer, so that it is worth reading."""
        return not self._offered.get(place)

    def take(self, unread: Collection[Place], places: set[Place]) -> list[tuple[Place, Item]]:
        """Return what may go, by time, in each place's order: none further ahead of the slowest than the bound."""
        limit = self._limit(unread, places)
        going: list[Offer[Place, Item]] = []
        for place, offered in self._offered.items():
            some = bisect_right(offered, limit, key=_turn)
            if some:
                going += offered[:some]
                del offered[:some]
                self._last[place] = max(going[-1][0], self._last.get(place, 0.0))
        going.sort(key=_turn)
        return [(place, item) for _, _, place, item in going]

    def forget(self, places: set[Place]) -> None:
        """Drop what is held of places that are read by somebody else now."""
        for place in places:
            self._offered.pop(place, None)
            self._last.pop(place, None)

    def places(self) -> set[Place]:
        """Return the places of which anything is known."""
        return set(self._offered) | set(self._last)

    def __len__(self) -> int:
        return sum(map(len, self._offered.values()))

    def _limit(self, unread: Collection[Place], places: set[Place]) -> float:
        """Return the time up to which items may go; where a place then has none left, what it reads next may come."""
        limit = NEVER
        for place in places:
            offered, last = self._offered.get(place), self._last.get(place, float("-inf"))
            if offered:
                limit = min(limit, offered[0][1] + self._ahead)
                last = max(last, offered[-1][0])
            if place in unread:
                limit = min(limit, last)
        return limit
