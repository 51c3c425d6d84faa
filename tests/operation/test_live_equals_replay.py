"""Live equals replay: the same events through Kafka and workers give the same decisions, ids and contents.

The histories are the first three months of the OULAD sample and six weeks of the simulator, to keep the tests short.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import orjson
import pytest

from models.person.activity import DAY
from models.schema import event_codec
from models.schema import events as ev
from streams.kafka import topics
from tests.harness.deployment import Deployment
from tests.operation import replayed
from tests.operation.replayed import Outputs, ReplayedHistory

PARTITIONS = 4
TRAINER_INDEPENDENT = ("type", "user", "time", "until", "x", "churned", "back")
"""The fields of labelled rows and early signals that do not depend on the model's progress."""


@pytest.fixture(scope="module")
def histories():
    """The histories by name; each is played once in a run of the tests."""
    events = {"oulad": lambda: replayed.sample(6_000), "simulator": lambda: replayed.simulate(150, 42.0)}

    @functools.cache
    def history(which: str) -> ReplayedHistory:
        history = ReplayedHistory.play_once(which, events[which])
        found = {topic: len(by_id) for topic, by_id in history.frozen.items()}
        assert all(found[topic] > 30 for topic in replayed.OUTPUT_TOPICS), found
        return history

    return history


def frozen(broker, prefix: str, history: ReplayedHistory, **settings: object) -> Deployment:
    """A deployment with the campaign and the model of a history, without a trainer."""
    encore = Deployment.on(broker, prefix, **{**replayed.RULES, "agents": "users", **settings})
    encore.check("campaign", "apply", str(history.campaign))
    encore.check("model", "publish", str(history.model))
    return encore


@pytest.mark.parametrize(
    ("which", "workers", "chunk"), [("oulad", 1, 200), ("oulad", 2, 1), ("simulator", 2, 200), ("simulator", 1, 1_000)]
)
def test_what_is_sent_straight_into_the_log_is_decided_as_in_a_replay(
    kafka, prefix, tmp_path, histories, which, workers, chunk
):
    """With one worker and with two, in chunks and record by record."""
    history = histories(which)
    encore = frozen(kafka, prefix, history, chunk=chunk)
    with contextlib.ExitStack() as running:
        replayed.wait_for_shares([running.enter_context(encore.worker()) for _ in range(workers)], PARTITIONS)
        sent = orjson.loads(encore.check("send", str(history.file), "--until", history.until, "--json"))
        assert (sent["events"], sent["dead_letters"]) == (len(history.events), {})
        replayed.assert_same_outputs(replayed.read_topics(encore), history.frozen)
    assert_log_replays_the_same(encore, history, tmp_path / "log")


def assert_log_replays_the_same(encore: Deployment, history: ReplayedHistory, folder: Path) -> None:
    """Replay the log itself, with its ticks, and assert the same outputs."""
    given = ("--model", str(history.model), "--frozen", "--campaign", str(history.campaign), "--out", folder)
    encore.check("replay", "kafka:events", *given)
    replayed.assert_same_outputs(replayed.read_files(folder), history.frozen)


@pytest.mark.parametrize(("which", "workers", "chunk"), [("simulator", 1, 1), ("oulad", 2, 200), ("simulator", 2, 200)])
def test_what_comes_through_ingest_is_decided_as_in_a_replay(kafka, prefix, histories, which, workers, chunk):
    """Purchases in one topic, the rest in another, days of both in the topics before the workers start."""
    history = histories(which)
    encore = frozen(kafka, prefix, history, chunk=chunk, agents="ingest,users")
    money = [event for event in history.events if isinstance(event, ev.MoneyEvent)]
    encore.send("purchase-events", *money)
    encore.send("learning-events", *[event for event in history.events if not isinstance(event, ev.MoneyEvent)])
    assert 50 < len(money) < len(history.events)
    with contextlib.ExitStack() as running:
        running_workers = [running.enter_context(encore.worker()) for _ in range(workers)]
        replayed.wait_for_shares(running_workers, PARTITIONS)
        appended = {event_codec.encode(event) for event in history.events}
        encore.read_until("events", lambda records: appended <= {record.value for record in records})
        encore.tick(history.end + 10 * DAY - history.end % 1)
        replayed.assert_same_outputs(replayed.wait_for_outputs(encore, history.frozen), history.frozen)


def test_what_is_sent_to_an_input_topic_is_decided_as_in_a_replay(any_broker, prefix, histories):
    """Through ingest, with ticks that never overtake events that ingest has not appended yet."""
    history = histories("simulator")
    encore = frozen(any_broker, prefix, history, agents="ingest,users")
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(history.file), "--until", history.until, "--to", "learning-events")
        replayed.assert_same_outputs(replayed.read_topics(encore), history.frozen)


def test_with_learning_on_the_examples_are_the_same(any_broker, prefix, histories):
    """Ids, features, labels and early returns are the same; the scores depend on the trainer's progress."""
    history = histories("oulad")
    encore = Deployment.on(any_broker, prefix, **{**replayed.RULES, "agents": "users,trainer"})
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(history.file), "--until", history.until)
        found = replayed.read_topics(encore)
        learned = worker.metric("encore_learned_total")
    assert labelled_rows(found) == labelled_rows(history.learning)
    assert learned == sum(row[0] == "example" for row in labelled_rows(found).values())


def labelled_rows(found: Outputs) -> dict[str, tuple[object, ...]]:
    rows = [orjson.loads(value) for values in found[topics.EXAMPLES].values() for value in values]
    return {row["id"]: tuple(row.get(field) for field in TRAINER_INDEPENDENT) for row in rows}
