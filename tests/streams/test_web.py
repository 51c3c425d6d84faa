"""The web server: metrics for Prometheus, readiness, and the state of a user."""

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
from tests.models.people import NOON, make_campaign, make_context, make_event, make_model, process_events

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
    """Every metric has help text and type; counters, labels, gauges and buckets have the right values."""
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
def test_readiness_gives_the_reason(why: str, status: int) -> None:
    """503 with the reason until the worker is ready; it is alive all the time."""

    async def act(ask: Ask, _: str) -> None:
        assert json_of(await ask("/readyz")) == (status, {"ready": not why, "why": why or None})
        assert json_of(await ask("/healthz")) == (200, {"alive": True})

    served(FakeWorker(why=why), act)


def known_user(name: str) -> Envelope:
    events = [make_event(n, NOON + n * 3_600.0, kind, 0.4, name) for n, kind in enumerate((0, 2, 10, 12, 16))]
    state = make_context(campaign=make_campaign(), model=make_model(0.0, 3.0))
    person, _ = process_events(Person(name), events, state, NOON + DAY)
    return Envelope(person, 9, outbox=(OutboxMessage("i", "t", b"k", b"v", 1.0, True),))


def test_the_answer_describes_a_user() -> None:
    """Tier, score, stage, courses, money, consent, offers, timers, and undelivered outputs."""
    envelope = known_user("Ada")
    ledger, activity = envelope.person.ledger, envelope.person.activity

    async def act(ask: Ask, _: str) -> None:
        status, answer = json_of(await ask("/users/Ada"))
        assert status == 200
        assert (answer["user_id"], answer["tier"], answer["churn_probability"]) == (
            "Ada",
            "high",
            ledger.probability,
        )
        assert (answer["stage"], answer["events"], answer["minutes"]) == (
            "new",
            activity.events,
            activity.minutes,
        )
        assert answer["courses"] == [{"id": "c2", "progress": 0.4, "minutes": 24.0, "last": NOON + 3_600.0}]
        assert (answer["purchases"], answer["spend"], answer["consent"]) == (
            1,
            activity.wallet.spend,
            True,
        )
        assert [offer["id"] for offer in answer["open_offers"]] == [offer.id for offer in ledger.offers]
        assert len(answer["open_offers"]) == 1
        assert (answer["labels_pending"], answer["undelivered"]) == (len(ledger.pending_labels), 1)
        assert NOON < answer["next_due"] < float("inf")

    served(FakeWorker(envelope), act)


@pytest.mark.parametrize("name", ["a/b", "Jürgen Groß", "50%", "a?b#c", "..", "%2e"])
def test_a_user_id_may_be_any_text(name: str) -> None:
    """The id is URL-encoded in the path."""

    async def act(ask: Ask, address: str) -> None:
        async with aiohttp.ClientSession() as session:
            quoted = yarl.URL(f"{address}/users/{quote(name, safe='').replace('.', '%2E')}", encoded=True)
            async with session.get(quoted) as answer:
                assert (answer.status, (await answer.json())["user_id"]) == (200, name)

    served(FakeWorker(known_user(name)), act)


def test_an_unknown_user_is_404() -> None:
    """A user that no worker knows."""

    async def act(ask: Ask, _: str) -> None:
        assert json_of(await ask("/users/Eve")) == (404, {"error": "this user is not known"})
        assert (await ask("/users/"))[0] == 404

    served(FakeWorker(known_user("Ada")), act)


def test_a_request_is_forwarded_to_the_owner() -> None:
    """The other worker's answer is returned unchanged, also a 404."""

    async def act(_: Ask, address: str) -> None:
        async def pass_on(ask: Ask, __: str) -> None:
            assert json_of(await ask("/users/Ada"))[1]["user_id"] == "Ada"
            assert (await ask("/users/Eve"))[0] == 404

        await asyncio.to_thread(served, FakeWorker(elsewhere=f"{address}/"), pass_on)

    served(FakeWorker(known_user("Ada")), act)


def test_a_request_is_forwarded_once_only() -> None:
    """Two workers that each believe the other owns a user do not forward to each other for ever."""
    answers = FakeWorker(elsewhere="http://127.0.0.1:1")

    async def act(ask: Ask, _: str) -> None:
        assert (await ask("/users/Ada", **{FORWARDED_HEADER: "1"}))[0] == 404
        assert answers.asked == []

    served(answers, act)


def test_an_owner_that_does_not_answer_is_a_gateway_error() -> None:
    """The other worker may be shutting down: the client gets a gateway error."""

    async def act(ask: Ask, _: str) -> None:
        assert (await ask("/users/Ada"))[0] in {502, 503, 504}

    served(FakeWorker(elsewhere="http://127.0.0.1:1"), act)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_unavailable_address_is_an_operator_error(host: str) -> None:
    """In use, or not on this machine: one line with the address and the setting; nothing is left running."""

    async def act(_: Ask, address: str) -> None:
        port = int(address.rpartition(":")[2])
        with pytest.raises(OperatorError) as caught:
            await serve(Settings(web_host=host, web_port=port), Metrics(), FakeWorker())
        assert f"{host}:{port}" in str(caught.value)
        assert str(caught.value).endswith("set web_port")

    served(FakeWorker(), act)
