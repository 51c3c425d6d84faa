"""A worker searches for cyclic garbage rarely, and still finds it."""

import gc

from streams.runtime import GEN0_THRESHOLD, tune_gc


class SelfReference:
    """An object that refers to itself."""

    def __init__(self, deleted: list[int]) -> None:
        self.itself = self
        self.deleted = deleted

    def __del__(self) -> None:
        self.deleted.append(1)


def test_new_cycles_are_found_and_existing_objects_are_not_searched() -> None:
    """Existing objects are never searched again. New cycles are found after many new objects."""
    before = gc.get_threshold()
    try:
        tune_gc()
        assert gc.get_freeze_count() > 0
        deleted: list[int] = []
        for _ in range(GEN0_THRESHOLD // 2):
            SelfReference(deleted)
        assert not deleted
        for _ in range(2 * GEN0_THRESHOLD):
            SelfReference(deleted)
        assert deleted
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
