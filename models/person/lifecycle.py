"""The lifecycle stage of a person."""

from __future__ import annotations

from models.person.activity import DAY, Activity
from models.person.features import mean_gap
from models.person.rules import Rules


def stage(activity: Activity, now: float, rules: Rules) -> str:
    """Return the lifecycle stage: new, active, at risk, dormant, churned or returned.

    - churned: silent for longer than the look-back.
    - dormant: silent for longer than half the horizon and three of the person's usual gaps.
    - at risk: silent for longer than three usual gaps.
    - returned: active again after a gap of at least the horizon.
    - new: within the first horizon.
    - active: otherwise.
    """
    silence = now - activity.last
    usual = mean_gap(activity, rules.horizon / DAY) * DAY
    if silence > rules.lookback:
        return "churned"
    if silence > max(rules.horizon / 2, 3 * usual):
        return "dormant"
    if silence > 3 * usual:
        return "at risk"
    if (activity.day - activity.day_before) * DAY >= rules.horizon:
        return "returned"
    return "new" if now - activity.first < rules.horizon else "active"
