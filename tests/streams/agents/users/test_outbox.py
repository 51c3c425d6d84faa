"""The outbox: state first, then the output, then its removal. Nothing is lost or sent before its state."""

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from models.person.person import Person
from models.schema.outputs import Undelivered
from streams.agents.users.envelope import Envelope, OutboxMessage, decode_envelope
from streams.agents.users.outbox import Outbox
from streams.agents.users.store import UserStore
from streams.delivery.write_ahead import WriteAheadOutputs
from streams.kafka import topics
from streams.metrics import Metrics
from tests.streams.changelogs import RULES
from tests.streams.doubles import ManualClock, ManualSink

NOW = 1_000_000.0
NEVER = float("inf")


def message(name: str, topic: str = topics.ALERTS, expires_at: float = NEVER) -> OutboxMessage:
    return OutboxMessage(name, topic, b"u", name.encode(), expires_at, True, "hashed")


class OutboxHarness:
    """An outbox with its users, over one sink for changelog and outputs."""

    def __init__(self) -> None:
        self.sink, self.metrics, self.clock = ManualSink(), Metrics(), ManualClock(NOW)
        self.users = UserStore(RULES, 100, self.sink.changelog("changelog"))
        write_ahead = WriteAheadOutputs(lambda: self.sink, "p-", 1, self.metrics)
        self.outbox = Outbox(self.users, write_ahead, self.sink, "p-", self.clock, self.metrics)

    def decide(self, *messages: OutboxMessage, key: bytes = b"u", since: float = 0.0) -> None:
        """A user has new messages and is written to the changelog."""
        self.users.put(key, Envelope(Person(key.decode()), outbox=messages))
        self.outbox.write_then_send((key,), since)

    def waiting(self, key: bytes = b"u") -> list[bytes | None]:
        return [message.value for message in self.users.get(key).outbox]

    def sent(self) -> list[tuple[str, bytes | None]]:
        return [(put.topic, put.value) for put in self.sink.all if put.topic != "changelog"]


def test_an_output_is_sent_after_its_state_and_removed_when_acknowledged() -> None:
    """Write, acknowledgement, send, acknowledgement, removal: one after the other."""
    harness = OutboxHarness()
    harness.decide(message("a"), message("b"))
    assert [put.topic for put in harness.sink.all] == ["changelog"]
    assert [each.value for each in decode_envelope(harness.sink.all[0].value or b"").outbox] == [b"a", b"b"]
    harness.sink.acknowledge()
    assert harness.sent() == [("p-retention-alerts", b"a"), ("p-retention-alerts", b"b")]
    assert (harness.waiting(), len(harness.outbox), harness.users.dirty) == ([b"a", b"b"], 2, set())
    harness.sink.acknowledge(harness.sink.open()[:1])
    assert (harness.waiting(), len(harness.outbox), harness.users.dirty) == ([b"b"], 1, {b"u"})
    harness.sink.acknowledge()
    assert (harness.waiting(), len(harness.outbox)) == ([], 0)
    harness.outbox.write_then_send((b"u",))
    assert decode_envelope(harness.sink.on("changelog")[-1].value or b"").outbox == ()
    harness.sink.settle()
    assert len(harness.sent()) == 2


def test_no_output_is_sent_if_its_state_was_not_written() -> None:
    """A decision that is not in the changelog does not exist."""
    harness = OutboxHarness()
    harness.decide(message("a"))
    harness.sink.fail(harness.sink.open())
    assert (harness.sent(), harness.waiting(), len(harness.outbox)) == ([], [b"a"], 0)


def test_an_output_that_failed_stays_in_the_outbox() -> None:
    """The next owner finds it in the value, and it may be sent again."""
    harness = OutboxHarness()
    harness.decide(message("a"))
    harness.sink.acknowledge()
    harness.sink.fail(harness.sink.open())
    assert (harness.waiting(), len(harness.outbox)) == ([b"a"], 0)
    harness.outbox.send(b"u", harness.users.get(b"u").outbox)
    harness.sink.settle()
    assert (len(harness.sent()), harness.waiting()) == (2, [])


