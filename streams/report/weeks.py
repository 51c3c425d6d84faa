"""Weeks of the report: from Monday to Sunday in UTC, numbered as a person's activity numbers them."""

from __future__ import annotations

from models.person.activity import DAY, week_of

WEEK = 7 * DAY


def week_at(time: float) -> int:
    """Return the number of the week in which a moment lies.

    Examples:
        >>> [week_at(day * DAY) for day in (3, 4, 10, 11)]  # 5 January 1970 is a Monday
        [0, 1, 1, 2]
    """
    return week_of(int(time // DAY))


def begin_of(week: int) -> float:
    """Return the moment a week begins, in seconds since 1970 UTC.

    Examples:
        >>> begin_of(1) == 4 * DAY and week_at(begin_of(1)) == 1
        True
    """
    return (week * 7 - 3) * DAY


def whole_weeks(end: float) -> int:
    """Return the number of the first week that is not over at a moment: those before it are whole.

    Examples:
        >>> whole_weeks(11 * DAY), whole_weeks(11 * DAY - 1)
        (2, 1)
    """
    return week_at(end)
