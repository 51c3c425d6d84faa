"""People on disk: one RocksDB per partition, which at any time is the changelog up to a position that it knows.

Only what the changelog has is written to it, together with the position in one batch. So whatever ends the worker, the
folder is a beginning of the changelog, and a restart reads on from there. What is still on its way is held in memory.
RocksDB's own log is off, since the changelog is one: a crash costs the last few megabytes, which are read again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteOptions

from streams.clock import wall

FRESH = 12 * 3_600.0
"""How old a folder may be, in seconds: compaction keeps deletions for a day, and who was deleted must not come back."""
_BATCH = 1_000
_EVERY = 60.0
_POSITION = b"\0position"
_position = struct.Struct("<qId")


class StoreError(Exception):
    """The folder cannot be used; says why."""


class RocksDBStore:
    """Values in a RocksDB.

    Raises:
        StoreError: the folder is another worker's, or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.position = -1
        self.fence = 0
        self._ahead: dict[bytes, tuple[bytes | None, int]] = {}
        self._fresh: dict[bytes, bytes | None] = {}
        self._written = wall()
        self._closed = False
        self._db = _opened(folder)
        found = self._db.get(_POSITION)
        if found is not None and wall() - _position.unpack(found)[2] > FRESH:
            self._db.close()
            Rdict.destroy(str(folder), _options())
            self._db = _opened(folder)
        elif found is not None:
            self.position, self.fence, self._written = _position.unpack(found)

    def get(self, key: bytes) -> bytes | None:
        """Return the newest value of a key."""
        if key in self._ahead:
            return self._ahead[key][0]
        if key in self._fresh:
            return self._fresh[key]
        found: bytes | None = self._db.get(key)
        return found

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key with its newest value."""
        self._spill()
        for key, value in self._db.items():
            if key not in self._ahead and key != _POSITION:
                yield key, value  # type: ignore[misc]  # raw mode: all keys are bytes
        for key, (ahead, _) in self._ahead.items():
            if ahead is not None:
                yield key, ahead

    def put(self, key: bytes, value: bytes | None) -> None:
        """Hold a value in memory until the changelog has it."""
        _, under_way = self._ahead.get(key, (None, 0))
        self._ahead[key] = value, under_way + 1

    def arrived(self, key: bytes, value: bytes | None) -> None:
        """Take a value for the next batch; what was put behind it stays in memory."""
        self._fresh[key] = value
        newest, under_way = self._ahead.pop(key, (None, 0))
        if under_way > 1:
            self._ahead[key] = newest, under_way - 1

    def restored(self, key: bytes, value: bytes | None) -> None:
        """Take a value for the next batch."""
        self._ahead.pop(key, None)
        self._fresh[key] = value

    def reached(self, position: int) -> None:
        """Note how far the changelog is in here; from time to time, write it down."""
        self.position = position
        if not self._closed and (len(self._fresh) >= _BATCH or wall() - self._written > _EVERY):
            self._spill()

    def forget(self) -> None:
        """Take back what is not in the changelog."""
        self._ahead.clear()

    def close(self) -> None:
        """Write down what the changelog has, and set the folder free; what still arrives is read by its next user."""
        self._ahead.clear()
        self._spill()
        self._closed = True
        self._db.flush()
        self._db.close()

    def _spill(self) -> None:
        self._written = wall()
        batch = WriteBatch(raw_mode=True)
        for key, value in self._fresh.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_POSITION, _position.pack(self.position, self.fence, self._written))
        self._db.write(batch, _unlogged())
        self._fresh.clear()


def _opened(folder: Path) -> Rdict:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Rdict(str(folder), _options())
    except Exception as error:  # noqa: BLE001 - rocksdict raises nothing more specific
        if "lock" in str(error).lower():
            raise StoreError(f"{folder} is in use: each worker needs a data_folder of its own") from None
        raise StoreError(f"{folder} cannot be opened ({error}); without it, all is read from the changelog") from None


def _options() -> Options:
    """Return options for many small databases in one process: their defaults are for few large ones."""
    options, blocks = Options(raw_mode=True), BlockBasedOptions()
    options.set_write_buffer_size(8 << 20)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    blocks.set_block_cache(_cache())
    blocks.set_bloom_filter(10, False)
    options.set_block_based_table_factory(blocks)
    return options


@cache
def _cache() -> Cache:
    """Return the block cache, 64 MiB for all partitions together."""
    return Cache(64 << 20)


@cache
def _unlogged() -> WriteOptions:
    options = WriteOptions()
    options.disable_wal = True  # type: ignore[method-assign, assignment]  # declared as a method, and is none
    return options
