"""Brokers for tests, marks for the tests that need one, and a list of the tests that could not run without one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from streams.kafka.embedded import EmbeddedBroker
from tests.harness import kafka as brokers
from tests.harness.shared import RunFolder, shared_broker

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Processes that tests start compute in one thread: threads that wait for each other take many times as long."""
NO_BROKER = "no broker: "
KAFKA_FIXTURES = {"kafka", "own_kafka"}
BROKER_FIXTURES = KAFKA_FIXTURES | {"embedded_broker", "any_broker"}
TESTS = Path(__file__).parent
INTEGRATION_PATHS = {TESTS / "operation", TESTS / "streams" / "demo" / "test_run.py"}

hypothesis.settings.register_profile(
    "tests", parent=hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")
"""No time limit for an example: a busy machine is no failure."""


def pytest_configure(config: pytest.Config) -> None:
    """Create the folder that all processes of the run share; the controller owns it and the broker in it."""
    if not hasattr(config, "workerinput"):
        config.add_cleanup(RunFolder().close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a real broker `kafka`, and what uses any broker `integration`."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if KAFKA_FIXTURES & fixtures:
            item.add_marker("kafka")
        if (
            BROKER_FIXTURES & fixtures
            or item.get_closest_marker("kafka")
            or INTEGRATION_PATHS & {item.path, *item.path.parents}
        ):
            item.add_marker("integration")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `kafka` does not run where there is no broker for it.

    A broker that runs elsewhere (ENCORE_TEST_BROKER) will do, except for tests marked `kafka(own=True)`: they kill
    theirs, or configure it.
    """
    marks = list(item.iter_markers("kafka"))
    own = any(mark.kwargs.get("own") for mark in marks) or "own_kafka" in getattr(item, "fixturenames", ())
    if marks and (own or not brokers.external()) and (reason := brokers.available()):
        missing(reason)


def missing(reason: str) -> None:
    """Skip a test that has no broker; fail it on CI, where every test has to run."""
    if os.environ.get("CI") == "true":
        pytest.fail(NO_BROKER + reason, pytrace=False)
    pytest.skip(NO_BROKER + reason)


@pytest.fixture(scope="session")
def kafka() -> brokers.Kafka:
    """A real broker, one for all tests of the run: the one in ENCORE_TEST_BROKER, or one started for them."""
    return brokers.ExternalKafka(brokers.external() or shared_broker())


@pytest.fixture
def own_kafka() -> Iterator[brokers.RealKafka]:
    """A real broker for this test alone, which may kill and restart it."""
    with brokers.RealKafka() as broker:
        yield broker


@pytest.fixture
def embedded_broker() -> Iterator[Callable[[Mapping[str, int]], EmbeddedBroker]]:
    """Start embedded brokers: each call gives a new one with these topics, until the test ends."""
    with ExitStack() as running:
        yield lambda topics: running.enter_context(EmbeddedBroker(topics))


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.kafka), "embedded_broker"])
def any_broker(request: pytest.FixtureRequest) -> brokers.Kafka | Callable[[Mapping[str, int]], EmbeddedBroker]:
    """Each kind of broker in turn: a real Kafka and the embedded broker."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def prefix() -> str:
    """A prefix for the names of this test's topics and groups; no other test has it."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List at the end the tests that did not run because no broker could start, and why."""
    unrun = [
        (report.nodeid, str(report.longrepr[2]))
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and NO_BROKER in report.longrepr[2]
    ]
    if unrun:
        terminalreporter.section("tests that did not run without a broker", yellow=True)
    for name, reason in unrun:
        terminalreporter.write_line(f"{name}: {reason.split(NO_BROKER, 1)[1]}")
