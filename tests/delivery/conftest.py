"""The ways to run a worker, in each of which delivery has to hold: engine fast and plain, people in memory and on disk.

Short tests run all four. Long ones run the two that differ in both; with ENCORE_TEST_WAYS=all they run all four, too.
"""

from __future__ import annotations

import os

import pytest

ALL = [("fast", "memory"), ("plain", "rocksdb"), ("fast", "rocksdb"), ("plain", "memory")]
LONG = ALL if os.environ.get("ENCORE_TEST_WAYS") == "all" else ALL[:2]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `way` or `any_way` once for each of them."""
    for fixture, ways in (("way", LONG), ("any_way", ALL)):
        if fixture in metafunc.fixturenames:
            named = [pytest.param({"engine": engine, "store": store}, id=f"{engine}-{store}") for engine, store in ways]
            metafunc.parametrize(fixture, named)
