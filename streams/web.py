"""The web server: metrics, health, and what is known of a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

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
from models.retention.recommending import contracted, key_for
from streams.agents.users.envelope import Envelope
from streams.errors import OperatorError
from streams.metrics import Metrics
from streams.settings import Settings

MAX_RECOMMENDATIONS = 100
"""Recommendations that may be asked for at once."""
FORWARDED_HEADER = "X-Encore-Asked-By"
"""Set on a question that was passed on, so that it is passed on once only."""


class WorkerQueries:
    """Whatever the server asks the worker."""

    ready: Callable[[], str]
    """why the worker is not ready, or nothing"""
    person: Callable[[bytes], Envelope | None]
    """a person held here"""
    holder: Callable[[bytes], str | None]
    """the web address of the worker that holds a person"""
    now: Callable[[bytes], float]
    """the clock of a person's partition"""
    world: Callable[[], Context]


async def serve(settings: Settings, metrics: Metrics, answers: WorkerQueries) -> web.AppRunner:
    """Start the server; close it with `cleanup`.

    Raises:
        OperatorError: the address is taken or not ours.
    """
    registry = CollectorRegistry()
    registry.register(metrics)

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        why = answers.ready()
        return web.json_response({"ready": not why, "why": why or None}, status=503 if why else 200)

    async def user(request: web.Request) -> web.Response:
        return await _user(request, answers)

    async def recommendations(request: web.Request) -> web.Response:
        return await _recommendations(request, answers)

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", show_metrics),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/users/{id}", user),
            web.get("/users/{id}/recommendations", recommendations),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.web_host, settings.web_port).start()
    except OSError as error:
        await runner.cleanup()
        raise OperatorError(
            f"the web server cannot have {settings.web_host}:{settings.web_port} ({error.strerror}): set web_port"
        ) from None
    return runner


async def _user(request: web.Request, answers: WorkerQueries) -> web.Response:
    key = request.match_info["id"].encode()
    envelope = answers.person(key)
    if envelope is None:
        return await _forward(request, answers, key)
    return _json_response(describe_user(envelope, answers.now(key), answers.world()))


async def _recommendations(request: web.Request, answers: WorkerQueries) -> web.Response:
    key = request.match_info["id"].encode()
    try:
        n, repeats = _parse_query(request)
    except msgspec.ValidationError as error:
        return web.json_response({"error": str(error)}, status=400)
    world = answers.world()
    envelope = answers.person(key)
    if envelope is None:
        return await _forward(request, answers, key)
    if world.shelf is None:
        return web.json_response({"error": "this worker recommends nothing: `recommend` is off"}, status=404)
    person, now = envelope.person, max(answers.now(key), envelope.person.activity.last)
    found = world.shelf.recommend(person.preferences, now, n, key_for(person, world.rules), repeats)
    following = next_on_path(world.shelf.index, person.preferences, n)
    return _json_response(
        {
            "user_id": person.id,
            "recommendations": msgspec.to_builtins(contracted(found)),
            "next_on_path": [{"course_id": course, "share": round(share, 4)} for course, share in following],
        }
    )


def _parse_query(request: web.Request) -> tuple[int, Repeats | None]:
    """Read how many are wanted and what may be shown again.

    Raises:
        msgspec.ValidationError: it is not to be had, and why.
    """
    n = msgspec.convert(request.query.get("n", "10"), Annotated[int, Meta(ge=1, le=MAX_RECOMMENDATIONS)], strict=False)
    return n, msgspec.convert(request.query.get("repeats"), Repeats | None)


async def _forward(request: web.Request, answers: WorkerQueries, key: bytes) -> web.Response:
    """Pass a question on to the worker that holds the person, once."""
    holder = None if FORWARDED_HEADER in request.headers else answers.holder(key)
    if holder is None:
        return web.json_response({"error": "nothing is known of this person"}, status=404)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"{holder.rstrip('/')}{request.rel_url}", headers={FORWARDED_HEADER: "1"}) as answer,
        ):
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")
    except (aiohttp.ClientError, TimeoutError):
        return web.json_response({"error": f"the worker that holds this person does not answer ({holder})"}, status=502)


def _json_response(body: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(body, option=orjson.OPT_INDENT_2), content_type="application/json")


def describe_user(envelope: Envelope, now: float, world: Context) -> dict[str, Any]:
    """Return what is known of a person, for people to read. Times are seconds since 1970 UTC."""
    person, ledger = envelope.person, envelope.person.ledger
    activity = person.activity
    due = next_due(person, world.rules)
    return {
        "user_id": person.id,
        "tier": ledger.tier or None,
        "tier_since": ledger.tier_since or None,
        "churn_probability": ledger.probability if ledger.scored_at >= 0 else None,
        "scored_at": ledger.scored_at if ledger.scored_at >= 0 else None,
        "stage": stage(activity, max(now, activity.last), world.rules) if activity.events else None,
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
