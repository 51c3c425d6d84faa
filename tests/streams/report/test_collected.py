"""What is collected on the way is what one would count with everything at hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.person import features
from models.person.rules import ACTIVE_KINDS
from models.schema import events as ev
from streams.report.aggregates import ActivityByWeek, Tiers
from streams.report.labelled_rows import NOWHERE, LabelledRows
from streams.report.statistics import by_cohort, found, retention
from streams.report.weeks import begin_of, week_at, whole_weeks
from tests.streams.report.pages import DAY, MONDAY, example

VISITS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 1_000)), max_size=40)


@given(VISITS, st.integers(0, 1_050))
@settings(max_examples=150, deadline=None)
def test_cohorts_are_those_of_everybodys_weeks(visits: list[tuple[str, int]], end: int) -> None:
    """Over years, in whatever order they are told: first week and later ones, of whole weeks only."""
    crowd, weeks = ActivityByWeek(ACTIVE_KINDS), dict[str, set[int]]()
    for number, (who, day) in enumerate(visits):
        time = MONDAY + day * DAY
        crowd.saw(ev.Login(id=str(number), user_id=who, time=time))
        weeks.setdefault(who, set()).add(week_at(time))
    cohorts, over = crowd.cohorts(MONDAY + end * DAY), whole_weeks(MONDAY + end * DAY)
    counted = {(cohorts.base + f, n): int(cohorts.active[f, n]) for f, n in np.argwhere(cohorts.active).tolist()}
    expected = dict[tuple[int, int], int]()
    for active in weeks.values():
        for week in active:
            if week < over:
                place = min(active), week - min(active)
                expected[place] = expected.get(place, 0) + 1
    assert counted == expected
    assert len(crowd) == len(weeks)
    known = sum(min(active) < over for active in weeks.values())
    assert sum(cohort.people for cohort in by_cohort(cohorts).rows) == known
    assert all(week.active <= week.asked <= known for week in retention(cohorts))


@given(VISITS, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_cohorts_that_do_not_fit_are_grouped(visits: list[tuple[str, int]], rows: int, columns: int) -> None:
    """Rows and columns stay few; who came back in an average week of a group stays a share."""
    crowd = ActivityByWeek(ACTIVE_KINDS)
    for number, (who, day) in enumerate(sorted(visits, key=lambda visit: visit[1])):
        crowd.saw(ev.Login(id=str(number), user_id=who, time=MONDAY + day * DAY))
    table = by_cohort(crowd.cohorts(MONDAY + 1_050 * DAY), rows, columns)
    assert len(table.rows) <= max(rows, 2)
    assert all(len(cohort.active) <= max(columns, 2) for cohort in table.rows)
    assert all(0 <= share <= 1 for cohort in table.rows for share in cohort.active if share is not None)


CHANGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.sampled_from(("low", "high", ""))), max_size=20
)


@given(CHANGES)
@settings(max_examples=100, deadline=None)
def test_tiers_are_as_they_stand_when_a_week_ends(changes: list[tuple[str, int, str]]) -> None:
    """Each person counts once, in the tier they came into last."""
    tiers, end = Tiers(), MONDAY + 70 * DAY
    changes = sorted(changes, key=lambda change: change[1])
    for who, day, tier in changes:
        tiers.moved(who, tier, MONDAY + day * DAY)
    for at, held in tiers.weeks(end):
        standing = {who: tier for who, day, tier in changes if MONDAY + day * DAY < at}
        assert held == {name: list(standing.values()).count(name) for name in ("low", "medium", "high")}


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_everybody_is_found_when_all_are_taken(rows: list[tuple[float, bool]]) -> None:
    """The more are taken, the more are found, in the end all of them; with one score for all it is chance."""
    scores, churned = (np.array(column, float) for column in zip(*rows, strict=True))
    if not churned.any():
        return
    shares = np.arange(1, 11) / 10
    curve = found(scores, churned, shares)
    assert np.all(np.diff(curve) >= -1e-12)
    assert curve[-1] == 1
    assert np.allclose(found(np.zeros(len(scores)), churned, shares), shares)


def test_a_rival_scores_the_rows_where_they_stand() -> None:
    """With the features as they were; rows from before the model teach, and treated ones teach nothing."""
    rows = LabelledRows(10)
    rows.add(example(MONDAY, 0.3, True, 3.0), NOWHERE)
    rows.add(example(MONDAY + 1, 0.3, False, 2.0), 0)
    rows.add(example(MONDAY + 2, 0.3, True, 1.0, treated=True), 2)
    seen = []

    def rival(x: np.ndarray, churned: np.ndarray, times: np.ndarray, until: np.ndarray) -> np.ndarray:
        seen.extend([x[:, features.SILENCE].tolist(), churned.tolist(), (until - times).tolist()])
        return np.array([0.7, 0.8, 0.9])

    scores = rows.scored(rival, 4)
    assert seen == [[3.0, 2.0, 1.0], [True, False, True], [14 * DAY, 14 * DAY, float("inf")]]
    assert scores[[0, 2]].tolist() == [0.8, 0.9]
    assert np.isnan(scores[[1, 3]]).all()


def test_rows_that_do_not_fit_go_by_person() -> None:
    """At most so many stay, all rows of whoever stays; without room none is kept."""
    rows, none = LabelledRows(100), LabelledRows(0)
    for day in range(10):
        for who in range(40):
            rows.add(example(MONDAY + day * DAY, 0.5, True, float(who), user=f"u{who}"), day * 40 + who)
            none.add(example(MONDAY, 0.5, True, 0.0), who)
    kept = rows.scored(lambda x, churned, times, until: x[:, features.SILENCE].astype(float), 400).reshape(10, 40)
    stays = ~np.isnan(kept)
    assert 0 < len(rows) <= 100
    assert (stays == stays[0]).all()
    assert (kept[0, stays[0]] == np.flatnonzero(stays[0])).all()
    assert len(none) == 0


def test_weeks_are_those_of_mondays() -> None:
    """A week's number and its beginning agree."""
    assert begin_of(week_at(MONDAY)) == MONDAY
    assert week_at(MONDAY - 1) == week_at(MONDAY) - 1
