"""Weeks of the report: from Monday to Sunday in UTC, with the numbers that a user's activity uses."""

from __future__ import annotations

from models.person.activity import DAY, week_of

WEEK = 7 * DAY


def week_number(time: float) -> int:
    """Return the number of the week that contains a moment.

    Examples:
        >>> [week_number(day * DAY) for day in (3, 4, 10, 11)]  # 5 January 1970 is a Monday
        [0, 1, 1, 2]
    """
    return week_of(int(time // DAY))


def week_start(week: int) -> float:
    """Return the start of a week, in seconds since 1970 UTC.

    Examples:
        >>> week_start(1) == 4 * DAY and week_number(week_start(1)) == 1
        True
    """
    return (week * 7 - 3) * DAY


def first_open_week(end: float) -> int:
    """Return the number of the first week that is not over at a moment; all weeks before it are complete.

    Examples:
        >>> first_open_week(11 * DAY), first_open_week(11 * DAY - 1)
        (2, 1)
    """
    return week_number(end)
