"""Alerts about a course: the person finished it, or stopped in the middle of it."""

from __future__ import annotations

from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from models.person import features
from models.person.activity import DAY
from models.person.courses import MAX_COURSES, CourseProgress
from models.person.person import Person
from models.retention.alerts import AlertCause, Subject, publish_alert
from models.retention.context import Context
from models.schema.outputs import Alert, Output

Row = NDArray[float32]


def publish_course_alert(
    person: Person,
    about: Subject,
    course_id: str,
    at: float,
    cause: str,
    row: Row,
    context: Context,
    delay: float = 0.0,
) -> tuple[Person, tuple[Output, ...]]:
    """Publish an alert about a course, unless alerts wait for the model to learn enough."""
    if not _alerts_enabled(context):
        return person, ()
    before = person.ledger.tier
    alert_cause = AlertCause(
        about=about, at=at, cause_id=cause, row=row, tier_before=before, course_id=course_id, delay=delay
    )
    return publish_alert(person, alert_cause, context)


def alert_stalled_course(
    person: Person, due: float, cause: str, published: tuple[Output, ...], row: Row, context: Context
) -> tuple[Person, tuple[Output, ...]]:
    """Check at a grid time whether a course has stalled, and publish an alert about it once.

    Args:
        person: after the score of the grid time.
        due: the grid time.
        cause: the timer, for output ids.
        published: outputs of the score. If there is a risk alert among them, it already reports the stall.
        row: the features of the score.
        context: current rules, model and campaign.

    Returns:
        The person, and `published` with the further outputs.
    """
    course = _stalled_course(person, due, context)
    if course is None or not _alerts_enabled(context):
        return person, published
    alerted = (*person.ledger.alerted_courses, course.id)[-MAX_COURSES:]
    person = replace(person, ledger=replace(person.ledger, alerted_courses=alerted))
    if any(isinstance(output, Alert) for output in published):
        return person, published
    delay = context.rules.lateness
    person, more = publish_course_alert(person, "stalled", course.id, due, cause, row, context, delay)
    return person, published + more


def _alerts_enabled(context: Context) -> bool:
    return context.ready or not context.rules.alerts_wait


def _stalled_course(person: Person, at: float, context: Context) -> CourseProgress | None:
    """Return the unfinished current course if the person stopped, and this stop was not reported yet.

    A pause is a stop from `stalled_after` on, and from three times the person's usual gap between active days.
    """
    course = features.current_course(person.activity)
    if course is None or course.completed_at or not 0 < course.progress < 1:
        return None
    if course.id in person.ledger.alerted_courses:
        return None
    usual = features.mean_gap(person.activity, context.rules.horizon / DAY) * DAY
    return course if at - course.last >= max(context.rules.stalled_after, 3 * usual) else None
