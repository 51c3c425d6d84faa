"""Where a person is in their life with the platform."""

from __future__ import annotations

from models.person.activity import DAY, Activity
from models.person.features import mean_gap
from models.person.rules import Rules


def stage(activity: Activity, now: float, rules: Rules) -> str:
    """Return the lifecycle stage: new, active, at risk, dormant, churned or returned.

    A person is churned when silent beyond the look-back, dormant when silent for half the horizon, at risk when
    silent for three of their usual gaps, returned when back after a gap as long as the horizon, and new within their
    first horizon.
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
