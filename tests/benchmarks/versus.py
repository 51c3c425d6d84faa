"""(c) The same job on every engine in turn, over the same people and events; nobody recommends courses meanwhile."""

from __future__ import annotations

from tests.benchmarks import peers, rig
from tests.benchmarks.figures import Report
from tests.benchmarks.peers import PEERS, Peer
from tests.benchmarks.rig import Cores, Throughput
from tests.benchmarks.stage import BenchmarkDeployment
from tests.benchmarks.working import NEARLY, WARM, measure_applying
from tests.benchmarks.workload import Population
from tests.harness.kafka import RealKafka

GOALS = {"quix": 1.5, "bytewax": 1.2}


def run(report: Report, cores: Cores, crowd: Population, people: int, events: int, rounds: int) -> None:
    """Run every engine once a round."""
    python = peers.peers_python()
    if python is None:
        report.remark("(c) The peers' environment is not there: `make bench` makes it.")
    engines = ("encore", *(PEERS if python else ()))
    with RealKafka() as broker:
        for number in range(rounds):
            for engine in engines[number % len(engines) :] + engines[: number % len(engines)]:
                with BenchmarkDeployment(broker, cores, crowd, recommend="false") as stage:
                    _add_throughput(report, engine, _throughput(stage, engine, python or "", people, events))
    for peer in PEERS:
        goal = GOALS[peer]
        report.ratio(
            "c",
            f"encore to {peer}, events a CPU second",
            "encore: events/s of a core's own second",
            f"{peer}: events/s of a core's own second",
            goal,
        )
        report.ratio("c", f"encore to {peer}, events/s", "encore", peer)


def _throughput(stage: BenchmarkDeployment, engine: str, python: str, people: int, events: int) -> Throughput:
    """Return the pace of an engine at the job."""
    if engine == "encore":
        stage.settle(people)
        stage.log(people, events)
        return measure_applying(stage, events)
    peers.fill(stage, people, events)
    with Peer(stage, engine, python) as peer:
        peer.watch(peer.applied, events * NEARLY)
        return rig.throughput(peer.own(), events * WARM, events * 2.0)


def _add_throughput(report: Report, engine: str, pace: Throughput) -> None:
    report.add("c", engine, "events/s", pace.rate)
    report.add("c", f"{engine}: CPU an event", "us", pace.cpu, more=False)
    report.add("c", f"{engine}: events/s of a core's own second", "events/s", 1e6 / pace.cpu)
    report.add("c", f"{engine}: share of its core that it had", "%", pace.busy * 100)
    report.add("c", f"{engine}: memory at the end", "MB", pace.rss / 1e6, more=False)
