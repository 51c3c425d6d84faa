"""Recommendations as platforms and operators use them: course events in; rows, lists and audiences out."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from typing import Any

import pytest

from models.person.activity import DAY
from models.person.person import Person
from models.person.preferences import Preferences, fold_interaction
from models.person.rules import Rules
from models.recommend.cooccurrence import CooccurrenceRow, CountingWindow, update_row
from models.retention.recommendations import key_for
from models.schema import events as ev
from streams.agents.courses import store
from tests.harness.deployment import SHORT_SESSION, Deployment
from tests.operation.replayed import wait_for_shares

START = 1_750_000_000.0
FIELDS = ("databases", "painting", "cooking")
OURS = {"recommendation_time": 0.5, "agents": "ingest,users,courses,trainer", "lateness": "1m", "skew": "1m"}


def catalogue() -> list[ev.CourseEvent]:
    """Ten courses in each of three fields."""
    return [
        ev.CoursePublished(
            id=f"new {field} {number}",
            course_id=f"{field}-{number}",
            time=START - DAY,
            title=f"{field} number {number}",
            tags=(field,),
        )
        for field in FIELDS
        for number in range(10)
    ]


def course_uses(people: int, most: int = 6, first: int = 0, start: float = START) -> list[ev.Event]:
    """Users who each take some courses of one field in turn."""
    events: list[ev.Event] = []
    for step in range(most):
        for person in range(first, people):
            field, course = FIELDS[person % 3], (person // 3 + step) % 10
            about: dict[str, Any] = {"user_id": f"u{person}", "course_id": f"{field}-{course}"}
            time = start + step * DAY / 2 + person
            events.append(ev.CourseView(id=f"view {person} {step}", time=time, **about))
            if step % 2 == 0:
                events.append(ev.CourseCompleted(id=f"done {person} {step}", time=time + 600.0, **about))
    return sorted(events, key=lambda event: event.time)


def test_users_get_recommendations(kafka, prefix):
    """Lists come on a topic and over HTTP, each course with its reason; a withdrawn course disappears at once."""
    encore = Deployment.on(kafka, prefix, **OURS)
    with encore.worker() as worker:
        worker.ready()
        encore.send("learning-events", *catalogue(), *course_uses(60))
        events = encore.read_until("recommendations", lambda records: len({record.key for record in records}) == 60)
        lists = {record.key.decode(): json.loads(record.value) for record in events}
        assert all(one["reason"] for listed in lists.values() for one in listed["courses"])
        worker.until(
            lambda: _events_applied(worker) == len(course_uses(60)) and worker.metric("encore_lists_waiting") == 0
        )
        for person in range(60):
            had = {event.course_id for event in course_uses(60) if event.user_id == f"u{person}"}
            courses = {one["course_id"] for one in _recommendations(worker, f"u{person}")}
            assert courses
            assert not had & courses
        worker.until(lambda: _fields(_recommendations(worker, "u0")[:3]) == {"databases"})
        gone = _recommendations(worker, "u0")[0]["course_id"]
        encore.send("learning-events", ev.CourseWithdrawn(id="gone", course_id=gone, time=START + 5 * DAY))
        worker.until(lambda: gone not in [one["course_id"] for one in _recommendations(worker, "u0")])
        encore.send("learning-events", *course_uses(90, first=60, start=START + 6 * DAY))
        worker.until(lambda: worker.metric("encore_ranker_lists") > 0)
        assert worker.get("/users/u0/recommendations?n=3000")[0] == 400
        assert len(_recommendations(worker, "u0", "?n=2&repeats=all")) == 2
        assert worker.metric("encore_failures_total") == worker.metric("encore_dead_letters_total") == 0


def test_an_announced_course_gets_its_audience(kafka, prefix):
    """Users of similar courses, from all partitions, within the given size, and none without consent."""
    encore = Deployment.on(kafka, prefix, **OURS)
    unwilling = ev.ConsentWithdrawn(id="no", user_id="u0", time=START + 4 * DAY)
    new = ev.CoursePublished(
        id="new", course_id="query-plans", time=START + 5 * DAY, title="Query plans", tags=("databases",), audience=12
    )
    with encore.worker() as one, encore.worker() as other:
        wait_for_shares([one, other], 4)
        encore.send("learning-events", *catalogue(), *course_uses(60), unwilling)
        one.until(lambda: _events_applied(one) + _events_applied(other) == len(course_uses(60)) + 1)
        encore.send("learning-events", new)
        (record,) = encore.read_until("course-audiences", bool)
        audience = json.loads(record.value)
    assert (audience["course_id"], audience["announcement"], audience["size"]) == ("query-plans", "new", 12)
    people = [one["user_id"] for one in audience["people"]]
    assert len(set(people)) == 12
    assert {int(person[1:]) % 3 for person in people} == {0}
    assert "u0" not in people
    interests = [one["interest"] for one in audience["people"]]
    assert interests == sorted(interests, reverse=True)


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_course_rows_are_exact_after_a_crash(kafka, prefix, engine):
    """Two workers, of which one is killed under load and replaced: every interaction counts once."""
    settings = {**OURS, **SHORT_SESSION, "agents": "users,courses", "engine": engine, "commit_every": "0.5s"}
    encore = Deployment.on(kafka, prefix, **settings)
    events = course_uses(90, 8)
    with encore.worker() as survivor, encore.worker() as killed:
        wait_for_shares([survivor, killed], 4)
        encore.send("events", *events[: len(events) // 2])
        encore.read_until("course-rows", lambda records: len(records) > 20)
        encore.send("events", *events[len(events) // 2 :])
        killed.stop(signal.SIGKILL)
        with encore.worker() as joins:
            wait_for_shares([survivor, joins], 4)
            found: dict[str, CooccurrenceRow] = {}
            expected = reference(events)

            def there() -> bool:
                found.clear()
                found.update(stored_rows(encore))
                return {name: row.uses for name, row in found.items()} == {n: row.uses for n, row in expected.items()}

            survivor.until(there)
            assert survivor.metric("encore_dead_letters_total") + joins.metric("encore_dead_letters_total") == 0
    now = events[-1].time
    for name, row in expected.items():
        assert undecayed_values(found[name], now) == pytest.approx(undecayed_values(row, now), rel=1e-9, abs=1e-9), name
        assert set(found[name].people) == set(row.people)


def reference(events: list[ev.Event]) -> dict[str, CooccurrenceRow]:
    """The rows from the pure functions alone."""
    preferences: dict[str, Preferences] = defaultdict(Preferences)
    found: dict[str, CooccurrenceRow] = {}
    rules = Rules(pseudonym_key=b"k")
    for event in events:
        key = key_for(Person(event.user_id), rules)
        preferences[event.user_id], interaction = fold_interaction(preferences[event.user_id], event, key)
        if interaction is not None:
            found[interaction.course] = update_row(
                found.get(interaction.course, CooccurrenceRow(interaction.course)), interaction, CountingWindow()
            )
    return found


def stored_rows(encore: Deployment) -> dict[str, CooccurrenceRow]:
    """The rows in the compacted topic."""
    newest = {record.key: record.value for record in encore.read("course-rows") if not record.key.startswith(b"\0")}
    return {key.decode(): store.decode_course(value).row for key, value in newest.items()}


def undecayed_values(row: CooccurrenceRow, now: float) -> dict[str, float]:
    """The values of a row at a moment, whatever its landmark is."""
    fading = 2.0 ** ((row.landmark - now) / CountingWindow().fading)
    values = {
        "mass": row.mass,
        "uses": row.uses,
        "audience": row.audience,
        "first": row.first,
        "last": row.last,
    }
    for course, pair in row.near.items():
        values |= {f"{course} near": pair.together, f"{course} order": pair.order}
        values[f"{course} fading"] = pair.fading * fading
    values |= {f"{course} path": weight for course, weight in row.path.items()}
    lives = (1.0, 7.0, 30.0, 30.0)
    for kind, (count, life) in enumerate(zip(row.popular, lives, strict=True)):
        values[f"popular {kind}"] = count * 2.0 ** ((row.last - now) / DAY / life)
    return values


def _recommendations(worker: Any, person: str, query: str = "") -> list[dict[str, Any]]:
    status, body = worker.get(f"/users/{person}/recommendations{query}")
    assert status == 200, body
    listed: list[dict[str, Any]] = json.loads(body)["recommendations"]
    return listed


def _fields(listed: list[dict[str, Any]]) -> set[str]:
    return {one["course_id"].split("-")[0] for one in listed}


def _events_applied(worker: Any) -> float:
    return float(worker.metric("encore_events_total"))
