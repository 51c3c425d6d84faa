"""A worker looks for cyclic garbage seldom, and still finds it."""

import gc

from streams.runtime import GEN0_THRESHOLD, tune_gc


class Knot:
    """Something that holds itself."""

    def __init__(self, gone: list[int]) -> None:
        self.itself = self
        self.gone = gone

    def __del__(self) -> None:
        self.gone.append(1)


def test_cycles_are_found_and_what_stands_is_left_alone() -> None:
    """What was there before is never searched again; what is made and dropped later is, after many objects."""
    before = gc.get_threshold()
    try:
        tune_gc()
        assert gc.get_freeze_count() > 0
        gone: list[int] = []
        for _ in range(GEN0_THRESHOLD // 2):
            Knot(gone)
        assert not gone
        for _ in range(2 * GEN0_THRESHOLD):
            Knot(gone)
        assert gone
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
