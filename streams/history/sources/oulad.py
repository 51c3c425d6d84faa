"""The Open University Learning Analytics Dataset: the CSV files as published, or Parquet (of R's package `oulad`).

Kuzilek J., Hlosta M., Zdrahal Z., Scientific Data 4:170171 (2017), CC BY 4.0. A folder with courses, vle, assessments,
studentRegistration, studentAssessment and studentVle; the last may be a folder `studentVle_ds`, divided by
`code_module=*/code_presentation=*`. studentInfo is not read, because it is all demographic.

| row of | becomes | with |
|---|---|---|
| courses | `course_published` | `BBB-2013J` as `course_id`, on the day of its first registration |
| studentRegistration | `purchase` | amount 0, `course_id`; it opens the user's day `date_registration` |
| studentRegistration, with `date_unregistration` | `subscription_cancelled` | `course_id`; it closes that day |
| studentVle, page type homepage | `login` | `course_id` |
| quiz, externalquiz, questionnaire, repeatactivity | `exercise` | `course_id` |
| forumng | `comment` | `course_id` |
| oucollaborate, ouelluminate | `live_session` | `course_id` |
| any other page type | `lesson_progress` | `course_id`, the page as `lesson_id`; progress and duration are not known |
| studentAssessment, with a score and not banked | `exercise` | `course_id`, the score as a share, on `date_submitted` |

Assessments that are banked (results of an earlier presentation) or have no score are left out and counted. Days are
counted from the start of a presentation, which is not published. Here, a presentation whose name ends in B starts on
1 February of its year, and one that ends in J on 1 October. Times of day come from `streams.history.sources.days`. The
number of clicks is not used: each row is one event. An event id names the table and the row; for studentVle, the row
within its presentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.person.activity import DAY
from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.history.sources import days, tables
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.history.sources.tables import Batch, UnusableRow

STARTS = {"B": 2, "J": 10}
"""The month on whose first day a presentation starts, by the last letter of its name."""
EVENT_TYPES: dict[str, type[ev.Login | ev.Exercise | ev.Comment | ev.LiveSession]] = {
    "homepage": ev.Login,
    "quiz": ev.Exercise,
    "externalquiz": ev.Exercise,
    "questionnaire": ev.Exercise,
    "repeatactivity": ev.Exercise,
    "forumng": ev.Comment,
    "oucollaborate": ev.LiveSession,
    "ouelluminate": ev.LiveSession,
}
"""The event of a page visit by the type of the page; any other type is progress in a lesson."""
MAX_DAYS = 3_650
"""Days from the start of a presentation beyond which a date is invalid."""
MAX_ID = 1e15

_COURSE = {"module": ("code_module",), "presentation": ("code_presentation",)}
_CLICKS = {"student": ("id_student",), "site": ("id_site",), "date": ("date",)}
_REGISTERED = {"student": ("id_student",), "date": ("date_registration",), "left": ("date_unregistration",), **_COURSE}
_SUBMITTED = {
    "assessment": ("id_assessment",), "student": ("id_student",), "date": ("date_submitted",),
    "banked": ("is_banked",), "score": ("score",),
}  # fmt: skip

RowKey = tuple[int, str, str, float]
"""Of a row: its number in the batch, the user, the course and the time."""


class Oulad:
    """The whole data set in a folder, table by table.

    Raises:
        OperatorError: a table is missing, cannot be read or lacks a column.
    """

    repeatable = True
    has_log_time = False

    def __init__(self, folder: str) -> None:
        self.name = f"oulad:{folder}"
        self.skipped = 0
        self._folder = Path(folder)
        self._user_ids: dict[float, str] = {}
        self._table_starts: list[tuple[int, str]] = []
        self._file = tables.table_finder(self.name, self._folder)
        for stem in ("courses", "vle", "assessments", "studentRegistration", "studentAssessment"):
            self._file(stem)
        if not self._click_files():
            self._file("studentVle")

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        self.skipped, position = 0, 0
        self._table_starts = []
        readers = {
            "courses": self._courses,
            "studentRegistration": self._registrations,
            "studentVle": self._clicks,
            "studentAssessment": self._assessments,
        }
        for table, reader in readers.items():
            self._table_starts.append((position, table))
            for found in reader():
                yield (
                    UnusableEntry(position, *found) if isinstance(found, UnusableRow) else HistoryEntry(position, found)
                )
                position += 1

    def describe_position(self, position: int) -> str:
        """Return the table and the entry's number in it; known once the table was read."""
        first, table = max((start for start in self._table_starts if start[0] <= position), default=(0, "entry"))
        return f"{table}, {position - first + 1}"

    def _courses(self) -> Iterator[ev.CoursePublished | UnusableRow]:
        opened: Counter[str | None] = Counter()
        for batch in tables.read_batches(self._file("studentRegistration"), _REGISTERED):
            for course, date in zip(_course(batch), batch.numbers("date").tolist(), strict=True):
                if -MAX_DAYS <= date < opened[course]:
                    opened[course] = int(date)
        for batch in tables.read_batches(self._file("courses"), _COURSE):
            yield from batch.unusable
            for row, course in enumerate(_course(batch)):
                start = _start(course)
                if course is None or np.isnan(start):
                    yield UnusableRow(batch.row_json(row), _no_start(course))
                    continue
                time, category = (start + opened[course]) * DAY, course.partition("-")[0]
                yield ev.CoursePublished(
                    id=f"oulad-course-{course}", course_id=course, time=time, title=course, category=category
                )

    def _registrations(self) -> Iterator[ev.Event | UnusableRow]:
        for batch in tables.read_batches(self._file("studentRegistration"), _REGISTERED):
            yield from batch.unusable
            courses = _course(batch)
            for found in self._rows_with_time(batch, courses, "date", np.zeros(len(batch))):
                if isinstance(found, UnusableRow):
                    yield found
                    continue
                row, user, course, time = found
                id = f"oulad-registration-{batch.first + row}"
                yield ev.Purchase(id=id, user_id=user, time=time, amount=0.0, course_id=course)
            end, left = np.full(len(batch), float(days.SESSION)), batch.is_present("left")
            for found in self._rows_with_time(batch, courses, "left", end, left):
                if isinstance(found, UnusableRow):
                    yield found
                    continue
                row, user, course, time = found
                id = f"oulad-unregistration-{batch.first + row}"
                yield ev.SubscriptionCancelled(id=id, user_id=user, time=time, course_id=course)

    def _clicks(self) -> Iterator[ev.Event | UnusableRow]:
        pages = self._event_types_by_page()
        counts: Counter[str | None] = Counter()
        for course, batch in self._click_batches():
            yield from batch.unusable
            courses: list[str | None] = [course] * len(batch) if course else _course(batch)
            numbers = _row_numbers(courses, counts)
            sites = batch.numbers("site").tolist()
            within = days.seconds_in_day(_whole_numbers(batch.numbers("student")), np.array(numbers))
            for found in self._rows_with_time(batch, courses, "date", within):
                if isinstance(found, UnusableRow):
                    yield found
                    continue
                row, user, course_id, time = found
                site = sites[row]
                kind = pages.get(site)
                id = f"oulad-vle-{course_id}-{numbers[row]}"
                if kind is not None:
                    yield kind(id=id, user_id=user, time=time, course_id=course_id)
                elif site == site:
                    yield ev.LessonProgress(
                        id=id, user_id=user, time=time, course_id=course_id, lesson_id=f"{site:.0f}"
                    )
                else:
                    yield UnusableRow(batch.row_json(row), batch.cell_error(row, "site", "lesson_id"))

    def _assessments(self) -> Iterator[ev.Event | UnusableRow]:
        course_of: dict[float, str | None] = {}
        for batch in tables.read_batches(self._file("assessments"), {"assessment": ("id_assessment",), **_COURSE}):
            course_of |= zip(batch.numbers("assessment").tolist(), _course(batch), strict=True)
        for batch in tables.read_batches(self._file("studentAssessment"), _SUBMITTED):
            yield from batch.unusable
            scores = batch.numbers("score")
            wanted = batch.is_present("score") & (batch.numbers("banked") != 1.0)
            self.skipped += int((~wanted).sum())
            courses = [course_of.get(assessment) for assessment in batch.numbers("assessment").tolist()]
            within = days.seconds_in_day(_whole_numbers(batch.numbers("student")), batch.first + np.arange(len(batch)))
            for found in self._rows_with_time(batch, courses, "date", within, wanted):
                if isinstance(found, UnusableRow):
                    yield found
                    continue
                row, user, course, time = found
                score = float(scores[row]) / 100.0
                if not 0.0 <= score <= 1.0:
                    yield UnusableRow(batch.row_json(row), batch.cell_error(row, "score", "score"))
                    continue
                id = f"oulad-assessment-{batch.first + row}"
                yield ev.Exercise(id=id, user_id=user, time=time, course_id=course, score=score)

    def _rows_with_time(
        self,
        batch: Batch,
        courses: list[str | None],
        date: str,
        within: NDArray[np.float64],
        wanted: NDArray[np.bool_] | None = None,
    ) -> Iterator[RowKey | UnusableRow]:
        """Yield user, course and time of each row in `wanted`; `within` are seconds from the start of the day."""
        students, dates = batch.numbers("student"), batch.numbers(date)
        start_of = {course: _start(course) for course in set(courses)}
        starts = np.array([start_of[course] for course in courses], dtype=np.float64)
        valid = (np.abs(students) <= MAX_ID) & (np.abs(dates) <= MAX_DAYS) & np.isfinite(starts)
        times = days.day_starts(_whole_numbers(students), np.where(valid, starts + dates, 0.0)) + within
        rows = range(len(batch)) if wanted is None else np.flatnonzero(wanted).tolist()
        is_valid, student_list, when, user_ids = valid.tolist(), students.tolist(), times.tolist(), self._user_ids
        for row in rows:
            course = courses[row]
            if is_valid[row] and course is not None:
                student = student_list[row]
                yield row, user_ids.get(student) or self._user_id(student), course, when[row]
            else:
                yield UnusableRow(batch.row_json(row), _row_error(batch, row, course, date))

    def _user_id(self, student: float) -> str:
        return self._user_ids.setdefault(student, f"oulad-{student:.0f}")

    def _event_types_by_page(self) -> dict[float, type[ev.Login | ev.Exercise | ev.Comment | ev.LiveSession]]:
        """Return the event types of pages that are not lessons."""
        pages = {}
        for batch in tables.read_batches(self._file("vle"), {"site": ("id_site",), "type": ("activity_type",)}):
            for site, kind in zip(batch.numbers("site").tolist(), batch.texts("type"), strict=True):
                if kind in EVENT_TYPES:
                    pages[site] = EVENT_TYPES[kind]
        return pages

    def _click_batches(self) -> Iterator[tuple[str | None, Batch]]:
        for course, file in self._click_files():
            for batch in tables.read_batches(file, _CLICKS):
                yield course, batch
        if not self._click_files():
            for batch in tables.read_batches(self._file("studentVle"), {**_CLICKS, **_COURSE}):
                yield None, batch

    def _click_files(self) -> list[tuple[str, Path]]:
        """Return the files of a divided studentVle table, with their courses."""
        files = sorted(self._folder.glob("studentVle_ds/code_module=*/code_presentation=*/*.parquet"))
        return [("-".join(part.partition("=")[2] for part in file.parts[-3:-1]), file) for file in files]


