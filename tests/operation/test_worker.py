"""A worker as operators and platforms use it: events in, outputs out, queries, and an orderly end."""

from __future__ import annotations

import json
import signal
import socket
import time

import pytest
from msgspec.structs import replace

from models.person.activity import DAY
from models.schema import events as ev
from tests.harness.deployment import Deployment
from tests.harness.kafka import RealKafka, free_port

START = 1_750_000_000.0
WEEKS = {
    "horizon": "2d", "lookback": "4d", "labels_needed": 20, "stalled_after": "2d", "alert_lasts": "3650d",
}  # fmt: skip
CAMPAIGN = """
id = "win-back"
hold_out = 0.0
needs_consent = false
quiet_from = 0
quiet_until = 0
arm = { name = "ten", amount = 10.0 }
"""


@pytest.fixture
def encore(kafka, prefix):
    return Deployment.on(kafka, prefix, **WEEKS)


@pytest.fixture
def encore_on_any_broker(any_broker, prefix):
    return Deployment.on(any_broker, prefix, **WEEKS)


def learning_days(people, days, start=START):
    """Users of whom every second one learns daily, and the others on the first four days only."""
    return [
        ev.LessonProgress(
            id=f"{person}-{day}",
            user_id=f"u{person}",
            time=start + day * DAY + person * 60,
            course_id="c1",
            progress=min(1.0, (day + 1) / 40),
            minutes=20.0,
        )
        for day in range(days)
        for person in range(people)
        if day < 4 or person % 2
    ]


def test_events_become_alerts_and_coupons(encore_on_any_broker, tmp_path):
    """Learning events go in; labels mature, the model is published, and silent users get alerts and coupons."""
    encore = encore_on_any_broker
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    assert "is running" in encore.check("campaign", "apply", str(tmp_path / "campaign.toml"))
    with encore.worker() as worker:
        worker.ready()
        encore.send("learning-events", *learning_days(60, 12))
        worker.until(lambda: worker.metric("encore_records_total", agent="users") == len(learning_days(60, 12)))
        encore.tick(START + 20 * DAY)
        until_all_learned(worker, 20)
        later = learning_days(60, 9, START + 21 * DAY)
        encore.send("learning-events", *[replace(event, id="b" + event.id) for event in later])
        worker.until(
            lambda: worker.metric("encore_records_total", agent="users") >= len(learning_days(60, 12)) + len(later)
        )
        encore.tick(START + 40 * DAY)
        triggers = encore.read_until("coupon-triggers", lambda records: len(records) > 5)
        alerts = [json.loads(record.value) for record in encore.read("retention-alerts")]
        assert worker.user("u1")["events"] == 21
        assert min(worker.metric("encore_model_auc", score=score) for score in ("model", "recency")) > 0
    assert {json.loads(record.value)["arm"] for record in triggers} == {"ten"}
    high = [alert for alert in alerts if alert["about"] == "risk" and alert["tier"] == "high"]
    assert high
    assert all(alert["reasons"] and alert["action"] in ("coupon", "none") for alert in high)


def until_all_learned(worker, at_least):
    """Wait until the published model has learned from all labels, and return their number.

    Alerts depend on the labels that the model has when users are scored, so a test must not go on before that.
    """
    worker.until(lambda: worker.metric("encore_outbox") == 0)
    worker.until(lambda: worker.metric("encore_learned_total") == worker.metric("encore_labels_total") > at_least)
    learned = worker.metric("encore_learned_total")
    worker.until(lambda: worker.metric("encore_model_labels") == learned)
    return learned


def test_a_new_worker_starts_from_the_last_snapshot(encore):
    """The model outlives its workers. A forged snapshot is refused, and the examples are learned again."""
    with encore.worker() as worker:
        worker.ready()
        encore.send("learning-events", *learning_days(60, 12))
        worker.until(lambda: worker.metric("encore_records_total", agent="users") == len(learning_days(60, 12)))
        encore.tick(START + 30 * DAY)
        worker.until(lambda: worker.metric("encore_people", tier="none") == 60 and worker.metric("encore_outbox") == 0)
        learned = until_all_learned(worker, 100)
    with encore.worker() as worker:
        worker.ready()
        assert (worker.metric("encore_model_labels"), worker.metric("encore_learned_total")) == (learned, 0)
    encore.send("model-snapshots", b"{}", partition=0)
    publish_forged_snapshot(encore)
    with encore.worker() as worker:
        worker.ready()
        worker.until(lambda: worker.metric("encore_learned_total") == learned)
        assert worker.metric("encore_snapshots_refused_total") > 0


def publish_forged_snapshot(encore):
    """Publish the newest snapshot with one number changed and the checksum left as it was."""
    import asyncio

    from streams.kafka.admin import publish

    newest = [record for record in encore.read("model-snapshots") if record.key == b"churn"][-1]
    sealed = json.loads(newest.value)
    sealed["snapshot"]["mean"][0] += 1.0
    asyncio.run(publish(encore.settings, "model-snapshots", b"churn", json.dumps(sealed).encode()))


