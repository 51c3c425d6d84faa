"""Figures about users: risk tiers, retention, and cohorts."""

from __future__ import annotations

from collections.abc import Sequence

from models.schema.outputs import TIERS
from streams.report import statistics, svg
from streams.report.aggregates import ActivityByWeek, TierHistory
from streams.report.axes import numbers
from streams.report.figure import Figure, Numbers, time_axis
from streams.report.formatting import and_list, count, day, percent, short_day
from streams.report.markup import Markup
from streams.report.statistics import Cohort, CohortTable, RetentionPoint
from streams.report.svg import NARROW, WIDE, HeatCell, HeatRow, LineSeries, PlotPoint
from streams.report.weeks import WEEK, week_start

MILESTONES = (1, 4, 12, 26, 52, 104)
"""Weeks after the first that the sentence on retention names."""
MIN_COHORT = 0.01
"""The sentence on cohorts leaves out cohorts below this share of all users."""
TIERS_HIGH_FIRST = tuple(reversed(TIERS))


def tiers(history: TierHistory, end: float) -> Figure:
    """The number of users in each risk tier, week by week.

    Args:
        history: the tiers of users over time.
        end: the end of history.
    """
    name, title = "tiers", "Users by risk tier"
    weeks = list(history.weeks(end))
    if not any(sum(counts.values()) for _, counts in weeks):
        return Figure(name, title, "No user has a risk tier: there were too few labels for the model.")
    finding = _tiers_finding(weeks)
    layers = [
        LineSeries(tier, [PlotPoint(at, counts[tier], _counts_text(at, counts)) for at, counts in weeks])
        for tier in TIERS_HIGH_FIRST
    ]
    largest, last = max(sum(counts.values()) for _, counts in weeks), weeks[-1][0]
    span = min(weeks[0][0], last - WEEK), last
    if len(weeks) == 1:  # a layer needs a width
        layers = [layer._replace(points=[layer.points[0]._replace(x=span[0]), *layer.points]) for layer in layers]

    def drawing(width: float, height: float) -> Markup:
        y = numbers(0, largest, 5, ",.0f", "users")
        return svg.areas(width, height, f"{title}. {finding}", time_axis(span, width), y, layers)

    return Figure(
        name=name,
        title=title,
        finding=finding,
        note="A user who is inactive for longer than the look-back has no tier. The sum is the number of users who are "
        "still scored.",
        wide=drawing(WIDE, 280),
        narrow=drawing(NARROW, 240),
        key=[(tier, f"{tier} risk") for tier in TIERS_HIGH_FIRST],
        numbers=Numbers(
            ("Week up to", "High", "Medium", "Low"),
            [(day(at - 1), *(f"{counts[tier]:,}" for tier in TIERS_HIGH_FIRST)) for at, counts in weeks],
        ),
    )


