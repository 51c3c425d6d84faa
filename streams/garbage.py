"""Python's search for cyclic garbage, set for a process that makes and drops many objects and few cycles.

As it comes, it looks for cycles after every 700 objects more, again and again through whatever waits for Kafka: a
quarter of ingest's time. People and events are not looked through at all, since nothing in them can form a cycle.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Objects more than at the last search after which the young ones are searched."""


def search_seldom() -> None:
    """Search seldom from now on, and never again through what stands already."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
