"""Sorted runs of entries on disk, and what they are merged from: the outer half of an external merge sort.

A run is a file without a name, so that nothing stays of it however the program ends. It holds blocks of items: how
many they are and how many bytes their events have, then their times, sources, positions and lengths, then their
events, as JSON behind one another.
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
"""Time, source and position, by which items are ordered, and the encoded event. Bytes, since a hundred thousand typed
events held at once cost the garbage collector more time than reading them does."""
Decoded: TypeAlias = tuple[float, int, int, ev.AnyEvent]
"""The same with the event itself."""

BLOCK = 512
"""Items in a block, which is what is held of each run while runs are merged."""
FAN = 128
"""As many runs become one, so that neither open files nor held blocks grow with the number of events."""

_HEAD = struct.Struct("<qq")
_decoder: msgspec.json.Decoder[list[ev.AnyEvent]] = msgspec.json.Decoder(
    list[functools.reduce(operator.or_, ev.KINDS.values())]  # type: ignore[misc]
)


class Block(NamedTuple):
    """Some items, column by column; the body is their events."""

    times: array[float]
    sources: array[int]
    positions: array[int]
    sizes: array[int]
    body: bytes


class Runs:
    """Runs that are kept until it is left.

    Args:
        folder: where the files are; the system's place for temporary files if left out.
        fan: how many runs there may be of a kind before they become one.
    """

    def __init__(self, folder: Path | None = None, fan: int = FAN) -> None:
        self._folder = folder
        self._fan = fan
        self._levels: list[list[IO[bytes]]] = []
        self._open = ExitStack()

    def add(self, items: Iterable[Item]) -> None:
        """Keep a run; the items come sorted.

        Raises:
            OperatorError: the disk is full, or the folder is missing.
        """
        try:
            self._keep(items, 0)
        except OSError as error:
            where = self._folder or tempfile.gettempdir()
            raise OperatorError(f"temporary files in {where}: {error.strerror}") from None

    def streams(self) -> list[Iterator[Decoded]]:
        """Return what each run holds, from its beginning."""
        return [_decoded(file) for level in self._levels for file in level]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _keep(self, items: Iterable[Item], level: int) -> None:
        if len(self._levels) == level:
            self._levels.append([])
        files = self._levels[level]
        file = self._open.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115  (the stack closes it)
        _write(file, items)
        files.append(file)
        if len(files) == self._fan:
            self._keep(heapq.merge(*map(_encoded, files)), level + 1)
            for done in files:
                done.close()
            files.clear()


def _write(file: IO[bytes], items: Iterable[Item]) -> None:
    left = iter(items)
    while block := list(itertools.islice(left, BLOCK)):
        times, sources, positions, events = zip(*block, strict=True)
        body = b"".join(events)
        file.write(_HEAD.pack(len(block), len(body)))
        for column in (array("d", times), array("q", sources), array("q", positions), array("q", map(len, events))):
            file.write(column.tobytes())
        file.write(body)


def _blocks(file: IO[bytes]) -> Iterator[Block]:
    file.seek(0)
    while head := file.read(_HEAD.size):
        count, size = _HEAD.unpack(head)
        times = array("d", file.read(8 * count))
        sources, positions, sizes = (array("q", file.read(8 * count)) for _ in range(3))
        yield Block(times, sources, positions, sizes, file.read(size))


def _events(block: Block) -> list[bytes]:
    ends = list(itertools.accumulate(block.sizes, initial=0))
    return [block.body[begin:end] for begin, end in itertools.pairwise(ends)]


def _encoded(file: IO[bytes]) -> Iterator[Item]:
    for block in _blocks(file):
        yield from zip(block.times, block.sources, block.positions, _events(block), strict=True)


def _decoded(file: IO[bytes]) -> Iterator[Decoded]:
    for block in _blocks(file):
        events = _decoder.decode(b"[" + b",".join(_events(block)) + b"]")
        yield from zip(block.times, block.sources, block.positions, events, strict=True)
