"""(c) The same job on every engine in turn, over the same users and events, without course recommendations.

Before it measures, it proves on a small log that all engines make the same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks import peers, rig
from tests.benchmarks.deployment import BenchmarkDeployment
from tests.benchmarks.engines import decision_ids
from tests.benchmarks.figures import Report
from tests.benchmarks.peers import PEERS, Peer
from tests.benchmarks.rig import Cores, Throughput
from tests.benchmarks.worker_runs import NEARLY, WARM, measure_applying
from tests.benchmarks.workload import Population
from tests.harness.kafka import RealKafka

PROOF_PEOPLE, PROOF_EVENTS = 120, 3_000
GOALS = {"quix": 1.5, "bytewax": 1.2}


def run(report: Report, cores: Cores, population: Population, people: int, events: int, rounds: int) -> None:
    """Compare the decisions, then run every engine once a round."""
    python = peers.peers_python()
    if python is None:
        report.remark("(c) The peers' environment is not there: `make bench` makes it.")
    engines = ("encore", *(PEERS if python else ()))
    if python:
        assert_same_decisions(engines, python, population, cores)
    with RealKafka() as broker:
        for number in range(rounds):
            for engine in engines[number % len(engines) :] + engines[: number % len(engines)]:
                with BenchmarkDeployment(broker, cores, population, recommend="false") as encore:
                    _add_throughput(report, engine, _throughput(encore, engine, python or "", people, events))
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


def assert_same_decisions(engines: Sequence[str], python: str, population: Population, cores: Cores) -> None:
    """Raise a RuntimeError unless all engines make the same decisions and examples on a small log.

    Only the topics of decisions and examples keep every record; those of alerts and profiles are compacted.
    """
    found = {engine: decision_ids(engine, population, python, PROOF_PEOPLE, PROOF_EVENTS, cores) for engine in engines}
    differing = {engine: len(ids ^ found["encore"]) for engine, ids in found.items() if ids != found["encore"]}
    if differing or len(found["encore"]) <= 20:
        raise RuntimeError(f"not the same job: {len(found['encore'])} decisions, differing ones by engine: {differing}")


def _throughput(encore: BenchmarkDeployment, engine: str, python: str, people: int, events: int) -> Throughput:
    """Return the throughput of an engine."""
    if engine == "encore":
        encore.write_users(people)
        encore.write_log(people, events)
        return measure_applying(encore, events)
    peers.fill(encore, people, events)
    with Peer(encore, engine, python) as peer:
        peer.watch(peer.applied, events * NEARLY)
        return rig.throughput(peer.own(), events * WARM, events * 2.0)


def _add_throughput(report: Report, engine: str, pace: Throughput) -> None:
    report.add("c", engine, "events/s", pace.rate)
    report.add("c", f"{engine}: CPU an event", "us", pace.cpu, more=False)
    report.add("c", f"{engine}: events/s of a core's own second", "events/s", 1e6 / pace.cpu)
    report.add("c", f"{engine}: share of its core that it had", "%", pace.busy * 100)
    report.add("c", f"{engine}: memory at the end", "MB", pace.rss / 1e6, more=False)
