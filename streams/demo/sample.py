"""Creates the sample of real history again, from the published data set.

    python -m streams.demo.sample oulad:FOLDER streams/demo/sample.jsonl.gz

SAMPLE.md describes what the sample contains and what was changed.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from models.person.activity import DAY
from models.schema import event_codec
from models.schema import events as ev
from streams.errors import OperatorError
from streams.history.sources import HistoryEntry, HistorySource, open_source

STUDENTS = {"BBB-2013J": 200, "GGG-2013J": 120}
"""How many students of each course are in the sample."""
START = datetime(2013, 10, 1, tzinfo=UTC).timestamp()
EARLIEST = START - 60 * DAY
"""Students who registered before this are left out: their long wait would leave the demo's first weeks empty."""


def chosen_students(source: HistorySource) -> dict[str, set[str]]:
    """Return the students of the sample by course: of all candidates, those with the smallest hash."""
    students: dict[str, set[str]] = {course: set() for course in STUDENTS}
    for entry in source:
        event = entry.event if isinstance(entry, HistoryEntry) else None
        if isinstance(event, ev.Learning):
            break  # the data set lists all registrations before the first click
        if isinstance(event, ev.Purchase) and event.course_id in STUDENTS and event.time >= EARLIEST:
            students[event.course_id].add(event.user_id)
    return {course: set(sorted(students[course], key=_hash)[:count]) for course, count in STUDENTS.items()}


def sample(source: HistorySource) -> list[ev.Event]:
    """Return all events of these students in these courses, sorted by time."""
    users = chosen_students(source)
    entries = [entry for entry in source if isinstance(entry, HistoryEntry) and _is_in(entry.event, users)]
    ordered = sorted(entries, key=lambda entry: (entry.event.time, entry.position))
    return [entry.event for entry in ordered if isinstance(entry.event, ev.Event)]


def main(arguments: list[str]) -> int:
    """Write the sample, and return the exit code."""
    if len(arguments) != 2:
        click.echo("usage: python -m streams.demo.sample oulad:FOLDER OUT", err=True)
        return 2
    try:
        events = sample(open_source(arguments[0]))
        lines = b"".join(event_codec.encode(event) + b"\n" for event in events)
        Path(arguments[1]).write_bytes(gzip.compress(lines, mtime=0))
    except (OperatorError, OSError) as error:
        click.echo(f"{error}", err=True)
        return 2
    click.echo(f"{len(events):,} events of {len({event.user_id for event in events})} users")
    return 0


def _is_in(event: ev.AnyEvent, users: dict[str, set[str]]) -> bool:
    course = getattr(event, "course_id", None)
    return isinstance(event, ev.Event) and event.user_id in users.get(course or "", ())


def _hash(user: str) -> bytes:
    student = user.removeprefix("oulad-")
    return hashlib.blake2b(f"sample {student}".encode(), digest_size=8).digest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
