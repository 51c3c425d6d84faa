"""Runs of the same job on other engines, over the same log: Quix Streams and Bytewax."""

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
from tests.benchmarks.deployment import BenchmarkDeployment, Filled
from tests.benchmarks.rig import MAX_MEMORY, Measured, RecordToWrite, Sample
from tests.harness.process import CHECKOUT

PEERS = ("quix", "bytewax")


class Peer(Measured):
    """Another engine with the same job, on the deployment's log."""

    def __init__(self, encore: BenchmarkDeployment, engine: str, python: str) -> None:
        folder = encore.folder / engine
        folder.mkdir()
        self.progress = folder / "progress"
        self.progress.touch()
        snapshot, campaign, task = folder / "snapshot", folder / "campaign", folder / "task"
        snapshot.write_bytes(encore.population.snapshot)
        campaign.write_bytes(campaigns.encode_campaign(encore.population.campaign))
        parameters = {
            "bootstrap": encore.broker.bootstrap,
            "prefix": encore.settings.prefix,
            "group": f"{encore.settings.group}-{engine}",
            "folder": str(folder / "state"),
            "snapshot": str(snapshot),
            "campaign": str(campaign),
            "progress": str(self.progress),
            "partitions": encore.partitions,
        }
        task.write_bytes(msgspec.json.encode(parameters))
        command = [python, "-m", f"tests.benchmarks.{engine}_job", str(task)]
        super().__init__(command, os.environ, folder / "log", encore.cores.engine, MAX_MEMORY)

    def applied(self) -> float:
        """Return how many events it has applied, by its own count."""
        lines = self.progress.read_text().splitlines()
        return float(json.loads(lines[-1])[0]) if lines else 0.0

    def own(self) -> list[Sample]:
        """Return the samples that it wrote itself: exact counts with its own CPU time.

        Raises:
            RuntimeError: it rejected records, although all records of the log are valid.
        """
        noted = [json.loads(line) for line in self.progress.read_text().splitlines()]
        if noted[-1][3]:
            raise RuntimeError(f"{noted[-1][3]} records of the peers' log were rejected")
        rss = self.sample(0).rss
        return [Sample(events, at, cpu, rss) for events, at, cpu, _ in noted]


def fill(encore: BenchmarkDeployment, people: int, events: int) -> Filled:
    """Write the peers' log: first all users' states, since peers cannot read Encore's changelog, then the events."""
    pack = msgspec.msgpack.Encoder().encode

    def states() -> Iterator[RecordToWrite]:
        for number in range(people):
            key = workload.user_id_of(number).encode()
            yield RecordToWrite(
                partition_of(key, encore.partitions),
                key,
                pack(encore.population.person(number)),
                encore.population.start,
            )

    rig.fill(encore.broker.bootstrap, encore.settings.prefix + topics.EVENTS, states())
    return encore.write_log(people, events)


def peers_python(given: str | None = None) -> str | None:
    """Return the interpreter of the peers' environment, or None."""
    named = given or os.environ.get("BENCH_PEERS") or str(CHECKOUT / ".venv-peers" / "bin" / "python")
    return named if Path(named).exists() else None
