"""Every Kafka client is opened in one place, with the address and the security settings."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import aiokafka
import aiokafka.admin
import confluent_kafka
import confluent_kafka.admin
import pytest

from streams.kafka import clients
from streams.settings import Settings

STREAMS = Path(__file__).parents[3] / "streams"
CLIENT_CLASSES = {
    "AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "Consumer", "Producer", "AdminClient",
    "DeserializingConsumer", "SerializingProducer",
}  # fmt: skip
KAFKA_LIBRARIES = {"aiokafka", "confluent_kafka"}
SECURE = Settings(
    broker="kafka://one:9092,two:9092",
    security_protocol="SASL_SSL",
    sasl_mechanism="SCRAM-SHA-512",
    sasl_username="encore",
    sasl_password="secret",
)


def opened(path: Path) -> set[str]:
    """The client classes of the two Kafka libraries that a module calls."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in KAFKA_LIBRARIES
        for alias in node.names
    }
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)} & imported
    attributes = {call.attr for call in calls if isinstance(call, ast.Attribute) and root(call) in KAFKA_LIBRARIES}
    return (names | attributes) & CLIENT_CLASSES


def root(node: ast.expr) -> str:
    """The first name of a dotted expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_one_module_opens_clients() -> None:
    """A client opened elsewhere could miss a security setting."""
    places = {str(path.relative_to(STREAMS)): opened(path) for path in sorted(STREAMS.rglob("*.py"))}
    assert {place: found for place, found in places.items() if found} == {
        "kafka/clients.py": {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "Consumer", "AdminClient"}
    }


@pytest.mark.parametrize(
    ("open_client", "module", "name"),
    [
        (lambda: clients.consumer(SECURE, "events", group_id=None), aiokafka, "AIOKafkaConsumer"),
        (lambda: clients.producer(SECURE, linger_ms=5), aiokafka, "AIOKafkaProducer"),
        (lambda: clients.admin(SECURE), aiokafka.admin, "AIOKafkaAdminClient"),
    ],
)
def test_aiokafka_clients_get_the_security_settings(
    open_client: Any, module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol, mechanism, credentials and a TLS context that checks host names."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(module, name, lambda *topics, **options: seen.update(options))
    open_client()
    assert seen["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert seen["security_protocol"] == "SASL_SSL"
    assert seen["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (seen["sasl_plain_username"], seen["sasl_plain_password"]) == ("encore", "secret")
    assert seen["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("open_client", "module", "name"),
    [
        (lambda: clients.librdkafka_consumer(SECURE, {"group.id": "g"}), confluent_kafka, "Consumer"),
        (lambda: clients.librdkafka_admin(SECURE, {}), confluent_kafka.admin, "AdminClient"),
    ],
)
def test_librdkafka_clients_get_the_security_settings(
    open_client: Any, module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same settings under librdkafka's names."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(module, name, seen.update)
    open_client()
    assert seen["bootstrap.servers"] == "one:9092,two:9092"
    assert seen["security.protocol"] == "SASL_SSL"
    assert seen["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (seen["sasl.username"], seen["sasl.password"]) == ("encore", "secret")
    assert seen["ssl.endpoint.identification.algorithm"] == "https"


def test_producers_are_durable_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idempotent, and acknowledged by all in-sync replicas."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(aiokafka, "AIOKafkaProducer", lambda **options: seen.update(options))
    clients.producer(Settings())
    assert (seen["acks"], seen["enable_idempotence"]) == ("all", True)
    clients.producer(Settings(), acks=1, enable_idempotence=False)
    assert (seen["acks"], seen["enable_idempotence"]) == (1, False)
