"""Many people's activities side by side: one numpy column a quantity, so that a formula is evaluated once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.activity import DAY, Activity, week_of

Column = NDArray[np.float64]


class Columns(NamedTuple):
    """What rows are computed from; one value a person. Times in seconds since 1970 UTC, gaps in days, weeks counted."""

    now: Column
    first: Column
    last: Column
    events: Column
    day: Column
    day_before: Column
    week: Column
    first_week: Column
    this_week: Column
    count_1: Column
    count_7: Column
    count_28: Column
    gaps: Column
    gap_sum: Column
    gap_squares: Column
    longest_gap: Column
    smoothed_gap: Column
    minutes: Column
    exercises: Column
    score_sum: Column
    social: Column
    ratings: Column
    rating_sum: Column
    courses: Column
    done: Column
    progress: Column
    entered: Column
    finished: Column
    purchases: Column
    spend: Column
    last_purchase: Column
    member: Column

    @property
    def silence(self) -> Column:
        """Days since the last active event."""
        return np.maximum(0.0, self.now - self.last) / DAY

    @property
    def tenure(self) -> Column:
        """Days since the first active event."""
        return (self.now - self.first) / DAY

    @property
    def today(self) -> Column:
        """The number of the day asked about."""
        return np.floor(self.now / DAY)

    @property
    def open_gap(self) -> Column:
        """Days between the last two active days."""
        return self.day - self.day_before

    def mean_gap(self, horizon_days: float) -> Column:
        """Usual days between active days, leaning on a quarter of the horizon while little is known."""
        return (self.gap_sum + horizon_days / 2) / (self.gaps + 2)


def columns(people: Sequence[Activity], times: Sequence[float]) -> Columns:
    """Lay n activities out as columns of n values, each as of its moment."""
    return Columns(*np.array([_numbers(person, now) for person, now in zip(people, times, strict=True)]).T)


def latest(rings: bytes, size: int, newest: Column, held: Column) -> NDArray[np.uint8]:
    """Unroll rings of counts, one a person, so that the newest stands first.

    Args:
        rings: n rings of `size` counts, one after another; count i of a ring is that of the last day (or week) d up to
            `held` with d % size == i.
        newest: the n days from which to look back.
        held: the n days up to which the rings go, none later than `newest`.

    Returns:
        An (n, size) matrix: counts of `newest`, the day before it, and so on; 0 for days after `held`.
    """
    back = np.arange(size)
    last = newest.astype(np.int64)[:, None]
    places = (last - back) % size + (np.arange(len(newest)) * size)[:, None]
    counts: NDArray[np.uint8] = np.frombuffer(rings, np.uint8)[places]
    counts[back < (newest - held)[:, None]] = 0
    return counts


def _numbers(person: Activity, now: float) -> tuple[float, ...]:
    gaps, wallet, courses = person.gaps, person.wallet, person.courses
    done, entered, progress, finished, last_id = 0, 0.0, 0.0, 0.0, ""
    for course in courses:
        if course.completed_at:
            done += 1
        if course.last > entered or (course.last == entered and course.id > last_id):
            entered, last_id, progress, finished = course.last, course.id, course.progress, course.completed_at
    count_1, count_7, count_28 = person.decayed
    spend = wallet.spend - wallet.refunded
    return (
        now,
        person.first,
        person.last,
        person.events,
        person.day,
        person.day_before,
        person.week,
        week_of(int(person.first // DAY)),
        week_of(int(now // DAY)),
        count_1,
        count_7,
        count_28,
        gaps.count,
        gaps.total,
        gaps.squares,
        gaps.longest,
        gaps.smoothed,
        person.minutes,
        person.exercises,
        person.score_sum,
        person.social,
        person.ratings,
        person.rating_sum,
        len(courses),
        done,
        progress,
        entered,
        1.0 if finished else 0.0,
        wallet.purchases,
        spend if spend > 0 else 0.0,
        wallet.last,
        1.0 if wallet.member_since > wallet.member_until else 0.0,
    )
