"""Real data for tests, in the folder that ENCORE_TEST_DATA names; the default is ../shared/data of the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("ENCORE_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


def folder(name: str) -> Path:
    """Return the folder of a data set; skip the test if the folder does not exist."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no data: {DATA / name} is missing (ENCORE_TEST_DATA names another folder)")
    return DATA / name
