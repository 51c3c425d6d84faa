"""One example of every record on a public topic, encoded by Encore's own codec, for the contract."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import Struct

from models.churn.snapshot import FEATURES
from models.offers.campaign import Arm, Campaign
from models.person.features import NAMES
from models.person.ledger import output_id, pseudonym
from models.schema import event_codec
from models.schema import events as ev
from models.schema import outputs as out
from models.schema.errors import InvalidEvent
from streams.delivery.dead_letters import DeadLetter
from streams.kafka import codec, topics
from streams.operation import campaigns

_USER_ID = "u-42"
_PSEUDONYM = pseudonym(_USER_ID, b"")
_COURSE = "sql-basics"
_TIME = 1_767_596_400.0
_MODEL = "logistic-12000"
_VERSION = "3f0c2a1b"
_OFFER = "c" + output_id(_USER_ID, "decision risk", "e-1")
_DAY = 86_400.0


class MessageExample(NamedTuple):
    """A record of a topic.

    Attributes:
        name: the kind of record.
        payload: the decoded value.
        about: description of the kind.
    """

    name: str
    payload: Any
    about: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = MappingProxyType({})


FIELDS: dict[str, Any] = {
    "id": "e-1",
    "user_id": _USER_ID,
    "time": _TIME,
    "course_id": _COURSE,
    "page": "/columns/statistics",
    "query": "window functions",
    "lesson_id": "sql-basics/3",
    "progress": 0.35,
    "minutes": 12.5,
    "score": 0.8,
    "rating": 0.9,
    "text": "Clear, and the exercises help",
    "amount": 49.0,
    "currency": "EUR",
    "offer_id": _OFFER,
    "plan": "yearly",
    "points": 20.0,
    "age_band": "25-34",
    "occupation": "analyst",
    "title": "SQL from the beginning",
    "description": "Tables, joins and window functions, with exercises",
    "tags": ("sql", "data"),
    "category": "databases",
    "price": 49.0,
    "lessons": 24,
    "audience": 500,
}
"""An example value of every field of events."""


_NEXT = out.RecommendedCourse(
    course_id="sql-windows", score=2.1, reason=f"because you finished {_COURSE}", because=_COURSE
)


def events(kinds: tuple[type[Struct], ...]) -> list[MessageExample]:
    """Return one event of each kind, with all its fields."""
    return [_event_example(kind) for kind in kinds]


def keyless_records() -> list[MessageExample]:
    """Return the records of the log that belong to no user and have no key."""
    course = ev.CoursePublished(id="e-2", course_id=_COURSE, time=_TIME, title="SQL from the beginning", audience=500)
    records = (ev.Tick(time=_TIME), ev.Announced(time=_TIME, course=course))
    return [MessageExample(ev.kind_of(one), one, _about(type(one)), None, event_codec.encode(one)) for one in records]


def outputs() -> dict[str, list[MessageExample]]:
    """Return one output of each type, by its topic (without prefix)."""
    examples: dict[str, list[MessageExample]] = {}
    for output in (*_expiring_outputs(), *_training_outputs(), *_state_outputs()):
        topic, key = codec.address(output)
        tombstone = f"{output.of}_forgotten" if isinstance(output, out.Tombstone) else ""
        name = tombstone or str(output.__struct_config__.tag)
        examples.setdefault(topic, []).append(
            MessageExample(name, output, _about(type(output)), key, codec.encode_output(output))
        )
    return examples


def campaign() -> list[MessageExample]:
    """Return a published campaign, and the tombstone that ends it."""
    running = Campaign(id="win-back", arm=Arm(name="ten-off", amount=10.0), version=_VERSION)
    key = running.id.encode()
    return [
        MessageExample("campaign", running, _about(Campaign), key, campaigns.encode_campaign(running)),
        MessageExample(
            "campaign_ended", None, "The campaign has ended; open offers stay valid until they expire.", key, None
        ),
    ]


def dead_letter() -> MessageExample:
    """Return the dead letter of an event with negative minutes."""
    good = ev.LessonProgress(id="e-1", user_id=_USER_ID, time=_TIME, course_id=_COURSE, minutes=5.0)
    value = event_codec.encode(good).replace(b"5.0", b"-5.0")
    bad = _decode_error(value)
    letter = DeadLetter(
        topic="learning-events",
        partition=3,
        offset=1_234,
        reason=bad.reason,
        field=bad.field or "",
        detail=bad.detail,
        key=_USER_ID.encode(),
        value=value,
        log_time=_TIME,
    )
    return MessageExample("dead_letter", letter, _about(DeadLetter), letter.id.encode(), value, dict(letter.headers()))


def _event_example(kind: type[Struct]) -> MessageExample:
    event: Any = kind(**{field: FIELDS[field] for field in kind.__struct_fields__})
    key = getattr(event, "user_id", None) or event.course_id
    headers = dict(codec.origin_header("learning-events", 3, 1_234))
    return MessageExample(ev.kind_of(event), event, _about(kind), key.encode(), event_codec.encode(event), headers)


def _decode_error(value: bytes) -> InvalidEvent:
    try:
        event_codec.decode(value)
    except InvalidEvent as bad:
        return bad
    raise AssertionError("the example of a dead letter is a valid event")


def _expiring_outputs() -> tuple[out.Output, ...]:
    silence = out.Reason(group="silence", effect=1.2, words="no activity for 9 days, usually 2")
    return (
        out.Alert(
            id=output_id(_USER_ID, "alert risk", "e-1"),
            user_id=_USER_ID,
            time=_TIME,
            expires_at=_TIME + _DAY,
            about="risk",
            probability=0.78,
            tier="high",
            tier_before="medium",
            action="coupon",
            reasons=(silence,),
            happened="stalled in course sql-basics at 35%",
            course_id=_COURSE,
            recommendations=(_NEXT,),
            model=_MODEL,
        ),
        out.CouponTrigger(
            id=_OFFER,
            user_id=_USER_ID,
            time=_TIME,
            expires_at=_TIME + _DAY,
            campaign="win-back",
            campaign_version=_VERSION,
            arm="ten-off",
            amount=10.0,
            currency="EUR",
            valid_until=_TIME + 7 * _DAY,
            probability=0.78,
            recommendations=(_NEXT,),
            model=_MODEL,
        ),
        *_decision_outputs(),
    )


def _decision_outputs() -> tuple[out.Output, ...]:
    return (
        out.Decision(
            id=_OFFER[1:],
            user=_PSEUDONYM,
            time=_TIME,
            candidate="coupon",
            cause="risk",
            sent=True,
            reason="sent",
            tier="high",
            probability=0.78,
            model=_MODEL,
            campaign="win-back",
            campaign_version=_VERSION,
            arm="ten-off",
            amount=10.0,
            propensity=0.9,
        ),
        out.OfferOutcome(
            id=output_id(_USER_ID, "outcome", _OFFER),
            user=_PSEUDONYM,
            time=_TIME + 2 * _DAY,
            decision=_OFFER[1:],
            campaign="win-back",
            arm="ten-off",
            outcome="redeemed",
            amount=49.0,
            propensity=0.9,
        ),
        out.Undelivered(id=_OFFER, user=_PSEUDONYM, time=_TIME + _DAY, expires_at=_TIME + _DAY, topic=topics.TRIGGERS),
    )


def _training_outputs() -> tuple[out.Output, ...]:
    return (
        out.Example(
            id=output_id(_USER_ID, "example", repr(_TIME)),
            user=_PSEUDONYM,
            time=_TIME,
            until=_TIME + 14 * _DAY,
            features=FEATURES,
            x=tuple(index / 4 for index in range(len(NAMES))),
            churned=False,
            probability=0.31,
            model=_MODEL,
            treated=False,
            back=True,
        ),
        out.EarlySignal(
            id=output_id(_USER_ID, "early sign", repr(_TIME)),
            user=_PSEUDONYM,
            time=_TIME,
            until=_TIME + 3.5 * _DAY,
            back=True,
            probability=0.29,
            treated=False,
        ),
    )


def _state_outputs() -> tuple[out.Output, ...]:
    return (
        out.Profile(
            id=output_id(_USER_ID, "profile", "e-1"),
            user_id=_USER_ID,
            time=_TIME,
            tier="high",
            probability=0.78,
            stage="at risk",
            retention_rate=0.5,
            repurchase_rate=0.25,
            purchases=2,
            spend=98.0,
            last_active=_TIME - 9 * _DAY,
        ),
        out.Tombstone(id=output_id(_USER_ID, "forgotten", "e-1"), user_id=_USER_ID),
        out.Recommendations(
            id=output_id(_USER_ID, "recommendations", "e-1"), user_id=_USER_ID, time=_TIME, courses=(_NEXT,)
        ),
        out.Tombstone(id=output_id(_USER_ID, "unlisted", "e-1"), user_id=_USER_ID, of="recommendations"),
        out.CourseAudience(
            id=output_id(_COURSE, "audience", "e-2"),
            course_id=_COURSE,
            time=_TIME,
            announcement="e-2",
            size=500,
            people=(out.AudienceUser(user_id=_USER_ID, interest=0.62),),
        ),
    )


def _about(kind: type[Any]) -> str:
    return kind.__doc__ or ""
