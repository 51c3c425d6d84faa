"""(e) Memory a user, cold and hot, in a process of its own: `python -m tests.benchmarks.memory SEED COLD HOT`."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.person.person import next_due
from streams.agents.users import envelope as env
from streams.agents.users.envelope import Envelope
from streams.agents.users.store import UserStore
from streams.agents.users.timers import TimerQueue
from streams.state.partition import Pair
from tests.benchmarks import workload
from tests.benchmarks.rig import PAGE
from tests.benchmarks.workload import Population


def resident() -> int:
    """Return the memory of this process in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def measure(seed: int, cold: int, hot: int) -> dict[str, float]:
    """Return bytes a user: of the value alone, cold (with key and timer), and hot in addition to cold."""
    population = Population(seed)
    rules = population.context.rules
    people = UserStore(rules, hot, _nowhere)
    due = TimerQueue(people.due_of)
    before, values = resident(), 0
    for number in range(cold):
        person = population.person(number)
        key, value = person.id.encode(), env.encode_envelope(Envelope(person), 1, rules)
        people.restore(key, value)
        due.schedule(key, next_due(person, rules))
        values += len(value)
    after = resident()
    for number in range(hot):
        people.get(workload.user_id_of(number).encode())
    return {"value": values / cold, "cold": (after - before) / cold, "hot": (resident() - after) / hot}


def _nowhere(pairs: Sequence[Pair], after: asyncio.Future[Any] | None = None) -> asyncio.Future[Any]:
    raise AssertionError("people are held here, not written")


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:4]))))
