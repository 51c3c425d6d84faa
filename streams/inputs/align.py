"""Watermark alignment: several partitions read together in the order of event time, while any of them has a backlog.

Read each as fast as it comes, two topics drift days apart after an outage, and whoever is silent in the slower one
looks lost. Here none runs more than a bound ahead of the slowest one that still has unread records, and of what may go
the earliest goes first: partitions that are each in order become one that is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Place = TypeVar("Place")
Item = TypeVar("Item")
NEVER = float("inf")


class Aligner(Generic[Place, Item]):
    """Holds back what is ahead.

    The caller offers items of a place in its own order, and takes those that may go. A place that has unread records
    but nothing on offer holds everybody at the last time seen there, without the bound: it is to be read next, and what
    it has may be earlier than what others offer.
    """

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead
        self._offered: dict[Place, deque[tuple[float, Item]]] = {}
        self._last: dict[Place, float] = {}

    def offer(self, place: Place, time: float, item: Item) -> None:
        """Offer an item of a place, which happened at a time."""
        self._offered.setdefault(place, deque()).append((time, item))

    def wants(self, place: Place) -> bool:
        """Return whether a place has nothing on offer, so that it is worth reading."""
        return not self._offered.get(place)

    def take(self, unread: Callable[[Place], bool], places: set[Place]) -> Iterator[tuple[Place, Item]]:
        """Yield what may go, by time, in each place's order: none further ahead of the slowest place than the bound."""
        limit = self._limit(unread, places)
        offers = enumerate(self._offered.items())
        heads = [(offered[0][0], number, place) for number, (place, offered) in offers if offered]
        heapq.heapify(heads)
        while heads and heads[0][0] <= limit:
            time, number, place = heapq.heappop(heads)
            offered = self._offered[place]
            _, item = offered.popleft()
            self._last[place] = max(time, self._last.get(place, 0.0))
            if offered:
                heapq.heappush(heads, (offered[0][0], number, place))
            elif place in places and unread(place):
                limit = min(limit, self._last[place])
            yield place, item

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

    def _limit(self, unread: Callable[[Place], bool], places: set[Place]) -> float:
        limit = NEVER
        for place in places:
            offered = self._offered.get(place)
            if offered:
                limit = min(limit, offered[0][0] + self._ahead)
            elif unread(place):
                limit = min(limit, self._last.get(place, float("-inf")))
        return limit
