"""Aggregates that are updated event by event equal a direct count over all events."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person import features
from models.person.rules import ACTIVE_KINDS
from models.schema import events as ev
from streams.report.aggregates import ActivityByWeek, TierHistory
from streams.report.labelled_rows import NO_POSITION, LabelledRows
from streams.report.statistics import by_cohort, recall, retention
from streams.report.weeks import first_open_week, week_number, week_start
from tests.streams.report.pages import DAY, MONDAY, example

VISITS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 1_000)), max_size=40)


@given(VISITS, st.integers(0, 1_050))
@settings(max_examples=150, deadline=None)
def test_cohorts_match_a_direct_count(visits: list[tuple[str, int]], end: int) -> None:
    """Over years and in any order of events: first weeks and later weeks, complete weeks only."""
    activity, weeks = ActivityByWeek(ACTIVE_KINDS), dict[str, set[int]]()
    for number, (user, day) in enumerate(visits):
        time = MONDAY + day * DAY
        activity.on_event(ev.Login(id=str(number), user_id=user, time=time))
        weeks.setdefault(user, set()).add(week_number(time))
    cohorts, first_open = activity.cohorts(MONDAY + end * DAY), first_open_week(MONDAY + end * DAY)
    counted = {(cohorts.base + f, n): int(cohorts.active[f, n]) for f, n in np.argwhere(cohorts.active).tolist()}
    expected = dict[tuple[int, int], int]()
    for active in weeks.values():
        for week in active:
            if week < first_open:
                place = min(active), week - min(active)
                expected[place] = expected.get(place, 0) + 1
    assert counted == expected
    assert len(activity) == len(weeks)
    known = sum(min(active) < first_open for active in weeks.values())
    assert sum(cohort.users for cohort in by_cohort(cohorts).rows) == known
    assert all(week.active <= week.observed <= known for week in retention(cohorts))


@given(VISITS, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_large_cohort_tables_are_grouped(visits: list[tuple[str, int]], rows: int, columns: int) -> None:
    """The number of rows and columns stays bounded, and values stay shares."""
    activity = ActivityByWeek(ACTIVE_KINDS)
    for number, (user, day) in enumerate(sorted(visits, key=lambda visit: visit[1])):
        activity.on_event(ev.Login(id=str(number), user_id=user, time=MONDAY + day * DAY))
    table = by_cohort(activity.cohorts(MONDAY + 1_050 * DAY), rows, columns)
    assert len(table.rows) <= max(rows, 2)
    assert all(len(cohort.active) <= max(columns, 2) for cohort in table.rows)
    assert all(0 <= share <= 1 for cohort in table.rows for share in cohort.active if share is not None)


CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.sampled_from(("low", "high", ""))), max_size=20
)


@given(CHANGES)
@settings(max_examples=100, deadline=None)
def test_tiers_are_counted_at_the_end_of_a_week(changes: list[tuple[str, int, str]]) -> None:
    """Each user counts once, in their newest tier."""
    tiers, end = TierHistory(), MONDAY + 70 * DAY
    changes = sorted(changes, key=lambda change: change[1])
    for user, day, tier in changes:
        tiers.set_tier(user, tier, MONDAY + day * DAY)
    for at, by_tier in tiers.weeks(end):
        newest = {user: tier for user, day, tier in changes if MONDAY + day * DAY < at}
        assert by_tier == {name: list(newest.values()).count(name) for name in ("low", "medium", "high")}


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_recall_rises_to_one(rows: list[tuple[float, bool]]) -> None:
    """Recall grows with the share of rows, up to 1; with one score for all rows it equals the share."""
    scores, churned = (np.array(column, float) for column in zip(*rows, strict=True))
    if not churned.any():
        return
    shares = np.arange(1, 11) / 10
    curve = recall(scores, churned, shares)
    assert np.all(np.diff(curve) >= -1e-12)
    assert curve[-1] == 1
    assert np.allclose(recall(np.zeros(len(scores)), churned, shares), shares)


def test_another_model_scores_the_rows_at_their_positions() -> None:
    """It gets the original features; rows from before the model have labels, and treated users' labels never arrive."""
    rows = LabelledRows(10)
    rows.add(example(MONDAY, 0.3, True, 3.0), NO_POSITION)
    rows.add(example(MONDAY + 1, 0.3, False, 2.0), 0)
    rows.add(example(MONDAY + 2, 0.3, True, 1.0, treated=True), 2)
    seen = []

    def scorer(x: np.ndarray, churned: np.ndarray, times: np.ndarray, until: np.ndarray) -> np.ndarray:
        seen.extend([x[:, features.SILENCE].tolist(), churned.tolist(), (until - times).tolist()])
        return np.array([0.7, 0.8, 0.9])

    scores = rows.score_with(scorer, 4)
    assert seen == [[3.0, 2.0, 1.0], [True, False, True], [14 * DAY, 14 * DAY, float("inf")]]
    assert scores[[0, 2]].tolist() == [0.8, 0.9]
    assert np.isnan(scores[[1, 3]]).all()


def test_rows_beyond_the_limit_are_dropped_by_user() -> None:
    """At most so many rows are kept, all rows of each kept user; with a limit of 0, none."""
    rows, none = LabelledRows(100), LabelledRows(0)
    for day in range(10):
        for user in range(40):
            rows.add(example(MONDAY + day * DAY, 0.5, True, float(user), user=f"u{user}"), day * 40 + user)
            none.add(example(MONDAY, 0.5, True, 0.0), user)
    kept = rows.score_with(lambda x, churned, times, until: x[:, features.SILENCE].astype(float), 400).reshape(10, 40)
    kept_users = ~np.isnan(kept)
    assert 0 < len(rows) <= 100
    assert (kept_users == kept_users[0]).all()
    assert (kept[0, kept_users[0]] == np.flatnonzero(kept_users[0])).all()
    assert len(none) == 0


def test_weeks_begin_on_monday() -> None:
    """The number of a week and its start agree."""
    assert week_start(week_number(MONDAY)) == MONDAY
    assert week_number(MONDAY - 1) == week_number(MONDAY) - 1
