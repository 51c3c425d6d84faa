"""The Python process: its garbage collector, the threads of numeric libraries, and optional libraries."""

from __future__ import annotations

import gc
import importlib
from typing import Any

from streams.errors import OperatorError

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


def require_library(name: str, purpose: str) -> Any:
    """Import a library of the extra `evaluation`.

    Args:
        name: of the module, such as `pyarrow`.
        purpose: what needs it, as the subject of the error message.

    Returns:
        The module.

    Raises:
        OperatorError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise OperatorError(f"{purpose} needs {name.partition('.')[0]}: pip install 'encore[evaluation]'") from None
