"""History sent to a live system: nothing lost, nothing twice, nothing too early, and nobody gets old news."""

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


def lives(people: int = 40, days: int = 12, start: float = START) -> list[ev.Event]:
    """People of whom every second learns daily, and the others for the first four days only."""
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


def in_time(encore: Deployment) -> int:
    """See that no tick in the log stands before an earlier event; return how many ticks there are."""
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


def test_what_is_sent_twice_counts_once(any_broker, prefix, tmp_path):
    """Whoever was interrupted sends again, under whatever name: people know what is in them already.

    What is unusable is among the dead letters with its reason, courses are in the catalogue.
    """
    encore = Deployment.on(any_broker, prefix, **RULES)
    course = ev.CoursePublished(id="c", course_id="c1", time=START + 5, title="One")
    future = ev.Login(id="f", user_id="u1", time=START + 900 * DAY)
    file = replayed.write_events([*lives(), course, future], tmp_path / "events.jsonl")
    file.write_bytes(b"{broken\n" + file.read_bytes())
    with encore.worker() as worker:
        worker.ready()
        summary = sent(encore, file, "--until", "2025-07-20")
        assert (summary["events"], summary["catalogue"]) == (len(lives()), 1)
        assert summary["dead_letters"] == {"malformed": 1, "far_future": 1}
        assert summary["last"] == START + 34 * DAY
        assert len(encore.read("course-catalog")) == 1
        before, people = replayed.read_topics(encore), [worker.user(f"u{person}") for person in range(5)]
        assert len(before[topics.EXAMPLES]) > 50
        again = sent(encore, file.rename(tmp_path / "renamed.jsonl"), "--until", "2025-07-20")
        assert again["events"] == summary["events"]
        assert worker.metric("encore_duplicates_total", how="origin") == len(lives())
        assert (replayed.read_topics(encore), [worker.user(f"u{person}") for person in range(5)]) == (before, people)
    listed = encore.check("dead-letters", "list").splitlines()
    assert {line.split()[1] for line in listed} == {"far_future", "malformed"}


@pytest.mark.parametrize("to", ["events", "learning-events"])
def test_time_passes_at_the_speed_that_is_wanted(embedded_broker, prefix, tmp_path, to):
    """With ticks in between, also where nothing happens, that never overtake an event."""
    encore = Deployment.on(embedded_broker, prefix, **{**RULES, "agents": "ingest,users"})
    gap = [*lives(days=2), *lives(days=1, start=START + 9 * DAY)]
    file = replayed.write_events(gap, tmp_path / "events.jsonl")
    with encore.worker() as worker:
        worker.ready()
        where = () if to == "events" else ("--to", to)
        assert sent(encore, file, "--speed", 4 * DAY, *where)["events"] == len(gap)
        assert worker.metric("encore_records_total", agent="users") == len(encore.read("events"))
    assert in_time(encore) > 4 * (5 if to == "events" else 1)


def test_old_news_is_not_mailed(any_broker, prefix, tmp_path):
    """All is decided as in a replay; what would have been an alert or a coupon is undelivered: expired."""
    past = ReplayedHistory.play(lives(), tmp_path, **{**RULES, "alert_lasts": "1d"})
    encore = Deployment.on(any_broker, prefix, **{**RULES, "alert_lasts": "1d", "expiry": "wall", "agents": "users"})
    encore.check("campaign", "apply", str(past.campaign))
    encore.check("model", "publish", str(past.model))
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(past.file), "--until", past.until)
        said = replayed.read_topics(encore)
    news = {**past.frozen.pop(topics.ALERTS), **past.frozen.pop(topics.TRIGGERS)}
    assert (said.pop(topics.ALERTS), said.pop(topics.TRIGGERS)) == ({}, {})
    undelivered = {
        name: notice
        for name, contents in said[topics.DECISIONS].items()
        for notice in map(orjson.loads, contents)
        if notice["type"] == "undelivered"
    }
    assert undelivered.keys() == news.keys() != set()
    assert {notice["reason"] for notice in undelivered.values()} == {Undelivered.__struct_defaults__[-1]}
    decided = {name: contents for name, contents in said[topics.DECISIONS].items() if name not in undelivered}
    assert {**said, topics.DECISIONS: decided} == past.frozen


