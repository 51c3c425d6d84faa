"""A store on disk: one RocksDB per partition, complete up to a position of the changelog that it records.

Only acknowledged values are saved, in one batch with the position. Unacknowledged values stay in memory. However the
worker ends, the folder is a prefix of the changelog, and a restart reads on from there. RocksDB's write-ahead log is
off, because the changelog serves as one: after a crash, the last few megabytes are read again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteOptions

from streams.clock import wall

MAX_AGE = 12 * 3_600.0
"""Seconds. An older folder is recovered anew: compaction keeps tombstones for a day; no deleted key may return."""
_MAX_BATCH = 1_000
_SAVE_INTERVAL = 60.0
_POSITION = b"\0position"
_position = struct.Struct("<qId")


class StoreError(Exception):
    """The folder cannot be used; the message says why."""


class RocksDBStore:
    """Values in a RocksDB.

    Raises:
        StoreError: another worker uses the folder, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.position = -1
        self.fence = 0
        self._unacknowledged: dict[bytes, tuple[bytes | None, int]] = {}
        self._to_save: dict[bytes, bytes | None] = {}
        self._saved_at = wall()
        self._closed = False
        self._db = _open(folder)
        found = self._db.get(_POSITION)
        if found is not None and wall() - _position.unpack(found)[2] > MAX_AGE:
            self._db.close()
            Rdict.destroy(str(folder), _options())
            self._db = _open(folder)
        elif found is not None:
            self.position, self.fence, self._saved_at = _position.unpack(found)

    def get(self, key: bytes) -> bytes | None:
        """Return the newest value of a key."""
        if key in self._unacknowledged:
            return self._unacknowledged[key][0]
        if key in self._to_save:
            return self._to_save[key]
        found: bytes | None = self._db.get(key)
        return found

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key with its newest value."""
        self._save()
        for key, value in self._db.items():
            if key not in self._unacknowledged and key != _POSITION:
                yield key, value  # type: ignore[misc]  # raw mode: all keys are bytes
        for key, (value, _) in self._unacknowledged.items():
            if value is not None:
                yield key, value

    def put(self, key: bytes, value: bytes | None) -> None:
        """Keep a value in memory until it is acknowledged."""
        _, count = self._unacknowledged.get(key, (None, 0))
        self._unacknowledged[key] = value, count + 1

    def acknowledge(self, key: bytes, value: bytes | None) -> None:
        """Add a value to the next batch. Later values of the key stay in memory."""
        self._to_save[key] = value
        newest, count = self._unacknowledged.pop(key, (None, 0))
        if count > 1:
            self._unacknowledged[key] = newest, count - 1

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Add a recovered value to the next batch."""
        self._unacknowledged.pop(key, None)
        self._to_save[key] = value

    def advance(self, position: int) -> None:
        """Note the position, and save a batch from time to time."""
        self.position = position
        if not self._closed and (len(self._to_save) >= _MAX_BATCH or wall() - self._saved_at > _SAVE_INTERVAL):
            self._save()

    def rollback(self) -> None:
        """Drop unacknowledged values."""
        self._unacknowledged.clear()

    def close(self) -> None:
        """Save what is acknowledged and release the folder. Its next user reads later values from the changelog."""
        self._unacknowledged.clear()
        self._save()
        self._closed = True
        self._db.flush()
        self._db.close()

    def _save(self) -> None:
        self._saved_at = wall()
        batch = WriteBatch(raw_mode=True)
        for key, value in self._to_save.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(_POSITION, _position.pack(self.position, self.fence, self._saved_at))
        self._db.write(batch, _without_wal())
        self._to_save.clear()


def _open(folder: Path) -> Rdict:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Rdict(str(folder), _options())
    except Exception as error:  # noqa: BLE001 - rocksdict raises nothing more specific
        if "lock" in str(error).lower():
            raise StoreError(f"{folder} is in use: each worker needs a data_folder of its own") from None
        raise StoreError(
            f"{folder} cannot be opened ({error}); delete it, and the worker reads everything from the changelog"
        ) from None


def _options() -> Options:
    """Return options for many small databases in one process. The defaults suit few large ones."""
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
def _without_wal() -> WriteOptions:
    options = WriteOptions()
    options.disable_wal = True  # type: ignore[method-assign, assignment]  # declared as a method, and is none
    return options
