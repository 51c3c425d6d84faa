"""History sent to a live system: no event lost, repeated or early, and no user gets an expired alert."""

from __future__ import annotations

import json

import orjson
import pytest

from models.churn.snapshot import decode_snapshot
from models.person.activity import DAY
from models.schema import event_codec
from models.schema import events as ev
from models.schema.outputs import Undelivered
from streams.kafka import topics
from tests.harness.deployment import Deployment
from tests.operation import replayed
from tests.operation.replayed import ReplayedHistory

START = 1_750_032_000.0
RULES = {
    **replayed.RULES,
    "horizon": "2d",
    "lookback": "4d",
    "stalled_after": "2d",
    "dwell": 0,
    "agents": "users,trainer",
}


def learning_weeks(people: int = 40, days: int = 12, start: float = START) -> list[ev.Event]:
    """Users of whom every second one learns daily, and the others on the first four days only."""
    return [
        ev.LessonProgress(
            id=f"{start}-{person}-{day}",
            user_id=f"u{person}",
            time=start + day * DAY + person * 60,
            course_id="c1",
            progress=min(1.0, (day + 1) / 40),
        )
        for day in range(days)
        for person in range(people)
        if day < 4 or person % 2
    ]


def count_ticks_in_order(encore: Deployment) -> int:
    """Assert that no tick in the log precedes an event that is older than it; return the number of ticks."""
    ticks, clock = 0, dict.fromkeys(range(4), 0.0)
    for record in encore.read("events"):
        event = event_codec.decode(record.value)
        assert event.time >= clock[record.partition]
        if isinstance(event, ev.Tick):
            clock[record.partition] = event.time
            ticks += 1
    return ticks


def sent(encore: Deployment, *arguments: object) -> dict[str, object]:
    return orjson.loads(encore.check("send", *map(str, arguments), "--json"))


def test_events_sent_twice_count_once(any_broker, prefix, tmp_path):
    """An interrupted `send` can be repeated, also from a renamed file: users know the offsets they contain.

    Unusable lines become dead letters with their reason; courses go to the catalogue.
    """
    encore = Deployment.on(any_broker, prefix, **RULES)
    course = ev.CoursePublished(id="c", course_id="c1", time=START + 5, title="One")
    future = ev.Login(id="f", user_id="u1", time=START + 900 * DAY)
    file = replayed.write_events([*learning_weeks(), course, future], tmp_path / "events.jsonl")
    file.write_bytes(b"{broken\n" + file.read_bytes())
    with encore.worker() as worker:
        worker.ready()
        summary = sent(encore, file, "--until", "2025-07-20")
        assert (summary["events"], summary["catalogue"]) == (len(learning_weeks()), 1)
        assert summary["dead_letters"] == {"malformed": 1, "far_future": 1}
        assert summary["last"] == START + 34 * DAY
        assert len(encore.read("course-catalog")) == 1
        before, people = replayed.read_topics(encore), [worker.user(f"u{person}") for person in range(5)]
        assert len(before[topics.EXAMPLES]) > 50
        again = sent(encore, file.rename(tmp_path / "renamed.jsonl"), "--until", "2025-07-20")
        assert again["events"] == summary["events"]
        assert worker.metric("encore_duplicates_total", how="origin") == len(learning_weeks())
        assert (replayed.read_topics(encore), [worker.user(f"u{person}") for person in range(5)]) == (before, people)
    listed = encore.check("dead-letters", "list").splitlines()
    assert {line.split()[1] for line in listed} == {"far_future", "malformed"}


@pytest.mark.parametrize("to", ["events", "learning-events"])
def test_time_passes_at_the_given_speed(embedded_broker, prefix, tmp_path, to):
    """Ticks come in between, also where no event is, and never overtake an event."""
    encore = Deployment.on(embedded_broker, prefix, **{**RULES, "agents": "ingest,users"})
    gap = [*learning_weeks(days=2), *learning_weeks(days=1, start=START + 9 * DAY)]
    file = replayed.write_events(gap, tmp_path / "events.jsonl")
    with encore.worker() as worker:
        worker.ready()
        where = () if to == "events" else ("--to", to)
        assert sent(encore, file, "--speed", 4 * DAY, *where)["events"] == len(gap)
        assert worker.metric("encore_records_total", agent="users") == len(encore.read("events"))
    assert count_ticks_in_order(encore) > 4 * (5 if to == "events" else 1)


