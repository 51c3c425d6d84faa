"""History in the order of time: nothing lost, whatever the runs; nothing left behind; the far future told apart."""

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
    """A source that is a list; how often it was read is noted."""

    def __init__(self, found: Sequence[HistoryEntry | UnusableEntry], again: bool = True, logged: bool = False) -> None:
        self.name, self.repeatable, self.has_log_time, self.skipped = "list", again, logged, 0
        self.found = list(found)
        self.readings = 0

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        assert self.repeatable or not self.readings
        self.readings += 1
        return iter(self.found)

    def describe_position(self, position: int) -> str:
        return f"item {position}"


def login(position: int, time: float, person: str = "u") -> HistoryEntry:
    return HistoryEntry(position, ev.Login(id=f"e{position}", user_id=person, time=time))


def wrong(position: int) -> UnusableEntry:
    return UnusableEntry(position, b"raw", InvalidEvent("malformed", None, "no"))


def of(number: int, found: HistoryEntry | UnusableEntry) -> HistoryEntry | UnusableEntry:
    """Return what is found in a source when that is one of several."""
    return (
        HistoryEntry(found.position, found.event, number)
        if isinstance(found, HistoryEntry)
        else found._replace(source=number)
    )


def open_files() -> int:
    """How many files this process has open, where the system says so."""
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def digit_sum(number: int, base: int) -> int:
    """As many runs stay as a number's digits say: so many of each size."""
    return number % base + digit_sum(number // base, base) if number else 0


TIMES = st.integers(0, 20).map(float)
LISTS = st.lists(st.one_of(TIMES, st.none()), max_size=40).map(
    lambda times: [wrong(at) if time is None else login(at, time) for at, time in enumerate(times)]
)
SOURCES = st.lists(st.builds(Listed, LISTS, st.booleans()), max_size=4)


@settings(deadline=None)
@given(SOURCES, st.integers(1, 12))
def test_it_is_as_if_all_were_sorted_at_once(sources, run):
    """Whatever the sources and the size of runs: by time, source and position, each entry once."""
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
def test_runs_of_runs_hold_what_the_runs_held(runs, max_runs):
    """However few runs there may be at a time before they become one."""
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
    """It is read twice; the folder for temporary files is not even there."""
    source = Listed([login(at, at // 2) for at in range(1_000)])
    found = list(order_by_time([source], FOREVER, run=10, folder=tmp_path / "missing"))

    assert found == source.found
    assert source.readings == 2


def test_what_cannot_be_read_twice_is_kept(tmp_path):
    """A pipe goes through temporary files also when it is in order."""
    source = Listed([login(at, at) for at in range(100)], again=False)

    assert list(order_by_time([source], FOREVER, run=10, folder=tmp_path)) == source.found
    assert source.readings == 1


def test_a_missing_folder_is_an_operators_matter(tmp_path):
    """One line, and the folder is in it."""
    backwards = Listed([login(at, -at + 100) for at in range(50)])

    with pytest.raises(OperatorError, match=r"missing: No such file or directory"):
        list(order_by_time([backwards], FOREVER, run=10, folder=tmp_path / "missing"))


@pytest.mark.parametrize("how", ["left", "failed", "closed"])
def test_no_temporary_file_stays(tmp_path, how):
    """Not while it runs, not behind a failure, not if nobody reads to the end; and no file stays open."""

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


def test_the_far_future_lies_beyond_the_third_latest_person():
    """Two people's wrong clocks move nobody's time; what they said comes last, with the reason and all its bytes."""
    fine = [login(at, 100.0 * at, f"u{at}") for at in range(5)]
    far = [login(5, 400.0 + SKEW, "u0"), login(6, 200.0 + SKEW + 1, "u4"), login(7, 9e9, "u4"), login(8, 8e9, "u3")]
    found = list(order_by_time([Listed([*fine, *far])], SKEW))

    # the latest of u4 and u3 are in the far future; the third latest person is u0, at 400 + SKEW
    assert found[:7] == [fine[0], fine[1], fine[2], fine[3], fine[4], far[1], far[0]]
    assert [(item.position, item.raw, item.error.reason, item.error.field) for item in found[7:]] == [
        (8, event_codec.encode(far[3].event), "far_future", "time"),
        (7, event_codec.encode(far[2].event), "far_future", "time"),
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcde"), TIMES), max_size=60), st.integers(1, 9))
def test_the_third_latest_person_is_found_in_any_order(said, run):
    """As if one had looked at everybody's latest event."""
    latest = {person: max(time for who, time in said if who == person) for person, _ in said}
    third = sorted(latest.values())[-3] if len(latest) >= 3 else float("inf")
    source = Listed([login(at, time, person) for at, (person, time) in enumerate(said)])

    far = [item.position for item in order_by_time([source], 2.0, run) if isinstance(item, UnusableEntry)]
    assert sorted(far) == [at for at, (_, time) in enumerate(said) if time > third + 2.0]


def test_ticks_and_courses_are_nobodys_time():
    """They count for no person, but are themselves judged."""
    fine = [login(at, 10.0, f"u{at}") for at in range(3)]
    tick, course = ev.Tick(time=9e9), ev.CourseWithdrawn(id="c", course_id="c", time=8e9)
    found = list(
        order_by_time(
            [Listed([*fine, HistoryEntry(3, tick), HistoryEntry(4, course), HistoryEntry(5, ev.Tick(time=11.0))])], SKEW
        )
    )

    assert found[:4] == [*fine, HistoryEntry(5, ev.Tick(time=11.0))]
    assert [item.raw for item in found[4:]] == [event_codec.encode(course), event_codec.encode(tick)]


def test_a_log_has_judged_for_itself():
    """What a topic holds is not judged again, nor does it say when a file ends."""
    logged = Listed([login(at, 5_000.0 + at, f"l{at}") for at in range(9)], logged=True)
    file = Listed([*(login(at, float(at), f"u{at}") for at in range(3)), login(3, 4_000.0)])
    found = list(order_by_time([logged, file], SKEW))

    assert [item.source for item in found if isinstance(item, UnusableEntry)] == [1]
    assert sum(isinstance(item, HistoryEntry) and item.source == 0 for item in found) == 9


def test_it_says_how_far_it_is():
    """How many were read, and how many there are once that is known."""
    order = order_by_time([Listed([login(0, 5.0), wrong(1), login(2, 4.0)])], FOREVER)
    reading = iter(order)

    assert isinstance(next(reading), UnusableEntry)
    assert (order.read, order.total) == (3, None)
    assert len(list(reading)) == 2
    assert (order.read, order.total) == (3, 3)


def test_temporary_files_are_where_the_system_has_them(monkeypatch, tmp_path):
    """TMPDIR decides, unless a folder is named."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    with pytest.raises(OperatorError, match="none: No such file"):
        list(order_by_time([Listed([login(0, 5.0), login(1, 4.0)])], FOREVER))
