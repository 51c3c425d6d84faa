"""A person's progress in courses: a fold that does not depend on the order of events."""

from __future__ import annotations

from msgspec import Struct

from models.schema import events as ev

MAX_COURSES = 24


class CourseProgress(Struct, frozen=True, array_like=True, gc=False):
    """A person's progress in one course.

    Attributes:
        id: of the course.
        first: time of the first event in it.
        last: time of the latest event in it.
        progress: the highest fraction of the course reached.
        minutes: minutes of learning in it.
        completed_at: when it was finished; 0 before that.
    """

    id: str
    first: float
    last: float
    progress: float = 0.0
    minutes: float = 0.0
    completed_at: float = 0.0


def fold_course(courses: tuple[CourseProgress, ...], course_id: str, event: ev.Learning) -> tuple[CourseProgress, ...]:
    """Fold an event into the course it belongs to. At most 24 courses are kept, the latest ones, sorted by id."""
    for index, course in enumerate(courses):
        if course.id == course_id:
            updated = _update(course, event)
            return (updated,) if len(courses) == 1 else (*courses[:index], updated, *courses[index + 1 :])
    kept = (*courses, _update(CourseProgress(course_id, event.time, event.time), event))
    if len(kept) > MAX_COURSES:
        oldest = min(kept, key=lambda course: (course.last, course.id))
        kept = tuple(course for course in kept if course is not oldest)
    return tuple(sorted(kept, key=lambda course: course.id))


def _update(course: CourseProgress, event: ev.Learning) -> CourseProgress:
    time, progress, minutes, completed = event.time, course.progress, course.minutes, course.completed_at
    first, last = course.first, course.last
    first, last = (first if first < time else time), (last if last > time else time)
    if type(event) is ev.LessonProgress:
        progress, minutes = _highest(progress, event.progress), minutes + event.minutes
    elif type(event) is ev.LessonCompleted:
        progress = _highest(progress, event.progress)
    elif type(event) is ev.LiveSession:
        minutes += event.minutes
    elif type(event) is ev.CourseCompleted:
        progress, completed = 1.0, max(completed, time)
    return CourseProgress(course.id, first, last, progress, minutes, completed)


def _highest(progress: float, reported: float | None) -> float:
    return progress if reported is None or reported < progress else reported
