"""Sorted runs of entries on disk, and what they are merged from: the outer half of an external merge sort.

A run is a file without a name, so that nothing stays of it however the program ends. It holds blocks: how many bytes
of JSON follow and how many entries, their sources and positions, and their events as one JSON array.
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
from typing import IO, Self, TypeAlias

import msgspec

from models import events as ev
from streams.admin import OperatorError

Item: TypeAlias = tuple[float, int, int, ev.AnyEvent]
"""Time, source and position, by which items are ordered, and the event; no two items have the first three alike."""

BLOCK = 512
"""Items in a block, which is what is held of each run while runs are merged."""
FAN = 128
"""As many runs become one, so that neither open files nor held blocks grow with the number of events."""

_HEAD = struct.Struct("<qq")
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[list[ev.AnyEvent]] = msgspec.json.Decoder(
    list[functools.reduce(operator.or_, ev.KINDS.values())]  # type: ignore[misc]
)


class Runs:
    """Runs that are kept until it is left.

    Args:
        folder: where the files are; the system's place for temporary files if left out.
        fan: how many runs there may be of a kind before they become one.

    Raises:
        OperatorError: by `add`, when the disk is full or the folder is missing.
    """

    def __init__(self, folder: Path | None = None, fan: int = FAN) -> None:
        self._folder = folder
        self._fan = fan
        self._levels: list[list[IO[bytes]]] = []
        self._open = ExitStack()

    def add(self, items: Iterable[Item]) -> None:
        """Keep a run; the items come sorted."""
        try:
            self._keep(items, 0)
        except OSError as error:
            raise OperatorError(
                f"temporary files in {self._folder or tempfile.gettempdir()}: {error.strerror}"
            ) from None

    def streams(self) -> list[Iterator[Item]]:
        """Return what each run holds, from its beginning."""
        return [_read(file) for level in self._levels for file in level]

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
            self._keep(heapq.merge(*map(_read, files)), level + 1)
            for merged in files:
                merged.close()
            files.clear()


def _write(file: IO[bytes], items: Iterable[Item]) -> None:
    left = iter(items)
    while block := list(itertools.islice(left, BLOCK)):
        body = _encoder.encode([item[3] for item in block])
        places = array("q", [number for item in block for number in item[1:3]])
        file.write(_HEAD.pack(len(body), len(block)))
        file.write(places.tobytes())
        file.write(body)


def _read(file: IO[bytes]) -> Iterator[Item]:
    file.seek(0)
    while head := file.read(_HEAD.size):
        size, count = _HEAD.unpack(head)
        places = array("q", file.read(16 * count))
        events = _decoder.decode(file.read(size))
        times = [event.time for event in events]
        yield from zip(times, places[::2], places[1::2], events, strict=True)
