"""Threads of the numeric libraries: matrices here are small, and threads that wait for each other cost more than they
give, many times as much where the cores are shared.
"""

from __future__ import annotations

import importlib
from typing import Any


def one_thread() -> Any:
    """Have what is loaded by now (numpy's BLAS, scikit-learn's OpenMP) use one thread, from now on or within `with`."""
    return importlib.import_module("threadpoolctl").threadpool_limits(1)
