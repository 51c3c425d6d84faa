"""Runs of the same job on every engine, over the same log: ours, Quix Streams, Bytewax."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from streams.kafka import topics
from streams.kafka.topics import partition_of
from streams.operation import campaigns
from tests.benchmarks import rig, workload
from tests.benchmarks.rig import MAX_MEMORY, Measured, RecordToWrite, Sample
from tests.benchmarks.stage import BenchmarkDeployment, Filled
from tests.harness.process import CHECKOUT

PEERS = ("quix", "bytewax")


class Peer(Measured):
    """Another engine at the same job, on the stage's log."""

    def __init__(self, stage: BenchmarkDeployment, engine: str, python: str) -> None:
        folder = stage.folder / engine
        folder.mkdir()
        self.progress = folder / "progress"
        self.progress.touch()
        snapshot, campaign, task = folder / "snapshot", folder / "campaign", folder / "task"
        snapshot.write_bytes(stage.crowd.snapshot)
        campaign.write_bytes(campaigns.encode_campaign(stage.crowd.campaign))
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
        command = [python, "-m", f"tests.benchmarks.{engine}_job", str(task)]
        super().__init__(command, os.environ, folder / "log", stage.cores.engine, MAX_MEMORY)

    def applied(self) -> float:
        """Return how many events it says it has applied."""
        lines = self.progress.read_text().splitlines()
        return float(json.loads(lines[-1])[0]) if lines else 0.0

    def own(self) -> list[Sample]:
        """Return what it noted of itself: exact counts with its own CPU time.

        Raises:
            RuntimeError: it rejected records, of which the log holds none to be rejected: it did another job.
        """
        noted = [json.loads(line) for line in self.progress.read_text().splitlines()]
        if noted[-1][3]:
            raise RuntimeError(f"{noted[-1][3]} records of the peers' log were rejected")
        rss = self.sample(0).rss
        return [Sample(events, at, cpu, rss) for events, at, cpu, _ in noted]


def fill(stage: BenchmarkDeployment, people: int, events: int) -> Filled:
    """Write the peers' log: everybody's state first, since they cannot recover a changelog of ours, then the events."""
    pack = msgspec.msgpack.Encoder().encode

    def states() -> Iterator[RecordToWrite]:
        for number in range(people):
            key = workload.user_id_of(number).encode()
            yield RecordToWrite(
                partition_of(key, stage.partitions), key, pack(stage.crowd.person(number)), stage.crowd.start
            )

    rig.fill(stage.broker.bootstrap, stage.settings.prefix + topics.EVENTS, states())
    return stage.log(people, events)


def peers_python(given: str | None = None) -> str | None:
    """Return the interpreter of the environment that the peers live in, if it is there."""
    named = given or os.environ.get("BENCH_PEERS") or str(CHECKOUT / ".venv-peers" / "bin" / "python")
    return named if Path(named).exists() else None
