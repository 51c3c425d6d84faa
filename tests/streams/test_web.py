"""The web server: figures that Prometheus reads, whether the worker is ready, and what is known of a person."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
import yarl
from prometheus_client.parser import text_string_to_metric_families

from models.person.activity import DAY
from models.person.person import Person
from models.person.rules import Rules
from models.retention.context import Context
from streams import metrics as metrics_
from streams.agents.users.envelope import Envelope, OutboxMessage
from streams.errors import OperatorError
from streams.metrics import Metrics
from streams.settings import Settings
from streams.web import FORWARDED_HEADER, WorkerQueries, serve
from tests.harness.kafka import free_port
from tests.models.people import NOON, campaign, live, made, model, world

Ask = Callable[..., Awaitable[tuple[int, bytes]]]
"""Get a path from the server: its status and body."""


class FakeWorker:
    """A worker with the users and answers that a test gives it."""

    def __init__(self, *people: Envelope, why: str = "", elsewhere: str | None = None) -> None:
        self.why = why
        self.held = {envelope.person.id.encode(): envelope for envelope in people}
        self.asked: list[bytes] = []
        self.elsewhere = elsewhere

    def not_ready(self) -> str:
        return self.why

    def user(self, key: bytes) -> Envelope | None:
        return self.held.get(key)

    def holder(self, key: bytes) -> str | None:
        self.asked.append(key)
        return self.elsewhere

    def now(self, key: bytes) -> float:
        return NOON + 5 * DAY

    def context(self) -> Context:
        return Context(rules=Rules())


def served(answers: WorkerQueries, act: Callable[[Ask, str], Awaitable[None]], metrics: Metrics | None = None) -> None:
    """Serve on a free port for as long as a test's act."""

    async def both() -> None:
        settings = Settings(web_port=free_port())
        runner = await serve(settings, metrics or Metrics(), answers)
        try:
            async with aiohttp.ClientSession() as session:

                async def ask(path: str, **headers: str) -> tuple[int, bytes]:
                    async with session.get(f"http://127.0.0.1:{settings.web_port}{path}", headers=headers) as answer:
                        return answer.status, await answer.read()

                await act(ask, f"http://127.0.0.1:{settings.web_port}")
        finally:
            await runner.cleanup()

    asyncio.run(asyncio.wait_for(both(), 20))


def json_of(answer: tuple[int, bytes]) -> tuple[int, Any]:
    return answer[0], orjson.loads(answer[1])


def test_metrics_can_be_read_by_prometheus() -> None:
    """Every figure has its help and type; counters, labels, gauges and buckets say what was counted."""
    metrics = Metrics()
    metrics.add("encore_events_total", "applied", by=3)
    metrics.add("encore_decisions_total", "coupon", 'qu"ot\\ed\n')
    metrics.add("encore_erasures_total")
    metrics.watch(lambda: {("encore_people", ("high",)): 7.0})
    for seconds in (0.004, 0.3, 99.0):
        metrics.observe("encore_decision_seconds", seconds)

    async def act(ask: Ask, _: str) -> None:
        status, body = await ask("/metrics")
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        found = {(s.name, *s.labels.values()): s.value for family in families.values() for s in family.samples}
        assert status == 200
        assert found["encore_events_total", "applied"] == 3.0
        assert found["encore_decisions_total", "coupon", 'qu"ot\\ed\n'] == 1.0
        assert found["encore_erasures_total",] == 1.0
        assert found["encore_people", "high"] == 7.0
        buckets = [found["encore_decision_seconds_bucket", edge] for edge in ("0.005", "0.25", "0.5", "60.0", "+Inf")]
        assert buckets == [1.0, 1.0, 2.0, 2.0, 3.0]
        assert found["encore_decision_seconds_count",] == 3.0
        names = {name.removesuffix("_total") for name in (*metrics_.METRICS, *metrics_.RENAMED)}
        assert set(families) == names
        assert all(family.documentation for family in families.values())

    served(FakeWorker(), act, metrics)


@pytest.mark.parametrize(("why", "status"), [("", 200), ("partitions are being given out", 503)])
def test_readiness_says_why_not(why: str, status: int) -> None:
    """503 until the worker works, with the reason; it is alive all the while."""

    async def act(ask: Ask, _: str) -> None:
        assert json_of(await ask("/readyz")) == (status, {"ready": not why, "why": why or None})
        assert json_of(await ask("/healthz")) == (200, {"alive": True})

    served(FakeWorker(why=why), act)


