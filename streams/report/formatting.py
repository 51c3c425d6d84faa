"""Formats numbers, shares and days for readers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun.

    Examples:
        >>> count(1, "person", "people"), count(1200, "person", "people"), count(0, "week")
        ('1 person', '1,200 people', '0 weeks')
    """
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(share: float) -> str:
    """Return a share in percent, with a decimal if rounding would hide it. Only 0 is 0%, and only 1 is 100%.

    Examples:
        >>> percent(0.284), percent(0.0042), percent(0.996), percent(0.0), percent(1.0)
        ('28%', '0.4%', '99.6%', '0%', '100%')
        >>> percent(1e-5), percent(0.9999)
        ('under 0.1%', 'over 99.9%')
    """
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.1%}" if 0 < share < 0.01 or 0.99 < share < 1 else f"{share:.0%}"


def points(share: float) -> str:
    """Return the difference of two shares in percentage points.

    Examples:
        >>> points(0.0214), points(-0.01)
        ('2.1 points', '1.0 point')
    """
    text = f"{abs(share) * 100:.1f}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def day(moment: float) -> str:
    """Return the UTC day of a moment.

    Examples:
        >>> day(0.0)
        '1 Jan 1970'
    """
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b %Y}"


def short_day(moment: float) -> str:
    """Return the UTC day of a moment, with a short year.

    Examples:
        >>> short_day(0.0)
        "1 Jan '70"
    """
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b '%y}"


def and_list(items: Sequence[str]) -> str:
    """Return several items as a list with commas and a final `and`.

    Examples:
        >>> and_list(["a"]), and_list(["a", "b"]), and_list(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
