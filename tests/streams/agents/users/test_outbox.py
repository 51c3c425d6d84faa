"""The outbox: state first, then the output, then it is forgotten; nothing is lost, nothing leaves before its state."""

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


class Desk:
    """An outbox with its people, over one sink for changelog and outputs."""

    def __init__(self) -> None:
        self.sink, self.metrics, self.clock = ManualSink(), Metrics(), ManualClock(NOW)
        self.users = UserStore(RULES, 100, self.sink.changelog("changelog"))
        ahead = WriteAheadOutputs(lambda: self.sink, "p-", 1, self.metrics)
        self.outbox = Outbox(self.users, ahead, self.sink, "p-", self.clock, self.metrics)

    def hold(self, *messages: OutboxMessage, key: bytes = b"u", since: float = 0.0) -> None:
        """A person decides something, and is written through."""
        self.users.put(key, Envelope(Person(key.decode()), outbox=messages))
        self.outbox.write_then_send((key,), since)

    def held(self, key: bytes = b"u") -> list[bytes | None]:
        return [message.value for message in self.users.get(key).outbox]

    def sent(self) -> list[tuple[str, bytes | None]]:
        return [(put.topic, put.value) for put in self.sink.all if put.topic != "changelog"]


def test_an_output_leaves_after_its_state_and_is_forgotten_when_it_arrived() -> None:
    """Write, acknowledgement, send, acknowledgement, gone: one after the other."""
    desk = Desk()
    desk.hold(message("a"), message("b"))
    assert [put.topic for put in desk.sink.all] == ["changelog"]
    assert [each.value for each in decode_envelope(desk.sink.all[0].value or b"").outbox] == [b"a", b"b"]
    desk.sink.acknowledge()
    assert desk.sent() == [("p-retention-alerts", b"a"), ("p-retention-alerts", b"b")]
    assert (desk.held(), len(desk.outbox), desk.users.dirty) == ([b"a", b"b"], 2, set())
    desk.sink.acknowledge(desk.sink.open()[:1])
    assert (desk.held(), len(desk.outbox), desk.users.dirty) == ([b"b"], 1, {b"u"})
    desk.sink.acknowledge()
    assert (desk.held(), len(desk.outbox)) == ([], 0)
    desk.outbox.write_then_send((b"u",))
    assert decode_envelope(desk.sink.on("changelog")[-1].value or b"").outbox == ()
    desk.sink.settle()
    assert len(desk.sent()) == 2


def test_nothing_is_sent_when_the_state_could_not_be_written() -> None:
    """A decision that is in no changelog was never taken."""
    desk = Desk()
    desk.hold(message("a"))
    desk.sink.fail(desk.sink.open())
    assert (desk.sent(), desk.held(), len(desk.outbox)) == ([], [b"a"], 0)


def test_an_output_that_did_not_arrive_stays() -> None:
    """It is in the value for whoever comes next, and may be sent again."""
    desk = Desk()
    desk.hold(message("a"))
    desk.sink.acknowledge()
    desk.sink.fail(desk.sink.open())
    assert (desk.held(), len(desk.outbox)) == ([b"a"], 0)
    desk.outbox.send(b"u", desk.users.get(b"u").outbox)
    desk.sink.settle()
    assert (len(desk.sent()), desk.held()) == (2, [])


def test_what_is_under_way_is_not_sent_again() -> None:
    """However often the person is written, or the outbox is asked to deliver, meanwhile."""
    desk = Desk()
    desk.hold(message("a"))
    desk.outbox.write_then_send((b"u",))
    desk.sink.acknowledge()
    desk.outbox.send(b"u", desk.users.get(b"u").outbox)
    desk.outbox.write_then_send((b"u",))
    desk.sink.settle()
    assert desk.sent() == [("p-retention-alerts", b"a")]


def test_what_arrived_before_a_slow_write_is_not_sent_by_it() -> None:
    """A second write of the same outbox is acknowledged when the output has long gone."""
    desk = Desk()
    desk.hold(message("a"))
    first = desk.sink.open()
    desk.outbox.write_then_send((b"u",))
    slow = [put for put in desk.sink.open() if put not in first]
    desk.sink.acknowledge(first)
    desk.sink.acknowledge([put for put in desk.sink.open() if put not in slow])
    assert desk.held() == []
    desk.sink.acknowledge(slow)
    assert len(desk.sent()) == 1


def test_old_news_is_not_sent_but_said_to_be_old() -> None:
    """The notice has the output's own id and pseudonym, goes to the decisions, and takes the output's place."""
    desk = Desk()
    desk.hold(message("old", expires_at=NOW - 1), message("new", expires_at=NOW))
    desk.sink.acknowledge()
    (old, notice), (new, value) = desk.sent()
    assert (old, new, value) == ("p-decisions", "p-retention-alerts", b"new")
    assert msgspec.json.decode(notice or b"", type=Undelivered) == Undelivered(
        id="old", user="hashed", time=NOW - 1, expires_at=NOW - 1, topic=topics.ALERTS
    )
    assert desk.sink.on("p-decisions")[0].key == b"hashed"
    desk.sink.settle()
    assert (desk.held(), desk.metrics.value("encore_undelivered_total")) == ([], 1)


def test_outputs_are_counted_where_they_arrived() -> None:
    """By topic, once Kafka has them; a notice counts as a decision's record, not as the alert it was not."""
    desk = Desk()
    desk.hold(message("old", expires_at=NOW - 1), message("new"), message("p", topics.PROFILES))
    desk.sink.acknowledge()
    assert desk.metrics.value("encore_outputs_total") == 0
    desk.sink.settle()
    counted = {name: desk.metrics.value("encore_outputs_total", name) for name in (topics.ALERTS, topics.PROFILES)}
    assert counted == {topics.ALERTS: 1, topics.PROFILES: 1}
    assert desk.metrics.value("encore_outputs_total", topics.DECISIONS) == 1


def test_whether_it_is_old_news_is_judged_when_it_leaves() -> None:
    """Not when it was decided: the state may take a while to be safe."""
    desk = Desk()
    desk.hold(message("a", expires_at=NOW + 5))
    desk.clock.at = NOW + 6
    desk.sink.acknowledge()
    assert [topic for topic, _ in desk.sent()] == ["p-decisions"]


def test_a_closed_outbox_sends_and_forgets_nothing() -> None:
    """The partition is another worker's, which delivers what stands in the value."""
    desk = Desk()
    desk.hold(message("a"))
    desk.outbox.close()
    desk.sink.settle()
    assert (desk.sent(), desk.held()) == ([], [b"a"])
    desk = Desk()
    desk.hold(message("a"))
    desk.sink.acknowledge()
    desk.outbox.close()
    desk.sink.settle()
    assert (desk.held(), desk.users.dirty) == ([b"a"], set())


def measured(metrics: Metrics) -> list[str]:
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if line.startswith(("encore_decision_seconds_sum", "encore_decision_seconds_count"))]


def test_the_time_from_cause_to_arrival_is_measured_where_it_is_known() -> None:
    """By the wall; due work has no arrival, so it is not measured."""
    desk = Desk()
    desk.hold(message("a"), since=NOW - 3)
    desk.hold(message("b"), key=b"v")
    desk.sink.settle()
    assert measured(desk.metrics) == ["encore_decision_seconds_count 1.0", "encore_decision_seconds_sum 3.0"]
