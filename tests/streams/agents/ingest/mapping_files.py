"""Mapping files for tests, and what becomes of an object."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from models.schema import events as ev
from models.schema.errors import InvalidEvent
from streams.agents.ingest.mapping import EventMapping
from streams.agents.ingest.mapping_file import load_mapping

BASE = '[fields]\nid = "n"\nuser_id = "u"\ntime = { from = "t", format = "seconds" }\n'
LOGIN = '[type]\nvalue = "login"\n' + BASE
PURCHASE = '[type]\nvalue = "purchase"\n' + BASE


def mapping(folder: Path, text: str) -> EventMapping:
    """Write a mapping file and load it."""
    file = folder / "own.toml"
    file.write_text(text)
    return load_mapping(file)


def mapped(folder: Path, text: str, **found: object) -> ev.AnyEvent | None:
    """Return what a mapping file makes of an object with an id, a user, a time and some other values."""
    return mapping(folder, text).decode(orjson.dumps({"n": 1, "u": 2, "t": 3, **found}))


def refused(folder: Path, text: str, **found: object) -> tuple[str, str | None]:
    """Return the reason and the field with which a mapping file's event is refused."""
    with pytest.raises(InvalidEvent) as bad:
        mapped(folder, text, **found)
    return bad.value.reason, bad.value.field
