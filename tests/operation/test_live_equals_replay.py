"""Live equals replay: the same events through Kafka and workers give the same decisions, ids and contents.

Of the sample of OULAD the first three months are played, of the simulator six weeks: so the suite stays short.
"""

from __future__ import annotations

import contextlib
import functools

import orjson
import pytest

from models.person.activity import DAY
from models.schema import events as ev
from streams.kafka import topics
from tests.harness.deployment import Deployment
from tests.operation import replayed
from tests.operation.replayed import Outputs, ReplayedHistory

PARTITIONS = 4
KNOWN = ("type", "user", "time", "until", "x", "churned", "back")
"""What labelled rows and early signs say whoever scored them."""


@pytest.fixture(scope="module")
def pasts():
    """Each history, played once in a run of the tests."""
    events = {"oulad": lambda: replayed.sample(6_000), "simulator": lambda: replayed.simulate(150, 42.0)}

    @functools.cache
    def past(which: str) -> ReplayedHistory:
        past = ReplayedHistory.play_once(which, events[which])
        found = {topic: len(by_id) for topic, by_id in past.frozen.items()}
        assert all(found[topic] > 30 for topic in replayed.OUTPUT_TOPICS), found
        return past

    return past


def frozen(broker, prefix: str, past: ReplayedHistory, **settings: object) -> Deployment:
    """An Encore with the campaign and the model of a past, which nobody trains."""
    encore = Deployment.on(broker, prefix, **{**replayed.RULES, "agents": "users", **settings})
    encore.check("campaign", "apply", str(past.campaign))
    encore.check("model", "publish", str(past.model))
    return encore


@pytest.mark.parametrize(
    ("which", "workers", "chunk"), [("oulad", 1, 200), ("oulad", 2, 1), ("simulator", 2, 200), ("simulator", 1, 1_000)]
)
def test_what_is_sent_straight_into_the_log_is_decided_as_in_a_replay(kafka, prefix, pasts, which, workers, chunk):
    """By one worker and by two, in chunks and record by record."""
    past = pasts(which)
    encore = frozen(kafka, prefix, past, chunk=chunk)
    with contextlib.ExitStack() as running:
        replayed.wait_for_shares([running.enter_context(encore.worker()) for _ in range(workers)], PARTITIONS)
        sent = orjson.loads(encore.check("send", str(past.file), "--until", past.until, "--json"))
        assert (sent["events"], sent["dead_letters"]) == (len(past.events), {})
        replayed.assert_same_outputs(replayed.read_topics(encore), past.frozen)
    again(encore, past, str(past.file.parent / f"again-{workers}"))


def again(encore: Deployment, past: ReplayedHistory, folder: str) -> None:
    """The log itself, played again: the same once more, of its ticks too."""
    given = ("--model", str(past.model), "--frozen", "--campaign", str(past.campaign), "--out", folder)
    encore.check("replay", "kafka:events", *given)
    replayed.assert_same_outputs(replayed.read_files(past.file.parent / folder), past.frozen)


@pytest.mark.parametrize(("which", "workers", "chunk"), [("simulator", 1, 1), ("oulad", 2, 200), ("simulator", 2, 200)])
def test_what_comes_through_ingest_is_decided_as_in_a_replay(kafka, prefix, pasts, which, workers, chunk):
    """Money in one topic, the rest in another, days of both waiting before the workers start."""
    past = pasts(which)
    encore = frozen(kafka, prefix, past, chunk=chunk, agents="ingest,users")
    money = [event for event in past.events if isinstance(event, ev.MoneyEvent)]
    encore.send("purchase-events", *money)
    encore.send("learning-events", *[event for event in past.events if not isinstance(event, ev.MoneyEvent)])
    assert 50 < len(money) < len(past.events)
    with contextlib.ExitStack() as running:
        those = [running.enter_context(encore.worker()) for _ in range(workers)]
        replayed.wait_for_shares(those, PARTITIONS)
        those[0].until(
            lambda: sum(one.metric("encore_records_total", agent="users") for one in those) >= len(past.events)
        )
        encore.tick(past.end + 10 * DAY - past.end % 1)
        replayed.assert_same_outputs(replayed.wait_for_outputs(encore, past.frozen), past.frozen)


def test_what_is_sent_to_an_input_topic_is_decided_as_in_a_replay(any_broker, prefix, pasts):
    """Through ingest, with ticks that never overtake what it has not appended yet."""
    past = pasts("simulator")
    encore = frozen(any_broker, prefix, past, agents="ingest,users")
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(past.file), "--until", past.until, "--to", "learning-events")
        replayed.assert_same_outputs(replayed.read_topics(encore), past.frozen)


def test_with_learning_on_the_examples_are_the_same(any_broker, prefix, pasts):
    """Ids, features and labels, and who was back early; what was thought of them depends on the trainer's progress."""
    past = pasts("oulad")
    encore = Deployment.on(any_broker, prefix, **{**replayed.RULES, "agents": "users,trainer"})
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(past.file), "--until", past.until)
        said = replayed.read_topics(encore)
        learned = worker.metric("encore_learned_total")
    assert labelled(said) == labelled(past.learning)
    assert learned == sum(row[0] == "example" for row in labelled(said).values())


def labelled(said: Outputs) -> dict[str, tuple[object, ...]]:
    rows = [orjson.loads(value) for values in said[topics.EXAMPLES].values() for value in values]
    return {row["id"]: tuple(row.get(field) for field in KNOWN) for row in rows}
