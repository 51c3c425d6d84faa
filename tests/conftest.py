"""Brokers for tests, and a last word on those that did not run for want of one."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from streams.kafka.embedded import EmbeddedBroker
from tests import brokers

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""What tests start computes in one thread: several that wait for each other take many times as long."""
NO_BROKER = "no broker: "
KAFKA_FIXTURES = {"kafka", "own_kafka"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a real broker is marked so."""
    for item in items:
        if KAFKA_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `kafka` does not run where there is no broker for it.

    A broker that somebody else runs will do, except for tests marked `kafka(own=True)`, which
    kill theirs or set it up in their own way.
    """
    marks = list(item.iter_markers("kafka"))
    own = any(mark.kwargs.get("own") for mark in marks) or "own_kafka" in getattr(item, "fixturenames", ())
    if marks and (own or not brokers.external()) and (reason := brokers.available()):
        missing(reason)


def missing(reason: str) -> None:
    """Skip the test for want of a broker; on CI, where every test is to run, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(NO_BROKER + reason, pytrace=False)
    pytest.skip(NO_BROKER + reason)


@pytest.fixture(scope="session")
def kafka() -> Iterator[brokers.Kafka]:
    """A real broker, one for all tests: the one in ENCORE_TEST_BROKER, or one started here."""
    address = brokers.external()
    with brokers.ExternalKafka(address) if address else brokers.RealKafka() as broker:
        yield broker


@pytest.fixture
def own_kafka() -> Iterator[brokers.RealKafka]:
    """A real broker for this test alone, which may kill and restart it."""
    with brokers.RealKafka() as broker:
        yield broker


@pytest.fixture
def embedded_broker() -> Iterator[Callable[[Mapping[str, int]], EmbeddedBroker]]:
    """Start embedded brokers: each call gives a new one with these topics, until the test ends."""
    if importlib.util.find_spec("confluent_kafka") is None:
        missing("confluent-kafka is not installed")
    with ExitStack() as running:
        yield lambda topics: running.enter_context(EmbeddedBroker(topics))


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.kafka), "embedded_broker"])
def any_broker(request: pytest.FixtureRequest) -> brokers.Kafka | Callable[[Mapping[str, int]], EmbeddedBroker]:
    """Each kind of broker in turn: what is tested with this holds on a real Kafka and on the embedded one."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix() -> str:
    """A start for the names of this test's topics and groups that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last which tests did not run for want of a broker, and why."""
    unrun = [
        (report.nodeid, str(report.longrepr[2]))
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and NO_BROKER in report.longrepr[2]
    ]
    if unrun:
        terminalreporter.section("tests that did not run for want of a broker", yellow=True)
    for name, reason in unrun:
        terminalreporter.write_line(f"{name}: {reason.split(NO_BROKER, 1)[1]}")
