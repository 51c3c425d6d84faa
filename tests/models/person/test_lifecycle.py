"""Lifecycle stages of a person."""

import pytest

from models.person.activity import DAY, Activity, fold
from models.person.lifecycle import stage
from models.person.person import Person
from models.person.rules import Rules
from models.schema import events as ev
from models.schema.outputs import Profile
from tests.models.people import NOON, make_context, process_events


def active_on(*days: float) -> Activity:
    activity = Activity()
    for day in days:
        activity = fold(activity, ev.Login(id="e", user_id="u", time=NOON + day * DAY), active=True)
    return activity


@pytest.mark.parametrize(
    ("days", "now", "expected"),
    [
        ([0], 0, "new"),
        ([0, 1, 2], 13, "dormant"),
        (range(13), 13, "new"),
        (range(20), 20, "active"),
        (range(60), 62, "active"),
        (range(60), 63, "at risk"),
        (range(60), 66, "at risk"),
        (range(60), 67, "dormant"),
        (range(60), 59 + 28, "dormant"),
        (range(60), 59 + 28.1, "churned"),
        ([*range(30), 50], 50, "returned"),
        ([*range(30), 50, 51], 51, "active"),
        (range(0, 120, 6), 114 + 17, "active"),
        (range(0, 120, 6), 114 + 20, "dormant"),
    ],
)
def test_stages_follow_the_persons_own_rhythm(days: list[int], now: float, expected: str) -> None:
    """Silence is compared with the person's own gaps, the horizon and the look-back."""
    assert stage(active_on(*days), NOON + now * DAY, Rules()) == expected


def test_a_churned_person_gets_a_last_profile() -> None:
    """Beyond the look-back, a last profile states it and replaces the one from weeks before."""
    login = ev.Login(id="1", user_id="u", time=NOON)
    _, outputs = process_events(Person("u"), [login], make_context(), NOON + 40 * DAY)
    profiles = [output for output in outputs if isinstance(output, Profile)]
    assert profiles[-1].stage == "churned"
