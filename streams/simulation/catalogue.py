"""What the simulated platform sells."""

from __future__ import annotations

from typing import NamedTuple


class Course(NamedTuple):
    """A course: its id, how many lessons it has, what it costs, and the field it belongs to."""

    id: str
    lessons: int
    price: float
    field: str


COURSES: tuple[Course, ...] = (
    Course("bread-baking", 10, 29.0, "kitchen"),
    Course("watercolour", 12, 39.0, "arts"),
    Course("python-first-steps", 16, 59.0, "data"),
    Course("sql-for-everybody", 12, 49.0, "data"),
    Course("statistics-by-hand", 18, 69.0, "data"),
    Course("machine-learning", 24, 129.0, "data"),
    Course("spanish-a1", 20, 79.0, "words"),
    Course("spanish-a2", 20, 79.0, "words"),
    Course("italian-cooking", 8, 35.0, "kitchen"),
    Course("guitar-chords", 14, 45.0, "arts"),
    Course("music-theory", 16, 55.0, "arts"),
    Course("night-photography", 9, 42.0, "arts"),
    Course("drawing-faces", 12, 39.0, "arts"),
    Course("better-writing", 10, 49.0, "words"),
    Course("speaking-in-public", 8, 65.0, "words"),
    Course("first-time-manager", 12, 99.0, "work"),
    Course("bookkeeping", 15, 89.0, "work"),
    Course("investing-calmly", 11, 59.0, "work"),
    Course("history-of-rome", 22, 35.0, "leisure"),
    Course("astronomy", 18, 45.0, "leisure"),
    Course("garden-year", 12, 29.0, "kitchen"),
    Course("yoga-at-home", 10, 25.0, "leisure"),
    Course("sleep-better", 7, 25.0, "leisure"),
    Course("chess-openings", 14, 39.0, "leisure"),
)
FIELDS: tuple[str, ...] = tuple(dict.fromkeys(course.field for course in COURSES))