def test_an_output_in_flight_is_not_sent_again() -> None:
    """Even if the user is written again, or the outbox is sent again, meanwhile."""
    harness = OutboxHarness()
    harness.decide(message("a"))
    harness.outbox.write_then_send((b"u",))
    harness.sink.acknowledge()
    harness.outbox.send(b"u", harness.users.get(b"u").outbox)
    harness.outbox.write_then_send((b"u",))
    harness.sink.settle()
    assert harness.sent() == [("p-retention-alerts", b"a")]


def test_an_acknowledged_output_is_not_sent_by_an_older_write() -> None:
    """A second write of the same outbox is acknowledged after the output."""
    harness = OutboxHarness()
    harness.decide(message("a"))
    first = harness.sink.open()
    harness.outbox.write_then_send((b"u",))
    slow = [put for put in harness.sink.open() if put not in first]
    harness.sink.acknowledge(first)
    harness.sink.acknowledge([put for put in harness.sink.open() if put not in slow])
    assert harness.waiting() == []
    harness.sink.acknowledge(slow)
    assert len(harness.sent()) == 1


def test_an_expired_output_is_replaced_by_a_notice() -> None:
    """The notice has the id and pseudonym of the output, and goes to the decisions topic."""
    harness = OutboxHarness()
    harness.decide(message("old", expires_at=NOW - 1), message("new", expires_at=NOW))
    harness.sink.acknowledge()
    (old, notice), (new, value) = harness.sent()
    assert (old, new, value) == ("p-decisions", "p-retention-alerts", b"new")
    assert msgspec.json.decode(notice or b"", type=Undelivered) == Undelivered(
        id="old", user="hashed", time=NOW - 1, expires_at=NOW - 1, topic=topics.ALERTS
    )
    assert harness.sink.on("p-decisions")[0].key == b"hashed"
    harness.sink.settle()
    assert (harness.waiting(), harness.metrics.value("encore_undelivered_total")) == ([], 1)


def test_outputs_are_counted_by_the_topic_they_reached() -> None:
    """Once Kafka has them. A notice counts for the decisions topic, not for the alerts."""
    harness = OutboxHarness()
    harness.decide(message("old", expires_at=NOW - 1), message("new"), message("p", topics.PROFILES))
    harness.sink.acknowledge()
    assert harness.metrics.value("encore_outputs_total") == 0
    harness.sink.settle()
    counted = {name: harness.metrics.value("encore_outputs_total", name) for name in (topics.ALERTS, topics.PROFILES)}
    assert counted == {topics.ALERTS: 1, topics.PROFILES: 1}
    assert harness.metrics.value("encore_outputs_total", topics.DECISIONS) == 1


def test_expiry_is_checked_when_an_output_is_sent() -> None:
    """Not when it was decided: the acknowledgement of the state may take a while."""
    harness = OutboxHarness()
    harness.decide(message("a", expires_at=NOW + 5))
    harness.clock.at = NOW + 6
    harness.sink.acknowledge()
    assert [topic for topic, _ in harness.sent()] == ["p-decisions"]


def test_a_closed_outbox_sends_and_removes_nothing() -> None:
    """Another worker owns the partition and sends what is in the value."""
    harness = OutboxHarness()
    harness.decide(message("a"))
    harness.outbox.close()
    harness.sink.settle()
    assert (harness.sent(), harness.waiting()) == ([], [b"a"])
    harness = OutboxHarness()
    harness.decide(message("a"))
    harness.sink.acknowledge()
    harness.outbox.close()
    harness.sink.settle()
    assert (harness.waiting(), harness.users.dirty) == ([b"a"], set())


def latency_samples(metrics: Metrics) -> list[str]:
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if line.startswith(("encore_decision_seconds_sum", "encore_decision_seconds_count"))]


def test_latency_is_measured_from_the_arrival_of_the_cause() -> None:
    """By the wall clock. A timer has no arrival, so it is not measured."""
    harness = OutboxHarness()
    harness.decide(message("a"), since=NOW - 3)
    harness.decide(message("b"), key=b"v")
    harness.sink.settle()
    assert latency_samples(harness.metrics) == ["encore_decision_seconds_count 1.0", "encore_decision_seconds_sum 3.0"]
