"""Settings of the Python process: the garbage collector and the threads of the numeric libraries."""

from __future__ import annotations

import gc
import importlib
from typing import Any

GEN0_THRESHOLD = 50_000
"""New objects after which the collector searches the youngest generation. Python's default is 700."""


def tune_gc() -> None:
    """Run the cyclic garbage collector rarely, and never over the objects that exist now.

    With the default thresholds the collector took a quarter of the CPU time of ingest: it searched all records that
    waited for Kafka again and again. The state of users is not searched at all, because it cannot form cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GEN0_THRESHOLD, 20, 20)


def limit_blas_threads() -> Any:
    """Limit the thread pools loaded so far (BLAS, OpenMP) to one thread, permanently or as a context manager.

    The matrices here are small. On shared cores, threads that wait for each other cost many times what they gain.
    """
    return importlib.import_module("threadpoolctl").threadpool_limits(1)
