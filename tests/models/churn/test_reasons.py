"""Reasons for a score: the groups with the largest effect, in words with the person's own values."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.churn.reasons import MAX_REASONS, MIN_EFFECT, describe_course_event, describe_group, explain
from models.churn.scorer import Scorer, linear_scorer
from models.person import features
from models.person.activity import DAY, Activity, fold
from models.schema import events as ev
from tests.models.people import NOON, make_event

HORIZON = 14 * DAY


def after(*events: ev.Event) -> Activity:
    activity = Activity()
    for event in events:
        activity = fold(activity, event, active=True)
    return activity


def login(days: float = 0) -> ev.Login:
    return ev.Login(id="e", user_id="u", time=NOON + days * DAY)


def scorer(weights: list[float], mean: float = 0.0) -> Scorer:
    size = len(features.NAMES)
    return linear_scorer("m", 1, np.full(size, mean), np.ones(size), np.array(weights), 0.0)


def effects(model: Scorer, row: np.ndarray) -> dict[str, float]:
    """Sum by hand what each group adds to the logit relative to the mean row; the model is linear in this range."""
    weights = model.inner[:, 0]
    z = ((row - model.mean) * model.scale).clip(-6, 6) * weights
    return {g: float(sum(z[features.NAMES.index(n)] for n in names)) for g, names in features.GROUPS.items()}


@given(st.lists(st.floats(-2, 2), min_size=len(features.NAMES), max_size=len(features.NAMES)), st.booleans())
@settings(max_examples=80)
def test_the_strongest_groups_in_the_requested_direction_are_named(weights: list[float], rising: bool) -> None:
    """At most three, strongest first, none below the minimum effect, each with its effect on the logit."""
    activity = after(login(), make_event(1, NOON + DAY, 2, 0.4, "u"))
    now = NOON + 6 * DAY
    row, model = features.row(activity, now, HORIZON), scorer(weights)
    sign = 1 if rising else -1
    strong = sorted((sign * value for value in effects(model, row).values()), reverse=True)
    assume(all(abs(value - MIN_EFFECT) > 1e-9 for value in strong))  # on the edge, rounding decides
    expected = [sign * value for value in strong if value >= MIN_EFFECT][:MAX_REASONS]
    reasons = explain(model, row, activity, now, HORIZON, rising)
    assert [reason.effect for reason in reasons] == pytest.approx(expected, abs=6e-4)
    assert [reason.words for reason in reasons] == [
        describe_group(reason.group, activity, now, HORIZON) for reason in reasons
    ]


def test_every_group_has_a_description() -> None:
    """Each group has its own words, also for a person with little data."""
    texts = [describe_group(group, after(login()), NOON, HORIZON) for group in features.GROUPS]
    assert all(texts)
    assert len(set(texts)) == len(features.GROUPS)


BOUGHT = ev.Purchase(id="p", user_id="u", time=NOON, amount=9.0)
MEMBER = ev.SubscriptionStarted(id="s", user_id="u", time=NOON, amount=9.0)
LEFT = ev.SubscriptionCancelled(id="c", user_id="u", time=NOON + DAY)
AT_40 = ev.LessonProgress(id="l", user_id="u", time=NOON, course_id="go", progress=0.4, minutes=30)
DONE = ev.CourseCompleted(id="d", user_id="u", time=NOON, course_id="go")
RATED = ev.Review(id="r", user_id="u", time=NOON, rating=0.5)


@pytest.mark.parametrize(
    ("group", "events", "expected"),
    [
        ("silence", [login(2.5)], "active within the last day"),
        ("silence", [login()], "no activity for 3 days, usually 4"),
        ("rhythm", [login(), login(1)], "active on 2 of the last 7 days, 2 of 28"),
        ("tenure", [login()], "with us for 3 days"),
        ("progress", [login()], "no course begun"),
        ("progress", [AT_40], "at 40% of course go, last there 3 days ago"),
        ("progress", [DONE], "finished course go, none begun since"),
        ("effort", [AT_40], "30 minutes of learning in 3 days"),
        ("money", [login()], "nothing bought yet"),
        ("money", [BOUGHT], "last purchase 3 days ago, 1 in all"),
        ("money", [MEMBER, LEFT], "membership cancelled 2 days ago"),
        ("satisfaction", [login()], "no rating given"),
        ("satisfaction", [RATED], "rated 50% on average"),
    ],
)
def test_descriptions_contain_the_persons_own_values(group: str, events: list[ev.Event], expected: str) -> None:
    """The values are those of three days later."""
    assert describe_group(group, after(*events), NOON + 3 * DAY, HORIZON) == expected


def test_a_paying_member_is_not_described_as_having_bought_nothing() -> None:
    """A membership is a purchase."""
    assert describe_group("money", after(MEMBER), NOON + DAY, HORIZON) != "nothing bought yet"


@pytest.mark.parametrize(
    ("events", "days", "expected"),
    [
        ([login()], 30, ""),
        ([AT_40], 6, ""),
        ([AT_40], 7, "stalled in course go at 40%"),
        ([DONE], 0, "finished course go"),
        ([ev.LessonProgress(id="l", user_id="u", time=NOON, course_id="go", progress=1.0)], 9, ""),
    ],
)
def test_a_finished_or_stalled_last_course_is_described(events: list[ev.Event], days: float, expected: str) -> None:
    """Otherwise the text is empty."""
    assert describe_course_event(after(*events), NOON + days * DAY, 7 * DAY) == expected
