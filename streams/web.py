"""The web server of a worker: metrics, health, and the state and recommendations of a user."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import aiohttp
import msgspec
import orjson
from aiohttp import web
from msgspec import Meta
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from prometheus_client.exposition import generate_latest

from models.person.lifecycle import stage
from models.person.person import next_due
from models.recommend.candidates import Repeats
from models.recommend.learning_path import next_on_path
from models.retention.context import Context
from models.retention.recommendations import key_for, to_output
from streams.agents.users.envelope import Envelope
from streams.errors import OperatorError
from streams.metrics import Metrics
from streams.settings import Settings

MAX_RECOMMENDATIONS = 100
"""Maximum number of recommendations in one answer."""
FORWARDED_HEADER = "X-Encore-Asked-By"
"""Header of a forwarded request, so that a request is forwarded only once."""


class WorkerQueries(Protocol):
    """What the web server asks its worker. A key is a user id in UTF-8."""

    def not_ready(self) -> str:
        """Return why the worker is not ready, or an empty text."""

    def user(self, key: bytes) -> Envelope | None:
        """Return the state of a user, or None if this worker does not own the user's partition."""

    def holder(self, key: bytes) -> str | None:
        """Return the URL of the other worker that owns a user's partition, or None if this worker does."""

    def now(self, key: bytes) -> float:
        """Return the time of the clock of a user's partition, in seconds since 1970 UTC."""

    def context(self) -> Context:
        """Return the models, rules and catalogue in use."""


async def serve(settings: Settings, metrics: Metrics, worker: WorkerQueries) -> web.AppRunner:
    """Start the server. The caller stops it with `cleanup`.

    Raises:
        OperatorError: the address is in use or not available on this machine.
    """
    app = web.Application()
    app.add_routes(_routes(metrics, worker))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.web_host, settings.web_port).start()
    except OSError as error:
        await runner.cleanup()
        raise OperatorError(
            f"the web server cannot listen on {settings.web_host}:{settings.web_port} ({error.strerror}): set web_port"
        ) from None
    return runner


def _routes(metrics: Metrics, worker: WorkerQueries) -> list[web.RouteDef]:
    registry = CollectorRegistry()
    registry.register(metrics)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        why = worker.not_ready()
        return web.json_response({"ready": not why, "why": why or None}, status=503 if why else 200)

    async def user(request: web.Request) -> web.Response:
        return await _user(request, worker)

    async def recommendations(request: web.Request) -> web.Response:
        return await _recommendations(request, worker)

    return [
        web.get("/metrics", show_metrics),
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/users/{id}", user),
        web.get("/users/{id}/recommendations", recommendations),
    ]


async def _user(request: web.Request, worker: WorkerQueries) -> web.Response:
    key = request.match_info["id"].encode()
    envelope = worker.user(key)
    if envelope is None:
        return await _forward(request, worker, key)
    return _json_response(describe_user(envelope, worker.now(key), worker.context()))


async def _recommendations(request: web.Request, worker: WorkerQueries) -> web.Response:
    key = request.match_info["id"].encode()
    try:
        count, repeats = _parse_query(request)
    except msgspec.ValidationError as error:
        return web.json_response({"error": str(error)}, status=400)
    context = worker.context()
    envelope = worker.user(key)
    if envelope is None:
        return await _forward(request, worker, key)
    if context.catalogue is None:
        return web.json_response({"error": "this worker does not recommend courses: `recommend` is off"}, status=404)
    person, now = envelope.person, max(worker.now(key), envelope.person.activity.last)
    recommended = context.catalogue.recommend(person.preferences, now, count, key_for(person, context.rules), repeats)
    following = next_on_path(context.catalogue.index, person.preferences, count)
    return _json_response(
        {
            "user_id": person.id,
            "recommendations": msgspec.to_builtins(to_output(recommended)),
            "next_on_path": [{"course_id": course, "share": round(share, 4)} for course, share in following],
        }
    )


def _parse_query(request: web.Request) -> tuple[int, Repeats | None]:
    """Return the number of recommendations, and what may be recommended again, from the query string.

    Raises:
        msgspec.ValidationError: a value is invalid.
    """
    count = msgspec.convert(
        request.query.get("n", "10"), Annotated[int, Meta(ge=1, le=MAX_RECOMMENDATIONS)], strict=False
    )
    return count, msgspec.convert(request.query.get("repeats"), Repeats | None)


async def _forward(request: web.Request, worker: WorkerQueries, key: bytes) -> web.Response:
    """Forward a request to the worker that owns the user's partition; a forwarded request is not forwarded again."""
    holder = None if FORWARDED_HEADER in request.headers else worker.holder(key)
    if holder is None:
        return web.json_response({"error": "this user is not known"}, status=404)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"{holder.rstrip('/')}{request.rel_url}", headers={FORWARDED_HEADER: "1"}) as answer,
        ):
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")
    except (aiohttp.ClientError, TimeoutError):
        return web.json_response({"error": f"the worker that owns this user does not answer ({holder})"}, status=502)


def _json_response(body: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(body, option=orjson.OPT_INDENT_2), content_type="application/json")


def describe_user(envelope: Envelope, now: float, context: Context) -> dict[str, Any]:
    """Return the answer of /users/{id}: what is stored about a user. Times are seconds since 1970 UTC."""
    person, ledger = envelope.person, envelope.person.ledger
    activity = person.activity
    due = next_due(person, context.rules)
    return {
        "user_id": person.id,
        "tier": ledger.tier or None,
        "tier_since": ledger.tier_since or None,
        "churn_probability": ledger.probability if ledger.scored_at >= 0 else None,
        "scored_at": ledger.scored_at if ledger.scored_at >= 0 else None,
        "stage": stage(activity, max(now, activity.last), context.rules) if activity.events else None,
        "first_active": activity.first or None,
        "last_active": activity.last or None,
        "events": activity.events,
        "minutes": activity.minutes,
        "courses": [
            {"id": course.id, "progress": course.progress, "minutes": course.minutes, "last": course.last}
            for course in activity.courses
        ],
        "purchases": activity.wallet.purchases,
        "spend": activity.wallet.spend - activity.wallet.refunded,
        "consent": {1: True, -1: False}.get(ledger.consent),
        "recommended": [one.course for one in person.preferences.last_published],
        "open_offers": [
            {"id": offer.id, "campaign": offer.campaign, "arm": offer.arm, "amount": offer.amount, "until": offer.until}
            for offer in ledger.offers
        ],
        "labels_pending": len(ledger.pending_labels),
        "next_due": due if due < float("inf") else None,
        "undelivered": len(envelope.outbox),
    }
