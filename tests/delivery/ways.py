"""The ways to run a worker, in each of which delivery has to hold: engine fast or plain, users in memory or in RocksDB.

The engine `plain` writes every change at once, takes records one by one and recovers with Faust's own tables. That is
little code of its own. So it runs in the short tests, and in one long test; both stores run in all tests that depend
on the store. With ENCORE_TEST_WAYS=all every test runs in all four ways.
"""

from __future__ import annotations

import os

import pytest

Way = dict[str, str]
"""The settings of a way."""
WAYS: dict[str, Way] = {
    f"{engine}-{store}": {"engine": engine, "store": store}
    for engine in ("fast", "plain")
    for store in ("memory", "rocksdb")
}
BOTH_STORES = ("fast-memory", "fast-rocksdb")


def ways(*names: str) -> pytest.MarkDecorator:
    """Run a test once for each of these ways, as its argument `way`."""
    wanted = tuple(WAYS) if os.environ.get("ENCORE_TEST_WAYS") == "all" else names
    return pytest.mark.parametrize("way", [pytest.param(WAYS[name], id=name) for name in wanted])
