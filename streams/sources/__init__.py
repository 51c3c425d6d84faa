"""History sources: files, topics and published data sets, all read as numbered events."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from streams.admin import OperatorError
from streams.settings import Settings
from streams.sources.lines import Lines
from streams.sources.source import Entry, Source, Unusable

__all__ = ["Entry", "Source", "Unusable", "open_source"]

KINDS: dict[str, Callable[[str, Settings], Source]] = {}
"""The kinds of source by the word before the colon; each is given what stands behind it."""


def open_source(spec: str, settings: Settings | None = None, mapping: Path | None = None) -> Source:
    """Open what a person named as a source; nothing but its presence is checked yet.

    Args:
        spec: a file of JSON Lines (plain, gzip or zstd; `-` is standard input), `oulad:FOLDER`,
            `completejourney:FOLDER`, `onlineretail:FOLDER`, `cdnow:FILE` or `kafka:TOPIC`.
        settings: where Kafka is and how large a record may be; the defaults if left out.
        mapping: a mapping file (`streams.mapping`), for JSON Lines and topics that hold foreign objects.

    Raises:
        OperatorError: there is no such source; one line that says why.
    """
    chosen = settings or Settings()
    kind, colon, rest = spec.partition(":")
    if colon and kind in KINDS:
        return KINDS[kind](rest, chosen)
    if colon and re.fullmatch(r"[a-z]{2,}", kind) and not Path(spec).exists():
        near = difflib.get_close_matches(kind, KINDS, 1)
        hint = f"did you mean {near[0]}:?" if near else f"there are {', '.join(f'{known}:' for known in KINDS)}"
        raise OperatorError(f"{spec}: no such kind of source; {hint} Or give a file of JSON Lines")
    return Lines(spec, chosen)
