"""Confidence intervals for the demo: Wilson's for a share, Newcombe's for the difference of two shares."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

Z95 = 1.959964


class Difference(NamedTuple):
    """The difference of two shares, with the ends of its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def can_be_claimed(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def wilson(hits: int, number: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95% score interval of a share; (0, 1) if nothing was counted.

    Examples:
        >>> [round(end, 4) for end in wilson(81, 263)]
        [0.2553, 0.3662]
    """
    if number == 0:
        return 0.0, 1.0
    share, z2 = hits / number, Z95 * Z95
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = Z95 / (1 + z2 / number) * sqrt(share * (1 - share) / number + z2 / (4 * number * number))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(hits: int, number: int, other_hits: int, other_number: int) -> Difference:
    """Return share - other share with Newcombe's 95% interval (1998, method 10), built from two Wilson intervals.

    Examples:
        >>> [round(value, 4) for value in difference(56, 70, 48, 80)]
        [0.2, 0.0524, 0.3339]
    """
    if number == 0 or other_number == 0:
        return Difference(0.0, -1.0, 1.0)
    share, other = hits / number, other_hits / other_number
    low, high = wilson(hits, number)
    other_low, other_high = wilson(other_hits, other_number)
    gap = share - other
    return Difference(
        gap,
        gap - sqrt((share - low) ** 2 + (other_high - other) ** 2),
        gap + sqrt((high - share) ** 2 + (other - other_low) ** 2),
    )