def test_history_cannot_go_behind_what_has_happened(embedded_broker, prefix, tmp_path):
    """Where the log is further already, and where the settings would have it be, one line says so; nothing is sent."""
    encore = Deployment.on(embedded_broker, prefix, **{**RULES, "agents": "users"})
    late = replayed.write_events(lives(days=1, start=START + 20 * DAY), tmp_path / "late.jsonl")
    early = replayed.write_events(lives(days=1), tmp_path / "early.jsonl")
    with encore.worker() as worker:
        worker.ready()
        encore.check("send", str(late))
        for command, word in (
            (("send", str(early)), "it would all be late"),
            (("send", str(early), "--to", "nowhere"), "ingest reads learning-events"),
            (("send", str(early), "--to", "learning-events"), "it would all be late"),
            (("send", str(tmp_path / "absent.jsonl")), "no such file"),
        ):
            run = encore.run(*command)
            assert (run.returncode, run.stderr.count("\n"), word in run.stderr) == (2, 1, True), run.stderr
    encore.environment["ENCORE_CLOCK"] = "wall"
    run = encore.run("send", str(early))
    assert (run.returncode, run.stderr.count("\n"), "clock = source" in run.stderr) == (2, 1, True), run.stderr
    assert len({record.value for record in encore.read("events") if record.key}) == len(lives(days=1))


def test_a_live_system_begins_with_what_a_replay_learned(any_broker, prefix, tmp_path):
    """It scores from the first event; the trainer goes on from it, and from the one that is put in its place."""
    past = ReplayedHistory.play(lives(), tmp_path, **RULES)
    labels = decode_snapshot(past.model.read_bytes()).labels
    encore = Deployment.on(any_broker, prefix, **RULES)
    assert encore.check("model", "publish", str(past.model)) == f"a model of {labels} labels is published\n"
    run = encore.run("model", "publish", str(past.model))
    assert (run.returncode, run.stderr.count("\n"), "--replace" in run.stderr) == (2, 1, True), run.stderr
    with encore.worker() as worker:
        worker.ready()
        assert worker.metric("encore_model_labels") == labels
        encore.check("send", str(past.file))
        examples = labelled(encore)
        assert "prior" not in {example["model"] for example in examples}
        learned = worker.metric("encore_learned_total")
        assert learned == len(examples) > 50
        worker.until(lambda: worker.metric("encore_model_labels") == labels + learned)
        encore.check("model", "publish", str(past.model), "--replace")
        worker.until(lambda: worker.metric("encore_model_labels") == labels)
        later = replayed.write_events(lives(start=START + 15 * DAY), tmp_path / "later.jsonl")
        encore.check("send", str(later))
        more = len(labelled(encore)) - len(examples)
        assert more > 50
        worker.until(lambda: worker.metric("encore_model_labels") == labels + more)


def labelled(encore: Deployment) -> list[dict[str, object]]:
    said = [json.loads(record.value) for record in encore.read("examples")]
    return [one for one in said if one["type"] == "example"]


def test_a_live_system_goes_on_where_history_ends(kafka, prefix, tmp_path):
    """On topics made for live use: workers with clock = source take the history, the same people then live on."""
    encore = Deployment.on(kafka, prefix, **{**RULES, "clock": "wall", "agents": "ingest,users"})
    encore.environment["ENCORE_CLOCK"] = "source"
    for number, to in enumerate(("events", "learning-events")):
        file = replayed.write_events(lives(10, 3, start=START + number * 5 * DAY), tmp_path / f"{number}.jsonl")
        with encore.worker() as worker:
            worker.ready()
            encore.check("send", str(file), *(() if to == "events" else ("--to", to)))
    encore.environment["ENCORE_CLOCK"] = "wall"
    past = ReplayedHistory.play(lives(10, 3), tmp_path, **RULES)
    encore.check("model", "publish", str(past.model))
    assert len(encore.read("examples")) > 10
    with encore.worker(agents="ingest,users,trainer") as worker:
        worker.ready()
        assert worker.user("u1")["events"] == 6
        assert worker.metric("encore_learned_total") == 0  # the model knows these rows
        encore.send("learning-events", ev.Login(id="now", user_id="u1", time=START + 30 * DAY))
        worker.until(lambda: worker.user("u1")["events"] == 7)
