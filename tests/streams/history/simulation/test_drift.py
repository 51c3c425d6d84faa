"""A change of the simulated world: nothing before it, what its name says after it, and the same every time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from models.schema import events as ev
from models.schema.outputs import CouponTrigger
from streams.history.simulation.drift import NAMES, DriftName, drift
from streams.history.simulation.life import Phase, hastened
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
def test_what_was_before_a_change_is_as_without_it(name, steady):
    """To the last event; afterwards it is not, and it is the same each time and in whatever steps."""
    _, before, after = steady
    world, again = platform(name), platform(name)
    assert world.advance(AT) == before
    happened = world.advance(END)
    assert happened != after
    in_steps = [event for hour in range(84 * 4) for event in again.advance(START + (hour + 1) * DAY / 4)]
    assert in_steps == before + happened


def left(world: Platform, users: set[str]) -> int:
    """Count who was there at the change and has left for good three weeks later."""
    truth, later = world.truth, AT + 21 * DAY
    return sum(truth.kept(user, AT) and not truth.kept(user, later) for user in users)


def test_people_leave_sooner(steady):
    """Where the hazard rises, more of the same people leave, also of those who come later; at a third of it, fewer."""
    world, before, _ = steady
    users = {event.user_id for event in before}
    hurried, calm = platform("hazard"), platform("hazard", 1 / 3)
    for other in (hurried, calm):
        other.advance(END)
    newcomers = {f"learner-{number:05d}" for number in range(200, 300)}
    stayed = [sum(one.truth.kept(user, END) for user in newcomers) for one in (calm, world, hurried)]
    assert left(calm, users) < 0.9 * left(world, users)
    assert left(hurried, users) > 1.2 * left(world, users)
    assert stayed[0] > stayed[1] > stayed[2]


def test_who_is_won_back_in_a_changed_world_lives_in_it():
    """A coupon starts a new life there, in which settled time passes as fast as everybody's."""

    def kept(strength: float) -> float:
        world, name = platform("hazard", strength), "learner-{:05d}"
        world.advance(AT + DAY)
        gone = [name.format(n) for n in range(200) if world.truth.gone_at(name.format(n), world.now) is not None]
        for user in gone:
            world.react(_coupon(user, world.now), world.now)
        world.advance(AT + 4 * DAY)
        back = [user for user in gone if world.truth.kept(user, world.now)]
        world.advance(END)
        return sum(world.truth.kept(user, END) for user in back) / len(back)

    assert kept(20.0) < 0.7 * kept(0.2)


def test_people_come_less_often_and_leave_no_sooner(steady):
    """In a season people come less often by far; it moves nobody's leaving; the truth's danger follows."""
    world, before, after = steady
    season = platform("season")
    season.advance(AT)
    fewer = season.advance(END)
    users = {event.user_id for event in before}
    assert 0.5 <= len(fewer) / len(after) <= 0.7
    assert left(season, users) == left(world, users)
    present = next(user for user in sorted(users) if world.truth.kept(user, AT + 30 * DAY))
    calm, dull = (one.truth.risk(present, AT + DAY, 3 * DAY) for one in (world, season))
    assert dull == pytest.approx(calm**0.5)
    assert season.truth.risk(present, AT - DAY, 3 * DAY) == world.truth.risk(present, AT - DAY, 3 * DAY)


def test_a_season_begins_for_everybody_at_its_moment():
    """Also one in which people come more often, and for those whose next visit was far away."""

    def soon(strength: float | None) -> int:
        world = platform(None if strength is None else "season", strength)
        world.advance(AT)
        return len({event.user_id for event in world.advance(AT + DAY / 6)})

    usual = soon(None)
    assert soon(4.0) < 0.6 * usual
    assert soon(0.02) > 7 * usual


def test_courses_are_replaced_and_what_was_begun_is_finished():
    """After the change only new ones are bought, a quarter as long and as dear; the old ones are gone on with."""
    world = platform("catalogue")
    before, after = world.advance(AT), world.advance(END)
    bought = {event.course_id for event in before if isinstance(event, ev.Purchase)}
    anew = {event.course_id for event in after if isinstance(event, ev.Purchase)}
    assert bought
    assert anew
    assert not any(course.endswith("-anew") for course in bought)
    assert all(course.endswith("-anew") for course in anew)
    finished = Counter(
        (event.course_id or "").endswith("-anew") for event in after if isinstance(event, ev.CourseCompleted)
    )
    assert finished[False] > 0
    assert finished[True] > finished[False]


def test_only_settled_time_passes_faster_and_only_after_the_change():
    """The rest of the phase that the change falls into as well; slipping takes as long as ever."""
    phases = (Phase("settled", 0), Phase("slipping", 40), Phase("settled", 50), Phase("gone", 80))
    assert hastened(phases, drift("hazard", 20, 2)) == (
        Phase("settled", 0), Phase("slipping", 30), Phase("settled", 40), Phase("gone", 55),
    )  # fmt: skip
    assert hastened(phases, drift("hazard", 90, 2)) == phases
    early = hastened(phases, drift("hazard", -10, 2))
    assert [after.since - before.since for before, after in pairwise(early)] == [20, 10, 15]


@pytest.mark.parametrize("strength", [0.0, -1.0, float("inf"), float("nan")])
def test_a_strength_that_means_nothing_is_refused(strength):
    """It divides and multiplies rates."""
    with pytest.raises(ValueError, match="strength"):
        drift("season", AT, strength)


def _coupon(user: str, now: float) -> CouponTrigger:
    return CouponTrigger(
        id=f"c-{user}", user_id=user, time=now, expires_at=now + DAY, campaign="c", campaign_version="1", arm="a",
        amount=5.0, currency="EUR", valid_until=now + 7 * DAY, probability=0.9, model="m",
    )  # fmt: skip