def test_every_worker_answers_for_every_user(encore):
    """Two workers share the partitions; both answer for all users, and with 404 for an unknown one."""
    with encore.worker() as one, encore.worker() as other:
        one.ready(), other.ready()
        one.until(lambda: one.metric("encore_partitions") == other.metric("encore_partitions") == 2)
        encore.send("learning-events", *learning_days(8, 2))
        one.until(lambda: all(one.user(f"u{person}").get("events") == 2 for person in range(8)))
        assert [other.user(f"u{person}").get("events") for person in range(8)] == [2] * 8
        assert (one.get("/users/stranger")[0], other.get("/users/stranger")[0]) == (404, 404)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_worker_with_its_state_committed(encore_on_any_broker, number):
    """The exit code is 0, and the next worker has nothing to repeat."""
    encore = encore_on_any_broker
    with encore.worker() as worker:
        worker.ready()
        encore.send("learning-events", *learning_days(20, 3))
        worker.until(lambda: worker.metric("encore_records_total", agent="users") == 60)
        assert worker.stop(number) == 0
    with encore.worker() as worker:
        worker.ready()
        worker.until(lambda: worker.user("u1").get("events") == 3)
        assert worker.metric("encore_records_total", agent="users") == 0


def test_a_worker_that_cannot_start_says_why_in_one_line(encore):
    """A port in use, or a broker that does not answer: one line, exit code 2, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = encore.run_process("worker", "--web-port", port)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in run.stderr
    run = encore.run_process("worker", "--broker", "kafka://127.0.0.1:1")
    assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
    assert "no Kafka answers at kafka://127.0.0.1:1" in run.stderr


def test_shadow_mode_decides_and_sends_nothing(encore_on_any_broker, tmp_path):
    """Every decision is recorded, and neither alerts nor coupon triggers are published."""
    encore = encore_on_any_broker
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    encore.check("campaign", "apply", str(tmp_path / "campaign.toml"))
    with encore.worker(mode="shadow", labels_needed=0, alerts_wait="no", prior_churn=0.9) as worker:
        worker.ready()
        encore.send("learning-events", *learning_days(20, 3))
        decisions = encore.read_until("decisions", lambda records: len(records) >= 20)
    assert {json.loads(record.value)["reason"] for record in decisions} == {"shadow"}
    assert (encore.read("retention-alerts"), encore.read("coupon-triggers")) == ([], [])


def test_silent_users_are_reached_by_ticks_alone(any_broker, prefix):
    """On the wall clock the worker writes ticks: silent users get alerts and labels without any further event."""
    encore = Deployment.on(
        any_broker, prefix, clock="wall", expiry="wall", tick_every=0.5, lateness=4, skew=0.5, wake_every=2,
        horizon=4, lookback=30, stalled_after=2, labels_needed=0, alerts_wait="no", prior_churn=0.9, dwell=0,
        rescore_after=3600,
    )  # fmt: skip
    with encore.worker() as worker:
        worker.ready()
        now = time.time()
        encore.send("learning-events", *[replace(event, time=now) for event in learning_days(4, 1)])
        everybody = {"u0", "u1", "u2", "u3"}
        alerts = encore.read_until(
            "retention-alerts", lambda records: len(records) >= 8 and stalled(records) == everybody
        )
        examples = encore.read_until("examples", lambda records: len(records) >= 4)
    published = [json.loads(record.value) for record in alerts]
    assert all(alert["time"] > now for alert in published if alert["about"] == "stalled")
    labels = [json.loads(record.value) for record in examples]
    assert {one["churned"] for one in labels if one["type"] == "example"} <= {True}
    assert {one["back"] for one in labels if one["type"] == "early_sign"} == {False}


def stalled(records):
    """The users whom an alert calls stalled."""
    alerts = [json.loads(record.value) for record in records]
    return {alert["user_id"] for alert in alerts if alert["about"] == "stalled"}


@pytest.mark.parametrize("agents", ["ingest", "users", "users,trainer,ingest"])
def test_a_worker_whose_group_refuses_it_ends(strict, prefix, agents):
    """With a session longer than the broker allows, every kind of worker ends and says why."""
    encore = Deployment.on(strict, prefix, session_timeout=60, agents=agents)
    run = encore.run_process("worker", "--web-port", free_port())
    assert run.returncode == 1, run
    assert "the worker stopped: InvalidSessionTimeoutError" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture(scope="module")
def strict():
    """A broker that allows sessions of at most ten seconds."""
    with RealKafka("group.max.session.timeout.ms=10000\n") as broker:
        yield broker


def test_a_worker_leaves_no_temporary_files(encore, tmp_path):
    """Faust needs a folder for its data; the worker removes it at its end."""
    encore.environment["TMPDIR"] = str(tmp_path)
    with encore.worker() as worker:
        worker.ready()
        assert len(list(tmp_path.glob("encore-*"))) == 1
        assert worker.stop() == 0
    assert list(tmp_path.glob("encore-*")) == []