def retention(activity: ActivityByWeek, end: float) -> Figure:
    """The share of users active a number of weeks after their first week."""
    name, title = "retention", "Retention"
    curve = statistics.retention(activity.cohorts(end))
    if len(curve) < 2:
        return Figure(name, title, "No user's second week is over yet, so retention is not known.")
    finding = _retention_finding(curve)
    points = [
        PlotPoint(week.weeks, week.share, f"week {week.weeks}: {percent(week.share)} of {week.observed:,}")
        for week in curve
    ]

    def drawing(width: float, height: float) -> Markup:
        x = numbers(0, curve[-1].weeks, int(width // 80), ",.0f", "weeks after the first", exact=True)
        y = numbers(0, 1, 5, ".0%", "active")
        return svg.lines(width, height, f"{title}. {finding}", x, y, [LineSeries("model", points)])

    return Figure(
        name=name,
        title=title,
        finding=finding,
        note="A week counts only the users for whom it is over. The curve ends where fewer than a tenth of all users "
        "can be counted.",
        wide=drawing(WIDE, 260),
        narrow=drawing(NARROW, 230),
        numbers=Numbers(
            ("Weeks after the first", "Active", "Users active", "Users counted"),
            [(f"{week.weeks}", percent(week.share), f"{week.active:,}", f"{week.observed:,}") for week in curve],
        ),
    )


def cohorts(activity: ActivityByWeek, end: float) -> Figure:
    """Retention by first week."""
    name, title = "cohorts", "Cohorts by first week"
    table = statistics.by_cohort(activity.cohorts(end))
    known = [cohort for cohort in table.rows if cohort.active and cohort.active[0] is not None]
    if not known:
        return Figure(name, title, "No cohort has completed its second week yet.")
    finding = _cohorts_finding(known, MIN_COHORT * len(activity), table)
    columns = [table.column(index) for index in range(len(table.rows[0].active))]
    rows = [HeatRow(short_day(week_start(cohort.week)), _cells(cohort, table)) for cohort in known]
    first_weeks = "one first week" if table.weeks_per_row == 1 else f"{table.weeks_per_row} first weeks"
    note = f"A row is the users of {first_weeks}, named by its Monday. The columns are weeks after it."
    if table.weeks_per_column > 1:
        note += f" A column is a group of {table.weeks_per_column} weeks: the share active in an average one of them."

    def drawing(width: float) -> Markup:
        return svg.heat_map(width, f"{title}. {finding}", columns, rows)

    return Figure(
        name=name,
        title=title,
        finding=finding,
        note=note,
        wide=drawing(WIDE),
        narrow=drawing(NARROW),
        numbers=Numbers(("First week", "Users", *columns), [_table_row(cohort) for cohort in table.rows]),
    )


def _tiers_finding(weeks: Sequence[tuple[float, dict[str, int]]]) -> str:
    (first_end, _), (last, now) = weeks[0], weeks[-1]
    peak_at, peak = max(weeks, key=lambda week: week[1]["high"])
    high, *others = (now[tier] for tier in TIERS_HIGH_FIRST)
    standing = and_list([count(high, "user") + " at high", *(
        f"{number:,} at {tier}" for number, tier in zip(others, TIERS_HIGH_FIRST[1:], strict=True)
    )])  # fmt: skip
    return (
        f"On {day(last - 1)} there are {standing} risk. The largest number at high risk is {peak['high']:,}, at the "
        f"end of the week up to {day(peak_at - 1)}. The first tiers date from the week up to {day(first_end - 1)}."
    )


def _counts_text(at: float, counts: dict[str, int]) -> str:
    return f"week up to {day(at - 1)}: " + ", ".join(f"{counts[tier]:,} {tier}" for tier in TIERS_HIGH_FIRST)


def _retention_finding(curve: Sequence[RetentionPoint]) -> str:
    shares = {week.weeks: week.share for week in curve}
    first, *later = (weeks for weeks in MILESTONES if weeks in shares)
    parts = [f"{percent(shares[first])} were active {count(first, 'week')} after their first week"]
    parts += [f"{percent(shares[weeks])} after {weeks}" for weeks in later]
    return f"Of {count(curve[0].observed, 'user')}, {and_list(parts)}."


def _cohorts_finding(known: Sequence[Cohort], min_users: float, table: CohortTable) -> str:
    large = [cohort for cohort in known if cohort.users >= min_users] or known
    best, least = (choose(large, key=lambda cohort: (cohort.active[0] or 0.0, cohort.users)) for choose in (max, min))
    after = "the week after" if table.weeks_per_column == 1 else f"an average week of weeks {table.column(0)} after"
    shares = [percent(cohort.active[0] or 0.0) for cohort in (best, least)]
    if len(large) == 1:
        return f"Of the {_users(best)} who first came {_when(best, table)}, {shares[0]} were active in {after}."
    return (
        f"Of {count(len(known), 'cohort')}, the {_users(best)} who first came {_when(best, table)} had the highest "
        f"retention: {shares[0]} were active in {after}. The {_users(least)} who first came {_when(least, table)} had "
        f"the lowest: {shares[1]}."
    )


def _users(cohort: Cohort) -> str:
    return count(cohort.users, "user")


def _when(cohort: Cohort, table: CohortTable) -> str:
    begins = week_start(cohort.week)
    if table.weeks_per_row == 1:
        return f"in the week of {day(begins)}"
    return f"from {day(begins)} to {day(begins + table.weeks_per_row * WEEK - 1)}"


def _cells(cohort: Cohort, table: CohortTable) -> list[HeatCell | None]:
    cohort_text = f"{_users(cohort)}, first {_when(cohort, table)}"
    return [
        None
        if share is None
        else HeatCell(share, percent(share), f"{cohort_text}; week {table.column(index)} after: {percent(share)}")
        for index, share in enumerate(cohort.active)
    ]


def _table_row(cohort: Cohort) -> tuple[str, ...]:
    shares = ("" if share is None else percent(share) for share in cohort.active)
    return day(week_start(cohort.week)), f"{cohort.users:,}", *shares
