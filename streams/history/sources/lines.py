"""JSON Lines: one event a line, plain, gzip or zstd, from a file or from standard input."""

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
BLOCK = 1 << 17
"""Most bytes that are read at a time."""
_GZIP, _ZSTD, _MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"


class Lines:
    """A file of JSON Lines. Positions are line numbers from 0; empty lines count but hold nothing.

    How it is packed is told by its first bytes and not by its name.
    """

    logged = False

    def __init__(self, path: str, settings: Settings, mapping: EventMapping | None = None) -> None:
        self.name = path
        self.again = path != STANDARD_INPUT and not _is_pipe(path)
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
                for position, lines in _blocks(_opened(self.name, stack), self._settings.max_record_bytes):
                    if not position:
                        lines[0] = lines[0].removeprefix(_MARK)
                    yield from reader.read_lines(position, lines)
        except (OSError, EOFError, zlib.error) as error:
            raise OperatorError(f"{self.name}: {getattr(error, 'strerror', None) or error}") from None

    def where(self, position: int) -> str:
        """Return the line's number as an editor counts it."""
        return f"line {position + 1}"


def _is_pipe(path: str) -> bool:
    """Return whether a path can be read only once.

    Raises:
        OperatorError: there is nothing to be read.
    """
    file = Path(path)
    if file.is_dir():
        raise OperatorError(f"{path}: is a folder; put the data set's name before it, such as oulad:{path}")
    if not file.exists():
        raise OperatorError(f"{path}: no such file")
    return not file.is_file()


def _opened(path: str, stack: ExitStack) -> IO[bytes]:
    file = sys.stdin.buffer
    if path != STANDARD_INPUT:
        file = stack.enter_context(Path(path).open("rb"))  # noqa: SIM115  (the stack closes it)
    begin = cast(io.BufferedReader, file).peek(4)[:4]
    if begin.startswith(_GZIP):
        return cast(IO[bytes], stack.enter_context(gzip.open(file)))
    if begin == _ZSTD:
        pa = require_library("pyarrow", f"{path}: zstd compression")
        return io.BufferedReader(stack.enter_context(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")))
    return file


def _blocks(file: IO[bytes], most: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield lines, many at a time, with the number of the first; one longer than the most may miss some of the rest."""
    position, rest = 0, b""
    while data := cast(io.BufferedReader, file).read1(BLOCK):
        lines = data.split(b"\n")
        lines[0] = rest + lines[0]
        rest = lines.pop()[: most + 2]
        if lines:
            yield position, lines
            position += len(lines)
    if rest:
        yield position, [rest]
