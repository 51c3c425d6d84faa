"""Aggregates that the report needs from a replay. Their size depends on users, weeks and reasons, not on events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.schema import events as ev
from models.schema.outputs import TIERS, Alert, Reason
from streams.report.weeks import WEEK, first_open_week, week_number, week_start


class ActivityByWeek:
    """The weeks in which each user was active: one bit per week and user, from the first event on.

    Args:
        active_kinds: types of the events that count as activity, as in the definition of the label.
    """

    def __init__(self, active_kinds: frozenset[str]) -> None:
        self._kinds = active_kinds
        self._weeks: dict[str, int] = {}
        self._base = 0
        self._week_end = float("-inf")
        self._bit = 0

    def __len__(self) -> int:
        return len(self._weeks)

    def on_event(self, event: ev.AnyEvent) -> None:
        """Add an event. Parts of a log may be added one after the other, each in its own order."""
        if not isinstance(event, ev.Event) or ev.kind_of(event) not in self._kinds:
            return
        if not self._week_end - WEEK <= event.time < self._week_end:
            week = week_number(event.time)
            self._base = self._base if self._weeks else week
            if week < self._base:
                self._shift_base(week)
            self._week_end = week_start(week + 1)
            self._bit = 1 << (week - self._base)
        weeks = self._weeks.get(event.user_id, 0)
        if not weeks & self._bit:
            self._weeks[event.user_id] = weeks | self._bit

    def _shift_base(self, week: int) -> None:
        """Move the first week to an earlier one."""
        self._weeks = {user: weeks << (self._base - week) for user, weeks in self._weeks.items()}
        self._base = week

    def cohorts(self, end: float) -> Cohorts:
        """Return retention counts of all users whose first week is over at a moment."""
        weeks = max(0, first_open_week(end) - self._base) if self._weeks else 0
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
    """How many users of each first week were active a number of weeks later.

    Attributes:
        base: number of the first week.
        active: (weeks, weeks) matrix; `active[f, n]` users of first week `base + f` were active n weeks after it.
            Values beyond the last complete week (f + n >= weeks) are unknown, and stored as 0.
    """

    base: int
    active: NDArray[np.int64]

    @property
    def users(self) -> NDArray[np.int64]:
        """The number of users of each first week."""
        return self.active[:, 0] if len(self.active) else np.zeros(0, np.int64)

    @property
    def observed(self) -> NDArray[np.int64]:
        """The number of users that can be observed n weeks after their first week: all users of that week, or 0."""
        weeks = len(self.active)
        known = np.add.outer(np.arange(weeks), np.arange(weeks)) < weeks
        return np.where(known, self.users[:, None], 0)


class TierHistory:
    """The number of users in each risk tier, by week.

    A user has a tier from the first valid score until they have been inactive for longer than the look-back.
    """

    def __init__(self) -> None:
        self._tier: dict[str, str] = {}
        self._changes: dict[int, Counter[str]] = {}
        self._latest = float("-inf")

    def set_tier(self, user_id: str, tier: str, time: float) -> None:
        """Set the tier of a user; an empty tier removes it."""
        self._latest = max(self._latest, time)
        changes = self._changes.setdefault(week_number(time), Counter())
        before = self._tier.pop(user_id, "")
        changes[before] -= 1
        changes[tier] += 1
        if tier:
            self._tier[user_id] = tier

    def remove(self, user_id: str) -> None:
        """Remove a user who was erased."""
        if user_id in self._tier:
            self.set_tier(user_id, "", self._latest)

    def weeks(self, end: float) -> Iterator[tuple[float, dict[str, int]]]:
        """Yield the users by tier at the end of every week, from the first week with a tier.

        Args:
            end: the end of history, which is the last moment.
        """
        users_by_tier: Counter[str] = Counter()
        if self._changes:
            for week in range(min(self._changes), max(week_number(end), *self._changes) + 1):
                users_by_tier.update(self._changes.get(week, {}))
                yield min(week_start(week + 1), max(end, self._latest)), {tier: users_by_tier[tier] for tier in TIERS}


class ReasonCount(NamedTuple):
    """A group of reasons on alerts: how often it was given, and the text of its strongest case."""

    group: str
    alerts: int
    text: str


class ReasonCounts:
    """Reasons on alerts about risk, counted separately for increased and decreased risk."""

    def __init__(self) -> None:
        self.rising = 0
        self.falling = 0
        self._counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        self._strongest: dict[tuple[bool, str], Reason] = {}

    def on_alert(self, alert: Alert) -> None:
        """Count an alert."""
        if alert.about != "risk":
            return
        increased = _tier_rank(alert.tier) >= _tier_rank(alert.tier_before)
        if increased:
            self.rising += 1
        else:
            self.falling += 1
        for reason in alert.reasons:
            self._counts[increased][reason.group] += 1
            strongest = self._strongest.setdefault((increased, reason.group), reason)
            if abs(reason.effect) > abs(strongest.effect):
                self._strongest[increased, reason.group] = reason

    def groups(self, increased: bool) -> list[ReasonCount]:
        """Return the groups of reasons, most frequent first."""
        counts = sorted(self._counts[increased].items(), key=lambda item: (-item[1], item[0]))
        return [ReasonCount(group, count, self._strongest[increased, group].words) for group, count in counts]


def _tier_rank(tier: str) -> int:
    return TIERS.index(tier) if tier in TIERS else 0
