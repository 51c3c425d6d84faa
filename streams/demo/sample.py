"""How the sample of real history was made, so that it can be made again.

    python -m streams.demo.sample oulad:FOLDER streams/demo/sample.jsonl.gz

What is in it and what was changed stands in SAMPLE.md.
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

PART = {"BBB-2013J": 200, "GGG-2013J": 120}
"""How many students of which courses are in it."""
START = datetime(2013, 10, 1, tzinfo=UTC).timestamp()
EARLIEST = START - 60 * DAY
"""Who registered before this is left out: their long wait would make the demo's first weeks empty."""


def chosen(source: HistorySource) -> dict[str, set[str]]:
    """Return the people that are in the sample, by course: of all who could be, those with the smallest hash."""
    students: dict[str, set[str]] = {course: set() for course in PART}
    for entry in source:
        event = entry.event if isinstance(entry, HistoryEntry) else None
        if isinstance(event, ev.Learning):
            break  # the data set gives all registrations before the first click
        if isinstance(event, ev.Purchase) and event.course_id in PART and event.time >= EARLIEST:
            students[event.course_id].add(event.user_id)
    return {course: set(sorted(students[course], key=_hash)[:many]) for course, many in PART.items()}


def sample(source: HistorySource) -> list[ev.Event]:
    """Return all that these people did in these courses, sorted by time."""
    people = chosen(source)
    entries = [entry for entry in source if isinstance(entry, HistoryEntry) and _is_in(entry.event, people)]
    ordered = sorted(entries, key=lambda entry: (entry.event.time, entry.position))
    return [entry.event for entry in ordered if isinstance(entry.event, ev.Event)]


def main(arguments: list[str]) -> int:
    """Write the sample; return the exit code."""
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
    click.echo(f"{len(events):,} events of {len({event.user_id for event in events})} people")
    return 0


def _is_in(event: ev.AnyEvent, people: dict[str, set[str]]) -> bool:
    course = getattr(event, "course_id", None)
    return isinstance(event, ev.Event) and event.user_id in people.get(course or "", ())


def _hash(person: str) -> bytes:
    student = person.removeprefix("oulad-")
    return hashlib.blake2b(f"sample {student}".encode(), digest_size=8).digest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
