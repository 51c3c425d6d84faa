"""History sources: files, topics and published data sets. All give numbered events."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from streams.agents.ingest.mapping_file import load_mapping
from streams.errors import OperatorError
from streams.history.sources.kafka import KafkaTopic
from streams.history.sources.lines import JsonLines
from streams.history.sources.source import HistoryEntry, HistorySource, UnusableEntry
from streams.runtime import require_library
from streams.settings import Settings

__all__ = ["HistoryEntry", "HistorySource", "UnusableEntry", "open_source"]

DATA_SETS = ("oulad", "completejourney", "onlineretail", "cdnow")
"""The prefixes of published data sets. The path of their files follows after the colon."""
KAFKA = "kafka"


def open_source(spec: str, settings: Settings | None = None, mapping: Path | None = None) -> HistorySource:
    """Open a source by its name. Nothing but its existence is checked yet.

    Args:
        spec: a file of JSON Lines (plain, gzip or zstd; `-` is standard input), `oulad:FOLDER`,
            `completejourney:FOLDER`, `onlineretail:FOLDER`, `cdnow:FILE` or `kafka:TOPIC`.
        settings: where Kafka is, and the maximum size of a record; the defaults if left out.
        mapping: a mapping file (`streams.agents.ingest.mapping`) for JSON Lines and topics with foreign objects.

    Raises:
        OperatorError: there is no such source; one line that says why.
    """
    chosen = settings or Settings()
    kind, colon, rest = spec.partition(":")
    if colon and kind in DATA_SETS:
        if mapping is not None:
            raise OperatorError(f"{mapping}: a mapping file is for JSON Lines and topics; {kind} has its own")
        return _open_data_set(kind, rest)
    event_mapping = None if mapping is None else load_mapping(mapping)
    if colon and kind == KAFKA:
        return KafkaTopic(rest, chosen, event_mapping)
    if colon and re.fullmatch(r"[a-z]{2,}", kind) and not Path(spec).exists():
        known = [*DATA_SETS, KAFKA]
        matches = difflib.get_close_matches(kind, known, 1)
        hint = f"did you mean {matches[0]}?" if matches else f"use {', '.join(known)}, or a file of JSON Lines"
        raise OperatorError(f"{spec}: {kind} is not a kind of source; {hint}")
    return JsonLines(spec, chosen, event_mapping)


def _open_data_set(kind: str, path: str) -> HistorySource:
    """Open a published data set. Its reader is imported only here, because it needs pyarrow."""
    require_library("pyarrow", f"{kind}:{path}")
    from streams.history.sources.cdnow import Cdnow
    from streams.history.sources.complete_journey import CompleteJourney
    from streams.history.sources.online_retail import OnlineRetail
    from streams.history.sources.oulad import Oulad

    sources: dict[str, Callable[[str], HistorySource]] = {
        "oulad": Oulad,
        "completejourney": CompleteJourney,
        "onlineretail": OnlineRetail,
        "cdnow": Cdnow,
    }
    return sources[kind](path)
