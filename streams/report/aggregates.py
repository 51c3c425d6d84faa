"""What the report needs of a replay as it goes: bounded by people, weeks and kinds of reasons, not by events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.schema import events as ev
from models.schema.outputs import TIERS, Alert, Reason
from streams.report.weeks import WEEK, begin_of, week_at, whole_weeks


class ActivityByWeek:
    """In which weeks each person was active: a bit a week and person, from the first event on.

    Args:
        active_kinds: types of the events that count as being active, as the label takes them.
    """

    def __init__(self, active_kinds: frozenset[str]) -> None:
        self._kinds = active_kinds
        self._weeks: dict[str, int] = {}
        self._base = 0
        self._ends = float("-inf")
        self._bit = 0

    def __len__(self) -> int:
        return len(self._weeks)

    def saw(self, event: ev.AnyEvent) -> None:
        """Note an event; the parts of a log may be told one after the other, each in its own order."""
        if not isinstance(event, ev.Event) or ev.kind_of(event) not in self._kinds:
            return
        if not self._ends - WEEK <= event.time < self._ends:
            week = week_at(event.time)
            self._base = self._base if self._weeks else week
            if week < self._base:
                self._begin(week)
            self._ends = begin_of(week + 1)
            self._bit = 1 << (week - self._base)
        weeks = self._weeks.get(event.user_id, 0)
        if not weeks & self._bit:
            self._weeks[event.user_id] = weeks | self._bit

    def _begin(self, week: int) -> None:
        """Begin with an earlier week."""
        self._weeks = {user: weeks << (self._base - week) for user, weeks in self._weeks.items()}
        self._base = week

    def cohorts(self, end: float) -> Cohorts:
        """Return who came back, of all whose first week is over at a moment."""
        weeks = max(0, whole_weeks(end) - self._base) if self._weeks else 0
        active = np.zeros((weeks, weeks), np.int64)
        whole = (1 << weeks) - 1
        for bits in self._weeks.values():
            seen = bits & whole
            if seen:
                first = (seen & -seen).bit_length() - 1
                later = np.frombuffer((seen >> first).to_bytes((weeks + 7) // 8, "little"), np.uint8)
                active[first] += np.unpackbits(later, count=weeks, bitorder="little")
        return Cohorts(self._base, active)


class Cohorts(NamedTuple):
    """How many of those who came first in a week were active how many weeks later.

    Attributes:
        base: number of the first week.
        active: (weeks, weeks) matrix; `active[f, n]` people of first week `base + f` were active n weeks after it.
            What would lie beyond the last whole week (f + n >= weeks) is not known yet, and is 0.
    """

    base: int
    active: NDArray[np.int64]

    @property
    def people(self) -> NDArray[np.int64]:
        """How many came first in each week."""
        return self.active[:, 0] if len(self.active) else np.zeros(0, np.int64)

    @property
    def asked(self) -> NDArray[np.int64]:
        """How many could be seen n weeks after their first, by first week and n: all of a week, or nobody."""
        weeks = len(self.active)
        known = np.add.outer(np.arange(weeks), np.arange(weeks)) < weeks
        return np.where(known, self.people[:, None], 0)


class Tiers:
    """How many people stand in each risk tier, by week. A person has one from the first score that counts until they
    have been silent for longer than the look-back.
    """

    def __init__(self) -> None:
        self._tier: dict[str, str] = {}
        self._changes: dict[int, Counter[str]] = {}
        self._latest = float("-inf")

    def moved(self, user_id: str, tier: str, time: float) -> None:
        """Note that somebody's tier has changed, to none if it is empty."""
        self._latest = max(self._latest, time)
        changes = self._changes.setdefault(week_at(time), Counter())
        before = self._tier.pop(user_id, "")
        changes[before] -= 1
        changes[tier] += 1
        if tier:
            self._tier[user_id] = tier

    def forgotten(self, user_id: str) -> None:
        """Note that somebody has been forgotten by now."""
        if user_id in self._tier:
            self.moved(user_id, "", self._latest)

    def weeks(self, end: float) -> Iterator[tuple[float, dict[str, int]]]:
        """Yield the people by tier at the end of every week from the first in which there was a tier.

        Args:
            end: the end of history, which is the last moment.
        """
        held: Counter[str] = Counter()
        if self._changes:
            for week in range(min(self._changes), max(week_at(end), *self._changes) + 1):
                held.update(self._changes.get(week, {}))
                yield min(begin_of(week + 1), max(end, self._latest)), {tier: held[tier] for tier in TIERS}


class ReasonCount(NamedTuple):
    """A group of reasons on alerts: how often it was given, and how it read where it was strongest."""

    group: str
    times: int
    words: str


class ReasonCounts:
    """Which reasons alerts of risk gave: apart for those who came into more danger and those who came out of it."""

    def __init__(self) -> None:
        self.rising = 0
        self.falling = 0
        self._counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._strongest: dict[tuple[bool, str], Reason] = {}

    def heard(self, alert: Alert) -> None:
        """Note an alert."""
        if alert.about != "risk":
            return
        rose = _rank(alert.tier) >= _rank(alert.tier_before)
        if rose:
            self.rising += 1
        else:
            self.falling += 1
        for reason in alert.reasons:
            self._counts[rose][reason.group] += 1
            strongest = self._strongest.setdefault((rose, reason.group), reason)
            if abs(reason.effect) > abs(strongest.effect):
                self._strongest[rose, reason.group] = reason

    def why(self, rose: bool) -> list[ReasonCount]:
        """Return the groups of reasons, those given most often first."""
        counts = sorted(self._counts[rose].items(), key=lambda item: (-item[1], item[0]))
        return [ReasonCount(group, count, self._strongest[rose, group].words) for group, count in counts]


def _rank(tier: str) -> int:
    return TIERS.index(tier) if tier in TIERS else 0
