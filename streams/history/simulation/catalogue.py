"""The courses that the simulated platform sells."""

from __future__ import annotations

from typing import NamedTuple


class SimulatedCourse(NamedTuple):
    """A course: its id, its number of lessons, its price, and its field."""

    id: str
    lessons: int
    price: float
    field: str


COURSES: tuple[SimulatedCourse, ...] = (
    SimulatedCourse("bread-baking", 10, 29.0, "kitchen"),
    SimulatedCourse("watercolour", 12, 39.0, "arts"),
    SimulatedCourse("python-first-steps", 16, 59.0, "data"),
    SimulatedCourse("sql-for-everybody", 12, 49.0, "data"),
    SimulatedCourse("statistics-by-hand", 18, 69.0, "data"),
    SimulatedCourse("machine-learning", 24, 129.0, "data"),
    SimulatedCourse("spanish-a1", 20, 79.0, "words"),
    SimulatedCourse("spanish-a2", 20, 79.0, "words"),
    SimulatedCourse("italian-cooking", 8, 35.0, "kitchen"),
    SimulatedCourse("guitar-chords", 14, 45.0, "arts"),
    SimulatedCourse("music-theory", 16, 55.0, "arts"),
    SimulatedCourse("night-photography", 9, 42.0, "arts"),
    SimulatedCourse("drawing-faces", 12, 39.0, "arts"),
    SimulatedCourse("better-writing", 10, 49.0, "words"),
    SimulatedCourse("speaking-in-public", 8, 65.0, "words"),
    SimulatedCourse("first-time-manager", 12, 99.0, "work"),
    SimulatedCourse("bookkeeping", 15, 89.0, "work"),
    SimulatedCourse("investing-calmly", 11, 59.0, "work"),
    SimulatedCourse("history-of-rome", 22, 35.0, "leisure"),
    SimulatedCourse("astronomy", 18, 45.0, "leisure"),
    SimulatedCourse("garden-year", 12, 29.0, "kitchen"),
    SimulatedCourse("yoga-at-home", 10, 25.0, "leisure"),
    SimulatedCourse("sleep-better", 7, 25.0, "leisure"),
    SimulatedCourse("chess-openings", 14, 39.0, "leisure"),
)
FIELDS: tuple[str, ...] = tuple(dict.fromkeys(course.field for course in COURSES))
