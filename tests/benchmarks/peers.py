"""Runs of the same job on every engine, over the same log: ours, Quix Streams, Bytewax."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import msgspec

from streams import campaigns, topics
from streams.topics import partition_of
from tests.benchmarks import rig, workload
from tests.benchmarks.rig import Engine, Outgoing, Sample
from tests.benchmarks.stage import Stage, with_ticks
from tests.benchmarks.workload import Happening

PEERS = ("quix", "bytewax")
END = 86_400.0
"""Seconds by which the last ticks go beyond the last event: time for what was due."""


class Peer(Engine):
    """Another engine at the same job, on the stage's log."""

    def __init__(self, stage: Stage, engine: str, python: str) -> None:
        folder = stage.folder / engine
        folder.mkdir()
        self.progress = folder / "progress"
        self.progress.touch()
        snapshot, campaign, task = folder / "snapshot", folder / "campaign", folder / "task"
        snapshot.write_bytes(stage.crowd.snapshot)
        campaign.write_bytes(campaigns.written(stage.crowd.campaign))
        told = {
            "bootstrap": stage.broker.bootstrap,
            "prefix": stage.settings.prefix,
            "group": f"{stage.settings.group}-{engine}",
            "folder": str(folder / "state"),
            "snapshot": str(snapshot),
            "campaign": str(campaign),
            "progress": str(self.progress),
            "partitions": stage.partitions,
        }
        task.write_bytes(msgspec.json.encode(told))
        environment = {**os.environ, "PYTHONPATH": str(rig.CHECKOUT)}
        command = [python, "-m", f"tests.benchmarks.{engine}_job", str(task)]
        super().__init__(command, environment, stage.cores, folder / "log")

    def applied(self) -> float:
        """Return how many events it says it has applied."""
        lines = self.progress.read_text().splitlines()
        return float(json.loads(lines[-1])[0]) if lines else 0.0

    def own(self) -> list[Sample]:
        """Return what it noted of itself: exact counts with its own CPU time."""
        noted = [json.loads(line) for line in self.progress.read_text().splitlines()]
        rss = self.sample(0).rss
        return [Sample(events, at, cpu, rss) for events, at, cpu in noted]


def seeded_log(stage: Stage, people: int, events: int) -> Iterator[Outgoing]:
    """Yield the peers' log: everybody's state first, since they have no changelog of ours to recover, then the events."""
    pack = msgspec.msgpack.Encoder().encode
    for number in range(people):
        key = workload.name_of(number).encode()
        place = partition_of(key, stage.partitions)
        yield Outgoing(place, key, pack(stage.crowd.person(number)), stage.crowd.start)
    yield from with_ticks(islice(stage.crowd.log(people), events), stage.partitions)


def fill(stage: Stage, records: Iterable[Outgoing]) -> None:
    """Write the log."""
    rig.fill(stage.broker.bootstrap, stage.settings.prefix + topics.EVENTS, records)


def peers_python(given: str | None = None) -> str | None:
    """Return the interpreter of the environment that the peers live in, if it is there."""
    named = given or os.environ.get("BENCH_PEERS") or str(rig.CHECKOUT / ".venv-peers" / "bin" / "python")
    return named if Path(named).exists() else None


__all__ = ["END", "PEERS", "Happening", "Peer", "chain", "fill", "peers_python", "seeded_log"]