def _course(batch: Batch) -> list[str | None]:
    return batch.join("module", "presentation")


def _start(course: str | None) -> float:
    """Return the day on which a course starts, counted from 1970; NaN if its name is not known."""
    presentation = (course or "").rpartition("-")[2]
    year, month = presentation[:-1], STARTS.get(presentation[-1:])
    if month is None or not (year.isdecimal() and len(year) == 4 and 1980 <= int(year) <= 2900):
        return float("nan")
    return datetime(int(year), month, 1, tzinfo=UTC).timestamp() / DAY


def _no_start(course: str | None) -> InvalidEvent:
    if course is None:
        return InvalidEvent("missing_field", "course_id", "the row leads to no module and presentation")
    return InvalidEvent("impossible_value", "time", f"no start is known of {course[:50]!r}: expected such as AAA-2013J")


def _row_error(batch: Batch, row: int, course: str | None, date: str) -> InvalidEvent:
    if not abs(batch.numbers("student")[row]) <= MAX_ID:
        return batch.cell_error(row, "student", "user_id")
    if np.isnan(_start(course)):
        return _no_start(course)
    return batch.cell_error(row, date, "time")


def _row_numbers(courses: list[str | None], counts: Counter[str | None]) -> list[int]:
    """Number the rows of each course, continuing from the counts."""
    numbers = []
    for course in courses:
        numbers.append(counts[course])
        counts[course] += 1
    return numbers


def _whole_numbers(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return valid numbers unchanged, and 0 for invalid ones."""
    return np.where(np.abs(numbers) <= MAX_ID, numbers, 0.0)
