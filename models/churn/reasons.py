"""Reasons for a score: the groups of features with the largest effect, in words with the person's own values."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY, Activity, active_days
from models.person.features import GROUPS, NAMES, current_course, mean_gap, silence_days
from models.schema.outputs import Reason

MAX_REASONS = 3
MIN_EFFECT = 0.05
_COLUMNS = {group: np.array([NAMES.index(name) for name in names]) for group, names in GROUPS.items()}


class Explainable(Protocol):
    """A model that gives the logit of any row and the mean row of the platform."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of every feature."""
        ...

    def logits(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the logit of each row."""
        ...


def explain(
    model: Explainable, row: NDArray[np.float32], activity: Activity, now: float, horizon: float, rising: bool
) -> tuple[Reason, ...]:
    """Return the strongest reasons for a score, at most three.

    Each group of features in turn is set to the platform's mean. The difference in the logit is the group's effect
    (an occlusion, as in Zeiler & Fergus 2014).

    Args:
        model: the model behind the score.
        row: (features,) values that were scored.
        activity: of the person, for the words.
        now: time of the score.
        horizon: the churn horizon in seconds.
        rising: name the groups that raise the risk; otherwise those that lower it.
    """
    variants = np.repeat(row[None], len(_COLUMNS) + 1, axis=0)
    for index, columns in enumerate(_COLUMNS.values(), start=1):
        variants[index, columns] = model.mean[columns]
    logits = model.logits(variants)
    effects = dict(zip(_COLUMNS, (logits[0] - logits[1:]).tolist(), strict=True))
    ranked = sorted(effects, key=lambda group: effects[group], reverse=rising)
    strong = [group for group in ranked if (effects[group] if rising else -effects[group]) >= MIN_EFFECT]
    return tuple(
        Reason(group=group, effect=round(effects[group], 3), words=describe_group(group, activity, now, horizon))
        for group in strong[:MAX_REASONS]
    )


def describe_group(group: str, activity: Activity, now: float, horizon: float) -> str:
    """Describe a group of features in words, with this person's values."""
    return _DESCRIPTIONS[group](activity, now, horizon)


def describe_course_event(activity: Activity, now: float, stalled_after: float, course_id: str | None = None) -> str:
    """Describe that a course was finished or has stalled; empty if neither. Without an id: the person's last course."""
    named = next((course for course in activity.courses if course.id == course_id), None)
    course = named or current_course(activity)
    if course is None:
        return ""
    if course.completed_at:
        return f"finished course {course.id}"
    if now - course.last >= stalled_after and course.progress < 1.0:
        return f"stalled in course {course.id} at {course.progress:.0%}"
    return ""


def _days(number: float) -> str:
    whole = round(number)
    return "1 day" if whole == 1 else f"{whole} days"


def _silence(activity: Activity, now: float, horizon: float) -> str:
    silence = silence_days(activity, now)
    if silence < 1:
        return "active within the last day"
    return f"no activity for {_days(silence)}, usually {max(1, round(mean_gap(activity, horizon / DAY)))}"


def _rhythm(activity: Activity, now: float, horizon: float) -> str:
    today = int(now // DAY)
    return f"active on {active_days(activity, today, 7)} of the last 7 days, {active_days(activity, today, 28)} of 28"


def _tenure(activity: Activity, now: float, horizon: float) -> str:
    return f"with us for {_days((now - activity.first) / DAY)}"


def _progress(activity: Activity, now: float, horizon: float) -> str:
    course = current_course(activity)
    if course is None:
        return "no course begun"
    if course.completed_at:
        return f"finished course {course.id}, none begun since"
    return f"at {course.progress:.0%} of course {course.id}, last there {_days((now - course.last) / DAY)} ago"


def _effort(activity: Activity, now: float, horizon: float) -> str:
    return f"{round(activity.minutes)} minutes of learning in {_days((now - activity.first) / DAY)}"


def _money(activity: Activity, now: float, horizon: float) -> str:
    wallet = activity.wallet
    if wallet.member_until >= wallet.member_since > 0:
        return f"membership cancelled {_days((now - wallet.member_until) / DAY)} ago"
    if wallet.member_since > 0:
        return f"a member, last renewed {_days((now - wallet.member_since) / DAY)} ago"
    if not wallet.purchases:
        return "nothing bought yet"
    return f"last purchase {_days((now - wallet.last) / DAY)} ago, {wallet.purchases} in all"


def _satisfaction(activity: Activity, now: float, horizon: float) -> str:
    if not activity.ratings:
        return "no rating given"
    return f"rated {activity.rating_sum / activity.ratings:.0%} on average"


_DESCRIPTIONS = {
    "silence": _silence,
    "rhythm": _rhythm,
    "tenure": _tenure,
    "progress": _progress,
    "effort": _effort,
    "money": _money,
    "satisfaction": _satisfaction,
}
