"""The interval of a difference: published examples, and its coverage."""

from random import Random

import pytest

from streams.demo.intervals import difference, wilson


def test_wilson_gives_the_published_interval():
    """Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(
    ("hits", "number", "other_hits", "other_number", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 20, 0.6791, 1.0000),
        (0, 10, 0, 20, -0.1611, 0.2775),
    ],
)
def test_difference_gives_the_published_interval(hits, number, other_hits, other_number, low, high):
    """Newcombe 1998, Statistics in Medicine 17:873, table II, method 10."""
    found = difference(hits, number, other_hits, other_number)

    assert found.value == pytest.approx(hits / number - other_hits / other_number)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_without_users_nothing_can_be_claimed():
    """If either side has no users, every difference is possible."""
    assert wilson(0, 0) == (0.0, 1.0)
    assert not difference(3, 4, 0, 0).can_be_claimed
    assert not difference(0, 0, 3, 4).can_be_claimed


def test_the_interval_has_its_stated_coverage():
    """It contains the truth in 19 of 20 repetitions, also for shares near zero; false claims are rare."""
    rng = Random(1)

    def hits(share: float, number: int) -> int:
        return sum(rng.random() < share for _ in range(number))

    for share, other in ((0.35, 0.2), (0.05, 0.05)):
        found = [difference(hits(share, 80), 80, hits(other, 100), 100) for _ in range(1_000)]
        assert sum(one.low <= share - other <= one.high for one in found) / 1_000 >= 0.935
