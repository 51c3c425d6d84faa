"""What so many learners need, by figures that were worked out by hand."""

import pytest

from tests.benchmarks.capacity import HOT, PROGRAM, Costs, costs_of, needed, table
from tests.benchmarks.figures import Report

COSTS = Costs(event=50e-6, recovery=100_000.0, value=1_000.0, cold=1_500.0, hot=2_000.0)


def test_a_million_learners_by_hand() -> None:
    """5 million events a day are 57.9 a second, 231.5 at the peak: a hundredth of a core, so one worker."""
    one = needed(1_000_000, COSTS)
    assert one.events == pytest.approx(231.5, abs=0.1)
    assert (one.workers, one.partitions) == (1, 16)
    assert one.memory == PROGRAM + 1_000_000 * 1_500 + 16 * HOT * 2_000
    assert one.recovery == pytest.approx(10.0)
    assert one.disk == pytest.approx(3 * (5e6 * 7 * 250 + 1e6 * 1_000 * 2))
    assert one.written == pytest.approx(231.48 * 1_250, rel=1e-3)


def test_workers_carry_the_peak_at_seven_tenths_of_a_core_each() -> None:
    """200 million learners make 46,296 events a second at the peak: 2.31 cores, 3.3 of them at 0.7."""
    many = needed(200_000_000, COSTS._replace(cold=1.0))
    assert (many.workers, many.partitions) == (4, 16)
    assert needed(1_000_000_000, COSTS._replace(cold=1.0)).partitions == 128
    assert many.memory == PROGRAM + 50_000_000 + 4 * HOT * 2_000


def test_workers_hold_four_gigabytes_of_people_each() -> None:
    """Ten million learners are 15 GB: four workers with 3.75 GB each, though a core would do."""
    many = needed(10_000_000, COSTS)
    assert (many.workers, many.partitions) == (4, 16)
    assert many.memory == PROGRAM + 2_500_000 * 1_500 + 4 * HOT * 2_000
    assert many.recovery == pytest.approx(25.0)


def test_the_table_has_a_line_for_every_size_and_the_costs_come_from_a_run() -> None:
    """A run that has not measured all of it says nothing."""
    assert len(table(COSTS, (10, 20, 30)).splitlines()) == 5
    report = Report()
    report.add("b", "CPU an event, 70 % of the pace of catching up", "us", 50.0)
    assert costs_of(report) is None
    report.add("d", "recovery", "people/s", 100_000.0)
    report.add("e", "a person's value", "bytes", 1_000.0)
    report.add("e", "memory a person, cold (key, value, due-queue)", "bytes", 1_500.0)
    report.add("e", "memory a person more, hot", "bytes", 2_000.0)
    assert costs_of(report) == COSTS
