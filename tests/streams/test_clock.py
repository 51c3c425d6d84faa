"""Time: only the log advances the clock of a partition, and a busy log without events gets no ticks."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.clock import NOT_YET, PartitionClock, Ticker, TimeBudget

STALL = 100.0


class Activity(NamedTuple):
    """The activity of a partition, as the ticker sees it."""

    last_event: float
    busy: bool


@given(st.lists(st.floats(0, 4e9), min_size=1))
def test_a_clock_never_goes_back(moments: list[float]) -> None:
    """It shows the latest time so far, in whatever order times arrive."""
    clock = PartitionClock()
    assert clock.now == NOT_YET
    shown = []
    for moment in moments:
        clock.advance(moment)
        shown.append(clock.now)
    assert shown == [max(moments[: n + 1]) for n in range(len(moments))]


def test_the_machine_clock_or_the_log_decides_what_is_past() -> None:
    """A simulation plays another year, so there its log decides."""
    live, played = PartitionClock(), PartitionClock(follows_log=True)
    for clock in (live, played):
        clock.advance(1_000.0)
    assert [clock.is_past(999.0) for clock in (live, played)] == [True, True]
    assert [clock.is_past(1_001.0) for clock in (live, played)] == [True, False]
    assert [clock.is_past(4e10) for clock in (live, played)] == [False, False]
    assert [clock.is_past(float("inf")) for clock in (live, played)] == [False, False]


@pytest.mark.parametrize(
    ("activity", "now", "held"),
    [
        ([], 1e9, False),
        ([Activity(1_000.0, False)], 1e9, False),
        ([Activity(1_000.0, True)], 1_100.0, False),
        ([Activity(1_000.0, True)], 1_100.5, True),
        ([Activity(1_000.0, True), Activity(1_050.0, False)], 1_100.5, False),
        ([Activity(1_000.0, True), Activity(1_050.0, False)], 1_151.0, True),
        ([Activity(1_000.0, False), Activity(1_000.0, False)], 1_200.0, False),
    ],
)
def test_a_busy_log_without_events_holds_its_ticks(activity: list[Activity], now: float, held: bool) -> None:
    """Only if the log is busy, and only if the latest event of any partition is older than the stall."""
    assert Ticker(STALL).holds(list(activity), now) is held


def test_an_operator_can_release_the_ticks() -> None:
    """A release after the stall began resumes the ticks until events come and stop again; an older release does not."""
    ticker, silent = Ticker(STALL), [Activity(1_000.0, True)]
    ticker.released_at = 1_050.0
    assert ticker.holds(silent, 1_200.0)
    ticker.released_at = 1_150.0
    assert not ticker.holds(silent, 1_200.0)
    assert not ticker.holds(silent, 9_000.0)
    assert ticker.holds([Activity(2_000.0, True)], 2_101.0)


def test_ticks_do_not_overtake_ingest() -> None:
    """A tick has the progress of ingest, never a time after now; before the first progress, there is no limit."""
    ticker = Ticker(STALL)
    assert ticker.awaits_ingest()
    assert ticker.tick_time(1_000.0) == 1_000.0
    ticker.ingested = 900.0
    assert not ticker.awaits_ingest()
    assert [ticker.tick_time(now) for now in (800.0, 900.0, 1_000.0)] == [800.0, 900.0, 900.0]


def test_the_next_progress_of_ingest_ends_a_release() -> None:
    """A release concerns the silence at that time, not a later backlog."""
    ticker = Ticker(STALL)
    ticker.ingested, ticker.released_at = 900.0, 1_000.0
    assert ticker.tick_time(2_000.0) == 2_000.0
    ticker.ingested = 1_500.0
    assert ticker.tick_time(2_000.0) == 1_500.0


def test_a_time_budget_of_zero_is_over_at_once() -> None:
    """A budget of zero is used up at once, a long one is not."""
    assert TimeBudget(0.0).over()
    assert not TimeBudget(1e6).over()
