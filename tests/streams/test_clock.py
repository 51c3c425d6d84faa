"""Time: only the log moves a partition's clock, and a log that fell silent gets no ticks."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.clock import NOT_YET, PartitionClock, Ticker, TimeBudget

STALL = 100.0


class Beat(NamedTuple):
    """What a ticker is told of a partition."""

    last_event: float
    busy: bool


@given(st.lists(st.floats(0, 4e9), min_size=1))
def test_a_clock_never_goes_back(moments: list[float]) -> None:
    """It stands at the latest moment it was shown, in whatever order."""
    clock = PartitionClock()
    assert clock.now == NOT_YET
    shown = []
    for moment in moments:
        clock.advance(moment)
        shown.append(clock.now)
    assert shown == [max(moments[: n + 1]) for n in range(len(moments))]


def test_what_is_past_is_judged_by_the_wall_or_by_the_log() -> None:
    """A simulation plays another year: there its own log is the judge."""
    live, played = PartitionClock(), PartitionClock(follows_log=True)
    for clock in (live, played):
        clock.advance(1_000.0)
    assert [clock.is_past(999.0) for clock in (live, played)] == [True, True]
    assert [clock.is_past(1_001.0) for clock in (live, played)] == [True, False]
    assert [clock.is_past(4e10) for clock in (live, played)] == [False, False]
    assert [clock.is_past(float("inf")) for clock in (live, played)] == [False, False]


@pytest.mark.parametrize(
    ("beats", "now", "held"),
    [
        ([], 1e9, False),
        ([Beat(1_000.0, False)], 1e9, False),
        ([Beat(1_000.0, True)], 1_100.0, False),
        ([Beat(1_000.0, True)], 1_100.5, True),
        ([Beat(1_000.0, True), Beat(1_050.0, False)], 1_100.5, False),
        ([Beat(1_000.0, True), Beat(1_050.0, False)], 1_151.0, True),
        ([Beat(1_000.0, False), Beat(1_000.0, False)], 1_200.0, False),
    ],
)
def test_a_busy_log_that_fell_silent_holds_its_ticks(beats: list[Beat], now: float, held: bool) -> None:
    """Only where silence means something, and only after the latest event of any partition is a stall ago."""
    assert Ticker(STALL).holds(list(beats), now) is held


def test_somebody_can_let_time_go_on() -> None:
    """A word after the stall began lets the ticks go, until events come and stop again; an old word does not."""
    ticker, silent = Ticker(STALL), [Beat(1_000.0, True)]
    ticker.released_at = 1_050.0
    assert ticker.holds(silent, 1_200.0)
    ticker.released_at = 1_150.0
    assert not ticker.holds(silent, 1_200.0)
    assert not ticker.holds(silent, 9_000.0)
    assert ticker.holds([Beat(2_000.0, True)], 2_101.0)


def test_time_goes_no_further_than_ingest() -> None:
    """Ticks tell what ingest said last, never beyond the wall; before its first word, nothing bounds them."""
    ticker = Ticker(STALL)
    assert ticker.awaits_ingest()
    assert ticker.tick_time(1_000.0) == 1_000.0
    ticker.ingested = 900.0
    assert not ticker.awaits_ingest()
    assert [ticker.tick_time(now) for now in (800.0, 900.0, 1_000.0)] == [800.0, 900.0, 900.0]


def test_time_that_was_let_go_on_is_bound_again_by_the_next_word_of_ingest() -> None:
    """A word to let it go on is about the silence of then, not about the backlog of tomorrow."""
    ticker = Ticker(STALL)
    ticker.ingested, ticker.released_at = 900.0, 1_000.0
    assert ticker.tick_time(2_000.0) == 2_000.0
    ticker.ingested = 1_500.0
    assert ticker.tick_time(2_000.0) == 1_500.0


def test_a_slice_of_no_time_is_over_and_a_long_one_is_not() -> None:
    """Others are to have their turn after it."""
    assert TimeBudget(0.0).over()
    assert not TimeBudget(1e6).over()
