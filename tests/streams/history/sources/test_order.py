"""History in time order: no entry is lost, no file remains, and the far future is recognized."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schema import event_codec
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.errors import OperatorError
from streams.history.sources.order import order_by_time
from streams.history.sources.runs import Runs
from streams.history.sources.source import HistoryEntry, UnusableEntry

SKEW = 300.0
FOREVER = 1e12


class Listed:
    """A source that is a list; it counts how often it was read."""

    def __init__(
        self, found: Sequence[HistoryEntry | UnusableEntry], repeatable: bool = True, has_log_time: bool = False
    ) -> None:
        self.name, self.repeatable, self.has_log_time, self.skipped = "list", repeatable, has_log_time, 0
        self.found = list(found)
        self.readings = 0

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        assert self.repeatable or not self.readings
        self.readings += 1
        return iter(self.found)

    def describe_position(self, position: int) -> str:
        return f"item {position}"


def login(position: int, time: float, user: str = "u") -> HistoryEntry:
    return HistoryEntry(position, ev.Login(id=f"e{position}", user_id=user, time=time))


def wrong(position: int) -> UnusableEntry:
    return UnusableEntry(position, b"raw", InvalidEvent("malformed", None, "no"))


def of(number: int, found: HistoryEntry | UnusableEntry) -> HistoryEntry | UnusableEntry:
    """Return an entry as it appears if its source is one of several."""
    return (
        HistoryEntry(found.position, found.event, number)
        if isinstance(found, HistoryEntry)
        else found._replace(source=number)
    )


def open_files() -> int:
    """Return how many files this process has open, if the system can tell."""
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def digit_sum(number: int, base: int) -> int:
    """Return the digit sum of a number, which is the number of runs that remain after merging."""
    return number % base + digit_sum(number // base, base) if number else 0


TIMES = st.integers(0, 20).map(float)
LISTS = st.lists(st.one_of(TIMES, st.none()), max_size=40).map(
    lambda times: [wrong(at) if time is None else login(at, time) for at, time in enumerate(times)]
)
SOURCES = st.lists(st.builds(Listed, LISTS, st.booleans()), max_size=4)


@settings(deadline=None)
@given(SOURCES, st.integers(1, 12))
def test_the_order_equals_a_single_sort(sources, run):
    """For any sources and run sizes: by time, source and position, each entry once."""
    every = [of(number, found) for number, source in enumerate(sources) for found in source.found]
    given_back = list(order_by_time(sources, FOREVER, run))

    entries = [found for found in given_back if isinstance(found, HistoryEntry)]
    assert entries == sorted(
        (found for found in every if isinstance(found, HistoryEntry)),
        key=lambda found: (found.event.time, found.source, found.position),
    )
    assert [found for found in given_back if isinstance(found, UnusableEntry)] == [
        found for found in every if isinstance(found, UnusableEntry)
    ]


@settings(deadline=None)
@given(st.lists(st.lists(TIMES, max_size=9), max_size=30), st.integers(2, 4))
def test_merged_runs_keep_all_items(runs, max_runs):
    """For any limit on the number of runs."""
    items = [
        sorted((time, number, at, event_codec.encode(login(at, time).event)) for at, time in enumerate(times))
        for number, times in enumerate(runs)
    ]
    with Runs(max_runs=max_runs) as kept:
        for run in items:
            kept.add(run)
        streams = [list(stream) for stream in kept.streams()]

    assert len(streams) == digit_sum(len(runs), max_runs)
    assert all(stream == sorted(stream, key=lambda item: item[:3]) for stream in streams)
    back = sorted(
        (time, source, at, event_codec.encode(event)) for stream in streams for time, source, at, event in stream
    )
    assert back == sorted(item for run in items for item in run)


def test_a_source_in_order_needs_no_disk(tmp_path):
    """It is read twice; the folder for temporary files does not even exist."""
    source = Listed([login(at, at // 2) for at in range(1_000)])
    found = list(order_by_time([source], FOREVER, run=10, folder=tmp_path / "missing"))

    assert found == source.found
    assert source.readings == 2


def test_a_source_that_cannot_be_read_twice_is_stored(tmp_path):
    """A pipe goes through temporary files even if it is in order."""
    source = Listed([login(at, at) for at in range(100)], repeatable=False)

    assert list(order_by_time([source], FOREVER, run=10, folder=tmp_path)) == source.found
    assert source.readings == 1


def test_a_missing_folder_is_reported_in_one_line(tmp_path):
    """The line names the folder."""
    backwards = Listed([login(at, -at + 100) for at in range(50)])

    with pytest.raises(OperatorError, match=r"missing: No such file or directory"):
        list(order_by_time([backwards], FOREVER, run=10, folder=tmp_path / "missing"))


@pytest.mark.parametrize("how", ["left", "failed", "closed"])
def test_no_temporary_file_remains(tmp_path, how):
    """Not during the run, not after a failure, and not if reading stops early; and no file stays open."""

    def times() -> Iterator[HistoryEntry]:
        for at in range(200):
            yield login(at, 1_000 - at)
        if how == "failed":
            raise OperatorError("torn")

    class Torn(Listed):
        def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
            return times()

    before = open_files()
    reading = iter(order_by_time([Torn([])], FOREVER, run=10, folder=tmp_path))
    if how == "failed":
        with pytest.raises(OperatorError, match="torn"):
            next(reading)
    else:
        next(reading)
        assert list(tmp_path.iterdir()) == []
        if how == "left":
            assert len(list(reading)) == 199
        else:
            reading.close()
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert open_files() <= before


def test_the_far_future_begins_after_the_third_latest_user():
    """Two users with wrong clocks have no effect; their events come last, with the reason and all bytes."""
    fine = [login(at, 100.0 * at, f"u{at}") for at in range(5)]
    far = [login(5, 400.0 + SKEW, "u0"), login(6, 200.0 + SKEW + 1, "u4"), login(7, 9e9, "u4"), login(8, 8e9, "u3")]
    found = list(order_by_time([Listed([*fine, *far])], SKEW))

    # the latest of u4 and u3 are in the far future; the third latest user is u0, at 400 + SKEW
    assert found[:7] == [fine[0], fine[1], fine[2], fine[3], fine[4], far[1], far[0]]
    assert [(item.position, item.raw, item.error.reason, item.error.field) for item in found[7:]] == [
        (8, event_codec.encode(far[3].event), "far_future", "time"),
        (7, event_codec.encode(far[2].event), "far_future", "time"),
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), TIMES), max_size=60), st.integers(1, 9))
def test_the_third_latest_user_is_found_in_any_order(events_by_user, run):
    """The result equals a search over the latest events of all users."""
    latest = {user: max(time for other, time in events_by_user if other == user) for user, _ in events_by_user}
    third = sorted(latest.values())[-3] if len(latest) >= 3 else float("inf")
    source = Listed([login(at, time, user) for at, (user, time) in enumerate(events_by_user)])

    far = [item.position for item in order_by_time([source], 2.0, run) if isinstance(item, UnusableEntry)]
    assert sorted(far) == [at for at, (_, time) in enumerate(events_by_user) if time > third + 2.0]


def test_ticks_and_courses_do_not_define_the_future():
    """They belong to no user, but are checked themselves."""
    fine = [login(at, 10.0, f"u{at}") for at in range(3)]
    tick, course = ev.Tick(time=9e9), ev.CourseWithdrawn(id="c", course_id="c", time=8e9)
    found = list(
        order_by_time(
            [Listed([*fine, HistoryEntry(3, tick), HistoryEntry(4, course), HistoryEntry(5, ev.Tick(time=11.0))])], SKEW
        )
    )

    assert found[:4] == [*fine, HistoryEntry(5, ev.Tick(time=11.0))]
    assert [item.raw for item in found[4:]] == [event_codec.encode(course), event_codec.encode(tick)]


def test_log_entries_are_not_checked_for_the_future():
    """Entries of a topic are not checked again, and do not define the end of a file."""
    has_log_time = Listed([login(at, 5_000.0 + at, f"l{at}") for at in range(9)], has_log_time=True)
    file = Listed([*(login(at, float(at), f"u{at}") for at in range(3)), login(3, 4_000.0)])
    found = list(order_by_time([has_log_time, file], SKEW))

    assert [item.source for item in found if isinstance(item, UnusableEntry)] == [1]
    assert sum(isinstance(item, HistoryEntry) and item.source == 0 for item in found) == 9


def test_progress_and_total_are_known():
    """The number of entries read, and the total once it is known."""
    order = order_by_time([Listed([login(0, 5.0), wrong(1), login(2, 4.0)])], FOREVER)
    reading = iter(order)

    assert isinstance(next(reading), UnusableEntry)
    assert (order.read, order.total) == (3, None)
    assert len(list(reading)) == 2
    assert (order.read, order.total) == (3, 3)


def test_temporary_files_use_the_default_folder(monkeypatch, tmp_path):
    """TMPDIR decides, unless a folder is given."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    with pytest.raises(OperatorError, match="none: No such file"):
        list(order_by_time([Listed([login(0, 5.0), login(1, 4.0)])], FOREVER))
