"""Real data for tests: the folder that ENCORE_TEST_DATA names, or shared/data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("ENCORE_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def folder(name: str) -> Path:
    """A data set's folder; the test is skipped where it is missing."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no data: {DATA / name} is missing (ENCORE_TEST_DATA names another folder)")
    return DATA / name
