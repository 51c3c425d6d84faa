"""A topic as history: from its beginning to its end at opening, partition after partition."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from models.schema import event_codec
from models.schema import events as ev
from streams.errors import OperatorError
from streams.history.sources import HistoryEntry, UnusableEntry, open_source
from streams.history.sources.order import order_by_time
from streams.kafka import clients
from streams.settings import Settings
from tests.harness.deployment import Deployment

LOGINS = [ev.Login(id=f"e{at}", user_id=f"u{at % 7}", time=1e9 + 60 * at) for at in range(3_000)]


@pytest.fixture
def encore(any_broker, prefix):
    return Deployment.on(any_broker, prefix)


def test_a_topic_is_read_up_to_its_end_at_opening(encore):
    """Each partition in log order, ticks included; later records are not part of it."""
    for at in range(4):
        encore.send("events", *LOGINS[at::4], ev.Tick(time=1.5e9), partition=at)
    source = open_source("kafka:events", encore.settings)
    encore.send("events", ev.Login(id="later", user_id="u1", time=1e9), partition=0)
    found = list(source)

    assert [entry.event for entry in found] == [
        event for at in range(4) for event in (*LOGINS[at::4], ev.Tick(time=1.5e9))
    ]
    assert [entry.position for entry in found] == sorted({entry.position for entry in found})
    assert (source.describe_position(found[0].position), source.describe_position(found[-1].position)) == (
        "partition 0, offset 0", "partition 3, offset 750",
    )  # fmt: skip
    assert list(source) == found
    assert (source.repeatable, source.has_log_time, source.partitions) == (True, True, 4)
    in_order = [entry.event for entry in order_by_time([source], 300.0) if isinstance(entry, HistoryEntry)]
    assert in_order == [*LOGINS, *[ev.Tick(time=1.5e9)] * 4]


def test_the_far_future_is_judged_by_log_time(encore):
    """Invalid bytes, a record without a value, and an event after its log time."""
    far = ev.Login(id="far", user_id="u", time=30e9)
    encore.send("events", b"nonsense", far, LOGINS[0], partition=2)
    found = list(open_source("kafka:events", encore.settings))

    assert [(item.error.reason, item.raw) for item in found if isinstance(item, UnusableEntry)] == [
        ("malformed", b"nonsense"), ("far_future", event_codec.encode(far)),
    ]  # fmt: skip
    assert [item.event for item in found if isinstance(item, HistoryEntry)] == [LOGINS[0]]


def test_a_topic_of_foreign_objects_is_mapped(encore, tmp_path):
    """With the mapping file that ingest would use."""
    file = tmp_path / "own.toml"
    file.write_text('otherwise = "skip"\n[type]\nfrom = "e"\ntable = { in = "login" }\n'
                    '[fields]\nid = "n"\nuser_id = "u"\ntime = { from = "t", format = "seconds" }\n')  # fmt: skip
    encore.send(
        "learning-events", *(orjson.dumps({"e": e, "n": n, "u": 7, "t": 5}) for n, e in enumerate(["in", "out"]))
    )
    source = open_source("kafka:learning-events", encore.settings, file)

    assert [entry.event for entry in source] == [ev.Login(id="0", user_id="7", time=5.0)]
    assert source.skipped == 1


def test_an_empty_topic_has_no_entries(encore):
    """It is not an error."""
    assert list(open_source("kafka:events", encore.settings)) == []


def test_a_missing_topic_is_reported(kafka, prefix):
    """The line names the topic with its prefix; the topic is not created."""
    encore = Deployment.on(kafka, prefix)

    for _ in range(2):
        with pytest.raises(OperatorError, match=rf"kafka:evens: there is no topic {prefix}-evens at"):
            open_source("kafka:evens", encore.settings)


def test_aborted_transactions_are_ignored(kafka, prefix):
    """Aborted records are not history, and the end is still reached."""
    encore = Deployment.on(kafka, prefix)

    async def send() -> None:
        producer = clients.producer(encore.settings, transactional_id=prefix)
        await producer.start()
        for at, event in enumerate(LOGINS[:6]):
            await producer.begin_transaction()
            await producer.send(f"{prefix}-events", event_codec.encode(event), partition=0)
            await (producer.abort_transaction() if at % 2 else producer.commit_transaction())
        await producer.stop()

    asyncio.run(send())
    found = list(open_source("kafka:events", encore.settings))

    assert [entry.event for entry in found] == LOGINS[0:6:2]


@pytest.mark.integration
def test_an_unreachable_broker_is_reported():
    """One line, within seconds."""
    with pytest.raises(OperatorError, match=r"kafka:events: no answer of kafka://127\.0\.0\.1:1 \("):
        open_source("kafka:events", Settings(broker="kafka://127.0.0.1:1"))
