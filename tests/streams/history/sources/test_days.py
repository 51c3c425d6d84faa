"""Times of day: repeatable, within the day, and spread."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.history.sources import days

DAY = 86_400.0
NUMBERS = st.integers(-(2**50), 2**50)


def test_the_hash_is_splitmix64():
    """The values of its reference implementation for the seeds 0 and 1."""
    assert days.splitmix64(np.array([0, 1], dtype=np.uint64)).tolist() == [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1]


def test_times_of_day_never_change():
    """Logs of live systems contain these times."""
    users, dates = np.array([11391.0, 28400.0]), np.array([16_000.0, 16_000.0])

    assert days.day_starts(users, dates).tolist() == [1_382_453_518.0, 1_382_443_146.0]
    assert days.seconds_in_day(users, np.array([0, 1])).tolist() == [3_851.0, 2_686.0]


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.integers(-3_000, 300_000), NUMBERS), min_size=1))
def test_all_times_lie_within_the_day(rows):
    """Between 07:00 and 22:00 for any numbers; a day starts by 20:30."""
    users, dates, numbers = (np.array(column) for column in zip(*rows, strict=True))
    begins, within = days.day_starts(users, dates), days.seconds_in_day(users, numbers)
    clock = begins - dates * DAY

    assert (clock >= 7 * 3_600).all() and (clock <= 20.5 * 3_600).all()
    assert (within >= 0).all() and (within <= 5_400).all()
    assert (begins == days.day_starts(users.astype(float), dates.astype(float))).all()


def test_day_starts_are_spread():
    """Neighbouring numbers do not have neighbouring start times."""
    many = np.arange(10_000)
    for clock in (days.day_starts(many, np.zeros(10_000)), days.day_starts(np.zeros(10_000), many) % DAY):
        hours = np.histogram(clock, bins=27, range=(7 * 3_600, 20.5 * 3_600))[0]
        assert hours.min() > 300 and hours.max() < 440
