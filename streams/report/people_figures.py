"""The people: how many stand in which tier, who comes back, and from which first weeks."""

from __future__ import annotations

from collections.abc import Sequence

from models.schema.outputs import TIERS
from streams.report import statistics, svg
from streams.report.aggregates import ActivityByWeek, Tiers
from streams.report.axes import numbers
from streams.report.figure import Figure, Numbers, time_axis
from streams.report.formatting import both, count, day, percent, short_day
from streams.report.markup import Markup
from streams.report.statistics import Cohort, Retained, Table
from streams.report.svg import NARROW, WIDE, HeatCell, HeatRow, LineSeries, PlotPoint
from streams.report.weeks import WEEK, begin_of

MILESTONES = (1, 4, 12, 26, 52, 104)
"""Weeks after the first of which the sentence on retention tells."""
LEAST_COHORT = 0.01
"""Share of all people below which the sentence on cohorts does not tell of one."""
FALLING = tuple(reversed(TIERS))


def tiers(collected: Tiers, end: float) -> Figure:
    """How many people stood in which risk tier, week by week.

    Args:
        collected: who came into which tier when.
        end: the end of history.
    """
    name, title = "tiers", "People by risk tier"
    weeks = list(collected.weeks(end))
    if not any(sum(held.values()) for _, held in weeks):
        return Figure(name, title, "Nobody got a risk tier: too few labels had come for the model to be believed.")
    says = _standing(weeks)
    layers = [LineSeries(tier, [PlotPoint(at, held[tier], _held(at, held)) for at, held in weeks]) for tier in FALLING]
    most, last = max(sum(held.values()) for _, held in weeks), weeks[-1][0]
    span = min(weeks[0][0], last - WEEK), last
    if len(weeks) == 1:  # a layer has to be as broad as something
        layers = [layer._replace(points=[layer.points[0]._replace(x=span[0]), *layer.points]) for layer in layers]

    def drawing(width: float, height: float) -> Markup:
        y = numbers(0, most, 5, ",.0f", "people")
        return svg.areas(width, height, f"{title}. {says}", time_axis(span, width), y, layers)

    return Figure(
        name=name,
        title=title,
        says=says,
        note="Whoever has been silent for longer than the look-back has no tier any more: the sum is the people of "
        "whom it can still be asked.",
        wide=drawing(WIDE, 280),
        narrow=drawing(NARROW, 240),
        key=[(tier, f"{tier} risk") for tier in FALLING],
        numbers=Numbers(
            ("Week up to", "High", "Medium", "Low"),
            [(day(at - 1), *(f"{held[tier]:,}" for tier in FALLING)) for at, held in weeks],
        ),
    )


