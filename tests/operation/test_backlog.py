"""On the wall clock, time does not overtake input records that no worker has read yet."""

from __future__ import annotations

import asyncio
import json
import time

from models.churn.snapshot import LogisticSnapshot, encode_snapshot
from models.person import features
from models.schema import events as ev
from streams.kafka.admin import publish
from tests.harness.deployment import Deployment
from tests.harness.kafka import Kafka

HOUR = 3_600.0
USERS = 30


def silence_model() -> bytes:
    """A model that gives a high risk to every user who has been silent for three hours."""
    zeros, weights = [0.0] * len(features.NAMES), [0.0] * len(features.NAMES)
    weights[features.SILENCE] = 200.0
    model = LogisticSnapshot(
        labels=1_000, offset=0, rows=1_000, mean=zeros, variance=[1.0] * len(zeros), weights=weights, bias=-22.0,
        gradients=zeros, steps=1,
    )  # fmt: skip
    return encode_snapshot(model)


def test_users_with_unread_input_are_not_silent(kafka: Kafka, prefix: str) -> None:
    """Users agents that start before ingest hold the clock, and call only silent users silent."""
    encore = Deployment.on(
        kafka, prefix, clock="wall", expiry="wall", tick_every=1, wake_every="1h", labels_needed=1, dwell=0,
        horizon="1d", lookback="2d",
    )  # fmt: skip
    asyncio.run(publish(encore.settings, "model-snapshots", b"churn", silence_model()))
    now = time.time()
    names = [f"p{number}" for number in range(USERS)]
    before = [ev.Login(id=f"{user}-", user_id=user, time=now - 6 * HOUR) for user in [*names, "gone"]]
    since = [
        ev.Login(id=f"{user}-{third}", user_id=user, time=now - (18 - third) * HOUR / 3)
        for third in range(18)
        for user in names
    ]
    encore.send("events", *before)
    encore.send("learning-events", *since)
    with encore.worker(agents="users") as users:
        users.ready()
        users.until(lambda: users.metric("encore_events_total", fate="applied") == len(before))
        time.sleep(4)  # several tick intervals
        assert users.metric("encore_ticks_total") == 0
        with encore.worker(agents="ingest"):
            users.until(lambda: users.metric("encore_events_total") == len(before) + len(since))
            clocks = [("encore_clock_seconds", str(partition)) for partition in range(4)]
            users.until(lambda: all(users.metric(name, partition=number) > now for name, number in clocks))
            records = encore.read_until("retention-alerts", lambda records: records)
            assert users.metric("encore_events_total", fate="late") == 0
    alerts = [json.loads(record.value) for record in [*records, *encore.read("retention-alerts")]]
    assert {alert["user_id"] for alert in alerts if alert["tier"] == "high"} == {"gone"}


def test_time_passes_without_ingest_where_inputs_are_empty(kafka: Kafka, prefix: str) -> None:
    """Empty inputs hold no unread event: ticks carry the wall clock's time."""
    encore = Deployment.on(kafka, prefix, clock="wall", expiry="wall", tick_every=1)
    now = time.time()
    with encore.worker(agents="users") as users:
        users.ready()
        users.until(lambda: users.metric("encore_clock_seconds", partition="0") >= now)


def test_an_operator_releases_the_clock_without_ingest(kafka: Kafka, prefix: str) -> None:
    """An operator who knows that unread input does not matter tells all workers so, with one command."""
    encore = Deployment.on(kafka, prefix, clock="wall", expiry="wall", tick_every=1)
    encore.send("learning-events", ev.Login(id="1", user_id="u", time=time.time()))
    now = time.time()
    with encore.worker(agents="users") as users:
        users.ready()
        time.sleep(3)
        assert users.metric("encore_ticks_total") == 0
        encore.check("clock", "release", process=True)
        users.until(lambda: users.metric("encore_clock_seconds", partition="0") >= now)
