"""Drift of the simulation: no effect before its moment, the effect of its name afterwards, and repeatable."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from models.schema import events as ev
from models.schema.outputs import CouponTrigger
from streams.history.simulation.drift import NAMES, DriftName, drift
from streams.history.simulation.life import Phase, apply_drift
from streams.history.simulation.platform import Platform

DAY = 86_400.0
START = 1_760_000_000.0
AT = START + 50 * DAY
END = START + 84 * DAY


def platform(name: DriftName | None, strength: float | None = None, learners: int = 200) -> Platform:
    if name is None:
        return Platform(4, START, learners, newcomers_per_day=3)
    return Platform(4, START, learners, newcomers_per_day=3, drift=drift(name, AT, strength))


@pytest.fixture(scope="module")
def steady() -> tuple[Platform, list[ev.Event], list[ev.Event]]:
    world = platform(None)
    return world, world.advance(AT), world.advance(END)


@pytest.mark.parametrize("name", NAMES)
def test_a_drift_does_not_change_earlier_events(name, steady):
    """Later events differ, and they are the same in each run and for any steps."""
    _, before, after = steady
    world, second_run = platform(name), platform(name)
    assert world.advance(AT) == before
    events_after = world.advance(END)
    assert events_after != after
    in_steps = [event for hour in range(84 * 4) for event in second_run.advance(START + (hour + 1) * DAY / 4)]
    assert in_steps == before + events_after


def count_left(world: Platform, users: set[str]) -> int:
    """Count the users who were present at the change and have left for good three weeks later."""
    truth, later = world.truth, AT + 21 * DAY
    return sum(truth.kept(user, AT) and not truth.kept(user, later) for user in users)


def test_hazard_drift_makes_users_leave_sooner(steady):
    """With a higher hazard, more of the same users leave, and more newcomers; with a third of it, fewer."""
    world, before, _ = steady
    users = {event.user_id for event in before}
    high_hazard, low_hazard = platform("hazard"), platform("hazard", 1 / 3)
    for other in (high_hazard, low_hazard):
        other.advance(END)
    newcomers = {f"learner-{number:05d}" for number in range(200, 300)}
    stayed = [sum(one.truth.kept(user, END) for user in newcomers) for one in (low_hazard, world, high_hazard)]
    assert count_left(low_hazard, users) < 0.9 * count_left(world, users)
    assert count_left(high_hazard, users) > 1.2 * count_left(world, users)
    assert stayed[0] > stayed[1] > stayed[2]


def test_a_revived_learner_is_subject_to_the_drift():
    """A coupon starts a new life, in which settled time passes at the drifted speed."""

    def kept(strength: float) -> float:
        world, name = platform("hazard", strength), "learner-{:05d}"
        world.advance(AT + DAY)
        gone = [name.format(n) for n in range(200) if world.truth.gone_at(name.format(n), world.now) is not None]
        for user in gone:
            world.deliver_coupon(_coupon(user, world.now), world.now)
        world.advance(AT + 4 * DAY)
        back = [user for user in gone if world.truth.kept(user, world.now)]
        world.advance(END)
        return sum(world.truth.kept(user, END) for user in back) / len(back)

    assert kept(20.0) < 0.7 * kept(0.2)


def test_season_drift_reduces_visits_but_not_retention(steady):
    """Users visit much less often, nobody's leaving changes, and the true risk follows."""
    world, before, after = steady
    season = platform("season")
    season.advance(AT)
    fewer = season.advance(END)
    users = {event.user_id for event in before}
    assert 0.5 <= len(fewer) / len(after) <= 0.7
    assert count_left(season, users) == count_left(world, users)
    present = next(user for user in sorted(users) if world.truth.kept(user, AT + 30 * DAY))
    low_hazard, seasonal = (one.truth.risk(present, AT + DAY, 3 * DAY) for one in (world, season))
    assert seasonal == pytest.approx(low_hazard**0.5)
    assert season.truth.risk(present, AT - DAY, 3 * DAY) == world.truth.risk(present, AT - DAY, 3 * DAY)


def test_season_drift_begins_for_all_users_at_once():
    """This includes a season of more frequent visits, and users whose next visit was far away."""

    def soon(strength: float | None) -> int:
        world = platform(None if strength is None else "season", strength)
        world.advance(AT)
        return len({event.user_id for event in world.advance(AT + DAY / 6)})

    usual = soon(None)
    assert soon(4.0) < 0.6 * usual
    assert soon(0.02) > 7 * usual


def test_catalogue_drift_replaces_courses_except_those_in_progress():
    """After the change users buy only new courses, but they finish the old ones."""
    world = platform("catalogue")
    before, after = world.advance(AT), world.advance(END)
    bought = {event.course_id for event in before if isinstance(event, ev.Purchase)}
    bought_after = {event.course_id for event in after if isinstance(event, ev.Purchase)}
    assert bought
    assert bought_after
    assert not any(course.endswith("-anew") for course in bought)
    assert all(course.endswith("-anew") for course in bought_after)
    finished = Counter(
        (event.course_id or "").endswith("-anew") for event in after if isinstance(event, ev.CourseCompleted)
    )
    assert finished[False] > 0
    assert finished[True] > finished[False]


def test_hazard_drift_shortens_only_settled_time_after_the_change():
    """The rest of the current phase is shortened too; slipping keeps its duration."""
    phases = (Phase("settled", 0), Phase("slipping", 40), Phase("settled", 50), Phase("gone", 80))
    assert apply_drift(phases, drift("hazard", 20, 2)) == (
        Phase("settled", 0), Phase("slipping", 30), Phase("settled", 40), Phase("gone", 55),
    )  # fmt: skip
    assert apply_drift(phases, drift("hazard", 90, 2)) == phases
    early = apply_drift(phases, drift("hazard", -10, 2))
    assert [after.since - before.since for before, after in pairwise(early)] == [20, 10, 15]


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
def test_an_invalid_strength_is_refused(strength):
    """The strength divides and multiplies rates."""
    with pytest.raises(ValueError, match="strength"):
        drift("season", AT, strength)


def _coupon(user: str, now: float) -> CouponTrigger:
    return CouponTrigger(
        id=f"c-{user}", user_id=user, time=now, expires_at=now + DAY, campaign="c", campaign_version="1", arm="a",
        amount=5.0, currency="EUR", valid_until=now + 7 * DAY, probability=0.9, model="m",
    )  # fmt: skip
