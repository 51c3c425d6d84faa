"""JSON Lines: one event per line, plain, gzip or zstd, from a file or from standard input."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from streams.agents.ingest.mapping import EventMapping
from streams.errors import OperatorError
from streams.history.sources.reader import Reader
from streams.history.sources.source import HistoryEntry, UnusableEntry
from streams.runtime import require_library
from streams.settings import Settings

STANDARD_INPUT = "-"
BLOCK_BYTES = 1 << 17
"""The most bytes of one read."""
_GZIP, _ZSTD, _BYTE_ORDER_MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"


class JsonLines:
    """A file of JSON Lines. Positions are line numbers from 0; an empty line has a number but no entry.

    The first bytes determine the compression, not the name.
    """

    has_log_time = False

    def __init__(self, path: str, settings: Settings, mapping: EventMapping | None = None) -> None:
        self.name = path
        self.repeatable = path != STANDARD_INPUT and not _is_pipe(path)
        self._settings = settings
        self._mapping = mapping
        self._reader = Reader(settings, mapping)

    @property
    def skipped(self) -> int:
        """How many lines the mapping file has left out."""
        return self._reader.skipped

    def __iter__(self) -> Iterator[HistoryEntry | UnusableEntry]:
        self._reader = reader = Reader(self._settings, self._mapping)
        try:
            with ExitStack() as stack:
                for position, lines in _blocks(_open(self.name, stack), self._settings.max_record_bytes):
                    if not position:
                        lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
                    yield from reader.read_lines(position, lines)
        except (OSError, EOFError, zlib.error) as error:
            raise OperatorError(f"{self.name}: {getattr(error, 'strerror', None) or error}") from None

    def describe_position(self, position: int) -> str:
        """Return the line number, counted from 1 as in an editor."""
        return f"line {position + 1}"


def _is_pipe(path: str) -> bool:
    """Return whether a path can be read only once.

    Raises:
        OperatorError: the path does not exist, or is a folder.
    """
    file = Path(path)
    if file.is_dir():
        raise OperatorError(f"{path}: is a folder; put the data set's name before it, such as oulad:{path}")
    if not file.exists():
        raise OperatorError(f"{path}: no such file")
    return not file.is_file()


def _open(path: str, stack: ExitStack) -> IO[bytes]:
    file = sys.stdin.buffer
    if path != STANDARD_INPUT:
        file = stack.enter_context(Path(path).open("rb"))  # noqa: SIM115  (the stack closes it)
    magic = cast(io.BufferedReader, file).peek(4)[:4]
    if magic.startswith(_GZIP):
        return cast(IO[bytes], stack.enter_context(gzip.open(file)))
    if magic == _ZSTD:
        pa = require_library("pyarrow", f"{path}: zstd compression")
        return io.BufferedReader(stack.enter_context(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")))
    return file


def _blocks(file: IO[bytes], max_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield many lines at a time, with the number of the first one. Lines over `max_bytes` may be cut."""
    position, rest = 0, b""
    while data := cast(io.BufferedReader, file).read1(BLOCK_BYTES):
        lines = data.split(b"\n")
        lines[0] = rest + lines[0]
        rest = lines.pop()[: max_bytes + 2]
        if lines:
            yield position, lines
            position += len(lines)
    if rest:
        yield position, [rest]