def retention(crowd: ActivityByWeek, end: float) -> Figure:
    """Who was still active so many weeks after their first."""
    name, title = "retention", "Retention"
    curve = statistics.retention(crowd.cohorts(end))
    if len(curve) < 2:
        return Figure(name, title, "Nobody's second week is over yet, so nobody can be said to have come back.")
    says = _came_back(curve)
    spots = [
        PlotPoint(week.weeks, week.share, f"week {week.weeks}: {percent(week.share)} of {week.asked:,}")
        for week in curve
    ]

    def drawing(width: float, height: float) -> Markup:
        x = numbers(0, curve[-1].weeks, int(width // 80), ",.0f", "weeks after the first", exact=True)
        y = numbers(0, 1, 5, ".0%", "active")
        return svg.lines(width, height, f"{title}. {says}", x, y, [LineSeries("model", spots)])

    return Figure(
        name=name,
        title=title,
        says=says,
        note="A week is asked of those only for whom it is over; the curve ends where fewer than a tenth of all are "
        "left to be asked.",
        wide=drawing(WIDE, 260),
        narrow=drawing(NARROW, 230),
        numbers=Numbers(
            ("Weeks after the first", "Active", "People active", "People asked"),
            [(f"{week.weeks}", percent(week.share), f"{week.active:,}", f"{week.asked:,}") for week in curve],
        ),
    )


def cohorts(crowd: ActivityByWeek, end: float) -> Figure:
    """Retention by first week."""
    name, title = "cohorts", "Cohorts by first week"
    table = statistics.by_cohort(crowd.cohorts(end))
    known = [cohort for cohort in table.rows if cohort.active and cohort.active[0] is not None]
    if not known:
        return Figure(name, title, "There is no cohort yet whose second week is over.")
    says = _best_and_least(known, LEAST_COHORT * len(crowd), table)
    columns = [table.column(index) for index in range(len(table.rows[0].active))]
    rows = [HeatRow(short_day(begin_of(cohort.week)), _cells(cohort, table)) for cohort in known]
    people = "one first week" if table.weeks_a_row == 1 else f"{table.weeks_a_row} first weeks"
    note = f"A row is the people of {people}, named by its Monday; the columns are weeks after that."
    if table.weeks_a_column > 1:
        note += f" {table.weeks_a_column} weeks stand together: the share active in an average one of them."

    def drawing(width: float) -> Markup:
        return svg.heat(width, f"{title}. {says}", columns, rows)

    return Figure(
        name=name,
        title=title,
        says=says,
        note=note,
        wide=drawing(WIDE),
        narrow=drawing(NARROW),
        numbers=Numbers(("First week", "People", *columns), [_in_numbers(cohort) for cohort in table.rows]),
    )


def _standing(weeks: Sequence[tuple[float, dict[str, int]]]) -> str:
    (begun, _), (last, now) = weeks[0], weeks[-1]
    peak_at, peak = max(weeks, key=lambda week: week[1]["high"])
    high, *others = (now[tier] for tier in FALLING)
    standing = both([count(high, "person", "people") + " at high", *(
        f"{number:,} at {tier}" for number, tier in zip(others, FALLING[1:], strict=True)
    )])  # fmt: skip
    return (
        f"On {day(last - 1)} it is {standing} risk. The most at high risk were {peak['high']:,}, at the end of the "
        f"week up to {day(peak_at - 1)}; the first tiers were given in the week up to {day(begun - 1)}."
    )


def _held(at: float, held: dict[str, int]) -> str:
    return f"week up to {day(at - 1)}: " + ", ".join(f"{held[tier]:,} {tier}" for tier in FALLING)


def _came_back(curve: Sequence[Retained]) -> str:
    shares = {week.weeks: week.share for week in curve}
    first, *later = (weeks for weeks in MILESTONES if weeks in shares)
    parts = [f"{percent(shares[first])} were active {count(first, 'week')} after their first"]
    parts += [f"{percent(shares[weeks])} after {weeks}" for weeks in later]
    return f"Of {count(curve[0].asked, 'person', 'people')}, {both(parts)}."


def _best_and_least(known: Sequence[Cohort], least_people: float, table: Table) -> str:
    told = [cohort for cohort in known if cohort.people >= least_people] or known
    best, least = (choose(told, key=lambda cohort: (cohort.active[0] or 0.0, cohort.people)) for choose in (max, min))
    after = "the week after" if table.weeks_a_column == 1 else f"an average week of weeks {table.column(0)} after"
    shares = [percent(cohort.active[0] or 0.0) for cohort in (best, least)]
    if len(told) == 1:
        return f"Of the {_people(best)} who came first {_when(best, table)}, {shares[0]} were active in {after}."
    return (
        f"Of {count(len(known), 'cohort')}, the {_people(best)} who came first {_when(best, table)} came back most: "
        f"{shares[0]} were active in {after}; the fewest, {shares[1]}, of the {_people(least)} {_when(least, table)}."
    )


def _people(cohort: Cohort) -> str:
    return count(cohort.people, "person", "people")


def _when(cohort: Cohort, table: Table) -> str:
    begins = begin_of(cohort.week)
    if table.weeks_a_row == 1:
        return f"in the week of {day(begins)}"
    return f"from {day(begins)} to {day(begins + table.weeks_a_row * WEEK - 1)}"


def _cells(cohort: Cohort, table: Table) -> list[HeatCell | None]:
    who = f"{_people(cohort)}, first {_when(cohort, table)}"
    return [
        None
        if share is None
        else HeatCell(share, percent(share), f"{who}; week {table.column(index)} after: {percent(share)}")
        for index, share in enumerate(cohort.active)
    ]


def _in_numbers(cohort: Cohort) -> tuple[str, ...]:
    shares = ("" if share is None else percent(share) for share in cohort.active)
    return day(begin_of(cohort.week)), f"{cohort.people:,}", *shares