def test_expired_alerts_and_coupons_are_not_sent(any_broker, prefix, tmp_path):
    """Decisions are those of a replay; each alert or coupon becomes a record `undelivered`, with reason expired."""
    history = ReplayedHistory.play(learning_weeks(), tmp_path, **{**RULES, "alert_lasts": "1d"})
    encore = Deployment.on(any_broker, prefix, **{**RULES, "alert_lasts": "1d", "expiry": "wall", "agents": "users"})
    encore.check("campaign", "apply", str(history.campaign))
    encore.check("model", "publish", str(history.model))
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(history.file), "--until", history.until)
        found = replayed.read_topics(encore)
    news = {**history.frozen.pop(topics.ALERTS), **history.frozen.pop(topics.TRIGGERS)}
    assert (found.pop(topics.ALERTS), found.pop(topics.TRIGGERS)) == ({}, {})
    undelivered = {
        name: notice
        for name, contents in found[topics.DECISIONS].items()
        for notice in map(orjson.loads, contents)
        if notice["type"] == "undelivered"
    }
    assert undelivered.keys() == news.keys() != set()
    assert {notice["reason"] for notice in undelivered.values()} == {Undelivered.__struct_defaults__[-1]}
    decided = {name: contents for name, contents in found[topics.DECISIONS].items() if name not in undelivered}
    assert {**found, topics.DECISIONS: decided} == history.frozen


def test_history_older_than_the_log_is_refused(embedded_broker, prefix, tmp_path):
    """Where the log, or the clock of the settings, is further already, one line says so and nothing is sent."""
    encore = Deployment.on(embedded_broker, prefix, **{**RULES, "agents": "users"})
    late = replayed.write_events(learning_weeks(days=1, start=START + 20 * DAY), tmp_path / "late.jsonl")
    early = replayed.write_events(learning_weeks(days=1), tmp_path / "early.jsonl")
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", late, process=True)
        for command, word in (
            (("send", str(early)), "all of it would be late"),
            (("send", str(early), "--to", "nowhere"), "ingest reads learning-events"),
            (("send", str(early), "--to", "learning-events"), "all of it would be late"),
            (("send", str(tmp_path / "absent.jsonl")), "no such file"),
        ):
            run = encore.run(*command)
            assert (run.returncode, run.stderr.count("\n"), word in run.stderr) == (2, 1, True), run.stderr
    encore.environment["ENCORE_CLOCK"] = "wall"
    run = encore.run("send", str(early))
    assert (run.returncode, run.stderr.count("\n"), "clock = source" in run.stderr) == (2, 1, True), run.stderr
    assert len({record.value for record in encore.read("events") if record.key}) == len(learning_weeks(days=1))


def test_a_live_system_starts_with_a_model_from_a_replay(any_broker, prefix, tmp_path):
    """It scores from the first event. The trainer continues from this model, and later from its replacement."""
    history = ReplayedHistory.play(learning_weeks(), tmp_path, **RULES)
    labels = decode_snapshot(history.model.read_bytes()).labels
    encore = Deployment.on(any_broker, prefix, **RULES)
    assert encore.check("model", "publish", history.model, process=True) == f"a model of {labels} labels is published\n"
    run = encore.run("model", "publish", str(history.model))
    assert (run.returncode, run.stderr.count("\n"), "--replace" in run.stderr) == (2, 1, True), run.stderr
    with encore.worker() as worker:
        worker.ready()
        assert worker.metric("encore_model_labels") == labels
        encore.check("send", str(history.file))
        examples = labelled_rows(encore)
        assert "prior" not in {example["model"] for example in examples}
        learned = worker.metric("encore_learned_total")
        assert learned == len(examples) > 50
        worker.until(lambda: worker.metric("encore_model_labels") == labels + learned)
        encore.check("model", "publish", str(history.model), "--replace")
        worker.until(lambda: worker.metric("encore_model_labels") == labels)
        later = replayed.write_events(learning_weeks(start=START + 15 * DAY), tmp_path / "later.jsonl")
        encore.check("send", str(later))
        more = len(labelled_rows(encore)) - len(examples)
        assert more > 50
        worker.until(lambda: worker.metric("encore_model_labels") == labels + more)


def labelled_rows(encore: Deployment) -> list[dict[str, object]]:
    found = [json.loads(record.value) for record in encore.read("examples")]
    return [one for one in found if one["type"] == "example"]


def test_a_live_system_continues_where_history_ends(kafka, prefix, tmp_path):
    """On topics for live use, workers with clock = source take the history; then the same users continue live."""
    encore = Deployment.on(kafka, prefix, **{**RULES, "clock": "wall", "agents": "ingest,users"})
    encore.environment["ENCORE_CLOCK"] = "source"
    for number, to in enumerate(("events", "learning-events")):
        file = replayed.write_events(
            learning_weeks(10, 3, start=START + number * 5 * DAY), tmp_path / f"{number}.jsonl"
        )
        with encore.worker() as worker:
            worker.ready()
            encore.check("send", str(file), *(() if to == "events" else ("--to", to)))
    encore.environment["ENCORE_CLOCK"] = "wall"
    history = ReplayedHistory.play(learning_weeks(10, 3), tmp_path, **RULES)
    encore.check("model", "publish", str(history.model))
    assert len(encore.read("examples")) > 10
    with encore.worker(agents="ingest,users,trainer") as worker:
        worker.ready()
        assert worker.user("u1")["events"] == 6
        assert worker.metric("encore_learned_total") == 0  # the model has learned from these rows
        encore.send("learning-events", ev.Login(id="now", user_id="u1", time=START + 30 * DAY))
        worker.until(lambda: worker.user("u1")["events"] == 7)
