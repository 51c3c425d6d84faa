"""What the simulated platform sells."""

from __future__ import annotations

from typing import NamedTuple


class Course(NamedTuple):
    """A course: its id, how many lessons it has, and what it costs."""

    id: str
    lessons: int
    price: float


COURSES: tuple[Course, ...] = (
    Course("bread-baking", 10, 29.0),
    Course("watercolour", 12, 39.0),
    Course("python-first-steps", 16, 59.0),
    Course("sql-for-everybody", 12, 49.0),
    Course("statistics-by-hand", 18, 69.0),
    Course("machine-learning", 24, 129.0),
    Course("spanish-a1", 20, 79.0),
    Course("spanish-a2", 20, 79.0),
    Course("italian-cooking", 8, 35.0),
    Course("guitar-chords", 14, 45.0),
    Course("music-theory", 16, 55.0),
    Course("night-photography", 9, 42.0),
    Course("drawing-faces", 12, 39.0),
    Course("better-writing", 10, 49.0),
    Course("speaking-in-public", 8, 65.0),
    Course("first-time-manager", 12, 99.0),
    Course("bookkeeping", 15, 89.0),
    Course("investing-calmly", 11, 59.0),
    Course("history-of-rome", 22, 35.0),
    Course("astronomy", 18, 45.0),
    Course("garden-year", 12, 29.0),
    Course("yoga-at-home", 10, 25.0),
    Course("sleep-better", 7, 25.0),
    Course("chess-openings", 14, 39.0),
)
