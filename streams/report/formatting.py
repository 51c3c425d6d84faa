"""Numbers and days as a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def count(number: int, one: str, many: str | None = None) -> str:
    """Say how many there are of something.

    Examples:
        >>> count(1, "person", "people"), count(1200, "person", "people"), count(0, "week")
        ('1 person', '1,200 people', '0 weeks')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Say a share in percent, with a decimal where it would be lost otherwise; only nobody is 0%, only all are 100%.

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
    """Say a difference of two shares in percentage points.

    Examples:
        >>> points(0.0214), points(-0.01)
        ('2.1 points', '1.0 point')
    """
    said = f"{abs(share) * 100:.1f}"
    return f"{said} point" if said == "1.0" else f"{said} points"


def day(moment: float) -> str:
    """Say on which day a moment is, in UTC.

    Examples:
        >>> day(0.0)
        '1 Jan 1970'
    """
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b %Y}"


def short_day(moment: float) -> str:
    """Say it where there is little room.

    Examples:
        >>> short_day(0.0)
        "1 Jan '70"
    """
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b '%y}"


def both(things: Sequence[str]) -> str:
    """Say several things in a row.

    Examples:
        >>> both(["a"]), both(["a", "b"]), both(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things)
