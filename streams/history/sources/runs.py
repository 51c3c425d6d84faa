"""Sorted runs of entries on disk, and their merging: the disk part of an external merge sort.

A run is a file without a name, so it disappears however the program ends. It consists of blocks of items. A block holds
the number of items and the size of their events, then times, sources, positions and sizes, then the events as JSON.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import operator
import struct
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self, TypeAlias

import msgspec

from models.schema import events as ev
from streams.errors import OperatorError

Item: TypeAlias = tuple[float, int, int, bytes]
"""Time, source and position, which define the order, and the encoded event. The event is encoded because a hundred
thousand decoded events cost the garbage collector more time than reading them.
"""
Decoded: TypeAlias = tuple[float, int, int, ev.AnyEvent]
"""The same with the decoded event."""

BLOCK = 512
"""Items in a block. One block of each run is in memory while runs are merged."""
MAX_RUNS = 128
"""This many runs are merged into one, so that open files and held blocks stay bounded."""

_HEADER = struct.Struct("<qq")
_decoder: msgspec.json.Decoder[list[ev.AnyEvent]] = msgspec.json.Decoder(
    list[functools.reduce(operator.or_, ev.KINDS.values())]  # type: ignore[misc]
)


class Block(NamedTuple):
    """Some items, column by column; `body` holds their events."""

    times: array[float]
    sources: array[int]
    positions: array[int]
    sizes: array[int]
    body: bytes


class Runs:
    """Runs that exist until this object is left.

    Args:
        folder: for the files; the system's default for temporary files if left out.
        max_runs: how many runs of a level are merged into one.
    """

    def __init__(self, folder: Path | None = None, max_runs: int = MAX_RUNS) -> None:
        self._folder = folder
        self._max_runs = max_runs
        self._levels: list[list[IO[bytes]]] = []
        self._files = ExitStack()

    def add(self, items: Iterable[Item]) -> None:
        """Store a run of sorted items.

        Raises:
            OperatorError: the disk is full, or the folder is missing.
        """
        try:
            self._write_run(items, 0)
        except OSError as error:
            where = self._folder or tempfile.gettempdir()
            raise OperatorError(f"temporary files in {where}: {error.strerror}") from None

    def streams(self) -> list[Iterator[Decoded]]:
        """Return an iterator over each run, from its beginning."""
        return [_read_decoded(file) for level in self._levels for file in level]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def _write_run(self, items: Iterable[Item], level: int) -> None:
        if len(self._levels) == level:
            self._levels.append([])
        files = self._levels[level]
        file = self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115  (the stack closes it)
        _write_blocks(file, items)
        files.append(file)
        if len(files) == self._max_runs:
            self._write_run(heapq.merge(*map(_read_encoded, files)), level + 1)
            for merged in files:
                merged.close()
            files.clear()


def _write_blocks(file: IO[bytes], items: Iterable[Item]) -> None:
    left = iter(items)
    while block := list(itertools.islice(left, BLOCK)):
        times, sources, positions, events = zip(*block, strict=True)
        body = b"".join(events)
        file.write(_HEADER.pack(len(block), len(body)))
        for column in (array("d", times), array("q", sources), array("q", positions), array("q", map(len, events))):
            file.write(column.tobytes())
        file.write(body)


def _blocks(file: IO[bytes]) -> Iterator[Block]:
    file.seek(0)
    while header := file.read(_HEADER.size):
        count, size = _HEADER.unpack(header)
        times = array("d", file.read(8 * count))
        sources, positions, sizes = (array("q", file.read(8 * count)) for _ in range(3))
        yield Block(times, sources, positions, sizes, file.read(size))


def _events(block: Block) -> list[bytes]:
    ends = list(itertools.accumulate(block.sizes, initial=0))
    return [block.body[begin:end] for begin, end in itertools.pairwise(ends)]


def _read_encoded(file: IO[bytes]) -> Iterator[Item]:
    for block in _blocks(file):
        yield from zip(block.times, block.sources, block.positions, _events(block), strict=True)


def _read_decoded(file: IO[bytes]) -> Iterator[Decoded]:
    for block in _blocks(file):
        events = _decoder.decode(b"[" + b",".join(_events(block)) + b"]")
        yield from zip(block.times, block.sources, block.positions, events, strict=True)