def known_person(name: str) -> Envelope:
    events = [made(n, NOON + n * 3_600.0, kind, 0.4, name) for n, kind in enumerate((0, 2, 10, 12, 16))]
    state = world(campaign=campaign(), model=model(0.0, 3.0))
    person, _ = live(Person(name), events, state, NOON + DAY)
    return Envelope(person, 9, outbox=(OutboxMessage("i", "t", b"k", b"v", 1.0, True),))


def test_a_person_is_told_as_they_stand() -> None:
    """Tier, score, stage, courses, money, consent, offers, and what is still to be done and delivered."""
    envelope = known_person("Ada")
    ledger, activity = envelope.person.ledger, envelope.person.activity

    async def act(ask: Ask, _: str) -> None:
        status, told = json_of(await ask("/users/Ada"))
        assert status == 200
        assert (told["user_id"], told["tier"], told["churn_probability"]) == ("Ada", "high", ledger.probability)
        assert (told["stage"], told["events"], told["minutes"]) == ("new", activity.events, activity.minutes)
        assert told["courses"] == [{"id": "c2", "progress": 0.4, "minutes": 24.0, "last": NOON + 3_600.0}]
        assert (told["purchases"], told["spend"], told["consent"]) == (1, activity.wallet.spend, True)
        assert [offer["id"] for offer in told["open_offers"]] == [offer.id for offer in ledger.offers]
        assert len(told["open_offers"]) == 1
        assert (told["labels_pending"], told["undelivered"]) == (len(ledger.pending_labels), 1)
        assert NOON < told["next_due"] < float("inf")

    served(FakeWorker(envelope), act)


@pytest.mark.parametrize("name", ["a/b", "Jürgen Groß", "50%", "a?b#c", "..", "%2e"])
def test_a_person_of_any_name_can_be_asked_for(name: str) -> None:
    """The id stands in the path as URLs have it."""

    async def act(ask: Ask, address: str) -> None:
        async with aiohttp.ClientSession() as session:
            quoted = yarl.URL(f"{address}/users/{quote(name, safe='').replace('.', '%2E')}", encoded=True)
            async with session.get(quoted) as answer:
                assert (answer.status, (await answer.json())["user_id"]) == (200, name)

    served(FakeWorker(known_person(name)), act)


def test_nobody_is_404() -> None:
    """Somebody whom no worker holds."""

    async def act(ask: Ask, _: str) -> None:
        assert json_of(await ask("/users/Eve")) == (404, {"error": "this user is not known"})
        assert (await ask("/users/"))[0] == 404

    served(FakeWorker(known_person("Ada")), act)


def test_a_person_held_by_another_worker_is_asked_for_there() -> None:
    """The answer is passed on as it is, also that there is nobody."""

    async def act(_: Ask, address: str) -> None:
        async def pass_on(ask: Ask, __: str) -> None:
            assert json_of(await ask("/users/Ada"))[1]["user_id"] == "Ada"
            assert (await ask("/users/Eve"))[0] == 404

        await asyncio.to_thread(served, FakeWorker(elsewhere=f"{address}/"), pass_on)

    served(FakeWorker(known_person("Ada")), act)


def test_a_question_is_passed_on_once_only() -> None:
    """Two workers who each think that the other holds a person do not ask each other for ever."""
    answers = FakeWorker(elsewhere="http://127.0.0.1:1")

    async def act(ask: Ask, _: str) -> None:
        assert (await ask("/users/Ada", **{FORWARDED_HEADER: "1"}))[0] == 404
        assert answers.asked == []

    served(answers, act)


def test_a_holder_that_does_not_answer_is_no_defect_of_ours() -> None:
    """The other worker may be ending: whoever asks is told that it cannot be told now."""

    async def act(ask: Ask, _: str) -> None:
        assert (await ask("/users/Ada"))[0] in {502, 503, 504}

    served(FakeWorker(elsewhere="http://127.0.0.1:1"), act)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_that_cannot_be_had_is_the_operators_to_change(host: str) -> None:
    """Taken, or not ours: one line that names it and the setting; nothing is left running."""

    async def act(_: Ask, address: str) -> None:
        port = int(address.rpartition(":")[2])
        with pytest.raises(OperatorError) as caught:
            await serve(Settings(web_host=host, web_port=port), Metrics(), FakeWorker())
        assert f"{host}:{port}" in str(caught.value)
        assert str(caught.value).endswith("set web_port")

    served(FakeWorker(), act)
