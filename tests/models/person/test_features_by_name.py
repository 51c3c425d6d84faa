"""Single features, computed by hand for small histories."""

from math import log, log1p

import pytest

from models.person import features
from models.person.activity import DAY, Activity, fold
from models.schema import events as ev
from tests.models.people import HOUR, NOON

HORIZON = 14 * DAY
WHO = {"id": "e", "user_id": "u"}


def at(now: float, *more: ev.Event) -> dict[str, float]:
    """Compute the row on a day for a person with a login on the first day and more events."""
    activity = Activity()
    for event in (ev.Login(**WHO, time=NOON), *more):
        activity = fold(activity, event, active=True)
    values = features.row(activity, NOON + now * DAY, HORIZON)
    return dict(zip(features.NAMES, values.tolist(), strict=True))


def logins(*days: float) -> list[ev.Event]:
    return [ev.Login(**WHO, time=NOON + day * DAY) for day in days]


def close(value: float) -> object:
    """Compare within float16 precision."""
    return pytest.approx(value, rel=1e-3, abs=1e-3)


def test_silence_is_compared_with_the_persons_gaps() -> None:
    """Active on days 0, 2, 6 and 7, scored on day 10: closed gaps 2 and 4, an open gap of 1, a silence of 3."""
    row = at(10, *logins(2, 6, 7))
    gap = (2 + 4 + 14 / 2) / (2 + 2)
    assert row["log_silence"] == close(log1p(3))
    assert row["silence_to_gap"] == close(log1p(3 / gap))
    assert row["silence_to_longest"] == close(log1p(3) - log1p(4))
    assert row["survival"] == close(-(2 + 2) * log1p(14 / (6 + 3 + 7)))
    assert (row["log_gap"], row["gap_spread"]) == (close(log(gap)), close(1 / gap))
    assert row["gap_trend"] == close(log((0.7 * 2 + 0.3 * 4 + 0.3) / (gap + 0.3)))


def test_the_open_gap_can_be_the_longest() -> None:
    """The gap before the latest active day is open but counts for the longest gap."""
    assert at(11, *logins(1, 10))["silence_to_longest"] == close(log1p(1) - log1p(9))


def test_counters_decay_until_now() -> None:
    """Two simultaneous events two days later, with half-lives of 1, 7 and 28 days."""
    row = at(2, *logins(0))
    counts = [log(2 * 2 ** (-2 / life) + 0.02) for life in (1, 7, 28)]
    assert [row["count_1"], row["count_7"], row["count_28"]] == [close(count) for count in counts]
    assert (row["trend_week"], row["trend_month"]) == (close(counts[0] - counts[1]), close(counts[1] - counts[2]))


def test_active_days_are_fractions_of_their_windows() -> None:
    """Active on days 0, 10, 50, 55 and 56: 3 of the last 7, 3 of 28, 5 of 84, and this week over the person's trend."""
    row = at(56, *logins(10, 50, 55, 56))
    assert (row["days_7"], row["days_28"], row["days_84"]) == (close(3 / 7), close(3 / 28), close(5 / 84))
    assert row["week_to_own"] == close(log1p(3 / (5 / 8 + 0.1)))
    assert (row["log_tenure"], row["log_events"]) == (close(log1p(56)), close(log1p(5)))


def test_progress_is_of_the_current_course() -> None:
    """One course finished, one at 0.3 half a day ago: one open, one done, not just finished."""
    done = ev.CourseCompleted(**WHO, time=NOON + DAY, course_id="a")
    at_30 = ev.LessonProgress(**WHO, time=NOON + 2 * DAY, course_id="b", progress=0.3, minutes=20)
    row = at(2.5, done, at_30)
    assert (row["progress"], row["log_stalled"]) == (close(0.3), close(log1p(0.5)))
    assert (row["courses_open"], row["courses_done"], row["just_finished"]) == (1, 1, 0)
    assert row["log_minutes"] == close(log1p(20))
    assert at(1.5, done)["just_finished"] == 1


def test_scores_and_ratings_have_a_prior() -> None:
    """Without data the means are 0.5 and 0.7; each value changes them."""
    exercise = ev.Exercise(**WHO, time=NOON, course_id="a", score=1.0)
    review = ev.Review(**WHO, time=NOON, rating=0.1)
    row, none = at(1, exercise, review), at(1)
    assert (none["mean_score"], none["satisfaction"]) == (close(0.5), close(0.7))
    assert (row["mean_score"], row["satisfaction"]) == (close(0.75), close(0.4))
    assert at(1, ev.Comment(**WHO, time=NOON))["social"] == close(log1p(1))


def test_spend_is_net_of_refunds() -> None:
    """Two purchases and a refund. Without a purchase, the time since one starts at the first event."""
    bought = [ev.Purchase(**WHO, time=NOON + day * DAY, amount=30.0) for day in (1, 4)]
    row = at(6, *bought, ev.Refund(**WHO, time=NOON + 5 * DAY, amount=20.0))
    assert (row["log_purchases"], row["log_spend"]) == (close(log1p(2)), close(log1p(40)))
    assert row["log_since_purchase"] == close(log1p(2))
    assert at(6)["log_since_purchase"] == close(log1p(6))


def test_a_member_stays_one_until_cancellation() -> None:
    """A member has started a membership and not cancelled it since."""
    started = ev.SubscriptionStarted(**WHO, time=NOON + HOUR)
    ended = ev.SubscriptionCancelled(**WHO, time=NOON + 2 * HOUR)
    again = ev.SubscriptionRenewed(**WHO, time=NOON + 3 * HOUR)
    members = [at(1, *events)["member"] for events in ([], [started], [started, ended], [started, ended, again])]
    assert members == [0, 1, 0, 1]
