"""The contract of what comes in: every event kind as a frozen type, decoded and validated in one pass.

An event is a flat JSON object. `type` names its kind, `id` is the platform's own (a repeated id is one event), `time`
is when it happened: seconds since 1970 UTC, or an RFC 3339 string with its zone. Unknown fields are ignored, so that
a platform may send more than we read.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct

from models.schema.errors import InvalidEvent

Id = Annotated[str, Meta(min_length=1, max_length=128)]
MOST_AUDIENCE = 5_000
Words = Annotated[str, Meta(max_length=2_000)]
Text = Annotated[str, Meta(max_length=20_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Minutes = Annotated[float, Meta(ge=0, le=1_440)]
Money = Annotated[float, Meta(ge=0, le=1e9)]
Points = Annotated[float, Meta(ge=0, le=1e9)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]

LAST_TIME = 32_503_680_000.0
"""The year 3000: a time beyond it is a unit mixed up (milliseconds), not a moment."""

if TYPE_CHECKING:
    Time = float
else:
    # Strings are accepted on the wire and turned into seconds by `decode`; behind it a time is always a float.
    Time = Annotated[float, Meta(ge=0, le=LAST_TIME)] | Annotated[datetime, Meta(tz=True)]


class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """Something that happened to one person.

    Nothing inherits from a kind, so `type(event) is Kind` asks for one: `isinstance` is slow with a Struct's metaclass.
    """

    id: Id
    user_id: Id
    time: Time

    money: ClassVar[bool] = False


# -- learning -----------------------------------------------------------------------------------------------------


class Learning(Event, frozen=True, kw_only=True):
    """Something a person did on the platform; with `course_id` where it belongs to a course."""

    course_id: Id | None = None


class Signup(Learning, frozen=True, tag="signup"):
    """The person opened an account."""


class Login(Learning, frozen=True, tag="login"):
    """The person came to the platform."""


class PageView(Learning, frozen=True, kw_only=True, tag="page_view"):
    """The person looked at a page."""

    page: Words | None = None


class CourseView(Learning, frozen=True, kw_only=True, tag="course_view"):
    """The person looked at a course's page."""

    course_id: Id


class Search(Learning, frozen=True, kw_only=True, tag="search"):
    """The person searched for something."""

    query: Words | None = None


class LessonProgress(Learning, frozen=True, kw_only=True, tag="lesson_progress"):
    """Learning in a course: `progress` is the share of the whole course reached, `minutes` those of this event."""

    course_id: Id
    lesson_id: Id | None = None
    progress: Share | None = None
    minutes: Minutes = 0.0


class LessonCompleted(Learning, frozen=True, kw_only=True, tag="lesson_completed"):
    """A lesson was finished; `progress` is the share of the whole course reached with it."""

    course_id: Id
    lesson_id: Id | None = None
    progress: Share | None = None


class CourseCompleted(Learning, frozen=True, kw_only=True, tag="course_completed"):
    """A course was finished."""

    course_id: Id


class Exercise(Learning, frozen=True, kw_only=True, tag="exercise"):
    """An exercise or exam was handed in; `score` is the share of points reached."""

    course_id: Id
    score: Share | None = None


class Question(Learning, frozen=True, tag="question"):
    """The person asked a question."""


class Answer(Learning, frozen=True, tag="answer"):
    """The person answered somebody."""


class Comment(Learning, frozen=True, tag="comment"):
    """The person wrote a comment or a post."""


class Like(Learning, frozen=True, tag="like"):
    """The person liked something."""


class Shared(Learning, frozen=True, tag="share"):
    """The person shared something."""


class LiveSession(Learning, frozen=True, kw_only=True, tag="live_session"):
    """The person attended a live session."""

    minutes: Minutes = 0.0


class Review(Learning, frozen=True, kw_only=True, tag="review"):
    """A rating, review or questionnaire: `rating` is satisfaction between 0 and 1."""

    rating: Share | None = None
    text: Text | None = None


class TrialStarted(Learning, frozen=True, tag="trial_started"):
    """The person began a free trial."""


class Favourite(Learning, frozen=True, kw_only=True, tag="favourite"):
    """The person marked a course to keep."""

    course_id: Id


# -- money --------------------------------------------------------------------------------------------------------


class MoneyEvent(Event, frozen=True, kw_only=True):
    """Something about what a person paid, or may pay less for."""

    money: ClassVar[bool] = True


class Purchase(MoneyEvent, frozen=True, kw_only=True, tag="purchase"):
    """A course, column or membership was bought; `amount` is what the person paid."""

    amount: Money
    currency: Currency | None = None
    course_id: Id | None = None
    offer_id: Id | None = None


class Refund(MoneyEvent, frozen=True, kw_only=True, tag="refund"):
    """Money was given back."""

    amount: Money
    currency: Currency | None = None
    course_id: Id | None = None


class SubscriptionStarted(MoneyEvent, frozen=True, kw_only=True, tag="subscription_started"):
    """A membership began."""

    plan: Words | None = None
    amount: Money = 0.0


class SubscriptionRenewed(MoneyEvent, frozen=True, kw_only=True, tag="subscription_renewed"):
    """A membership was prolonged."""

    plan: Words | None = None
    amount: Money = 0.0


class SubscriptionCancelled(MoneyEvent, frozen=True, kw_only=True, tag="subscription_cancelled"):
    """A membership or enrolment was given up."""

    plan: Words | None = None
    course_id: Id | None = None


class CouponDelivered(MoneyEvent, frozen=True, kw_only=True, tag="coupon_delivered"):
    """Marketing automation delivered the offer; `offer_id` is the id of our coupon trigger."""

    offer_id: Id


class CouponRedeemed(MoneyEvent, frozen=True, kw_only=True, tag="coupon_redeemed"):
    """The person used a coupon; `amount` is what it took off."""

    offer_id: Id
    amount: Money = 0.0


class CouponExpired(MoneyEvent, frozen=True, kw_only=True, tag="coupon_expired"):
    """A coupon ran out unused."""

    offer_id: Id


class PointsEarned(MoneyEvent, frozen=True, kw_only=True, tag="points_earned"):
    """The person earned points."""

    points: Points


class PointsSpent(MoneyEvent, frozen=True, kw_only=True, tag="points_spent"):
    """The person spent points."""

    points: Points


# -- profile ------------------------------------------------------------------------------------------------------


class ProfileUpdated(Event, frozen=True, kw_only=True, tag="profile_updated"):
    """What the platform knows of the person changed."""

    age_band: Words | None = None
    occupation: Words | None = None


class ConsentGiven(Event, frozen=True, tag="consent_given"):
    """The person agreed to marketing."""


class ConsentWithdrawn(Event, frozen=True, tag="consent_withdrawn"):
    """The person no longer agrees to marketing."""


class ErasureRequested(Event, frozen=True, tag="erasure_requested"):
    """Everything known of the person is to be forgotten."""


# -- catalogue: about a course, not a person ----------------------------------------------------------------------


class CourseEvent(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """Something that happened to a course."""

    id: Id
    course_id: Id
    time: Time


class CoursePublished(CourseEvent, frozen=True, kw_only=True, tag="course_published"):
    """A course came into the catalogue; `audience` people whom it would please most are looked for."""

    title: Words
    description: Text = ""
    tags: Annotated[tuple[Words, ...], Meta(max_length=100)] = ()
    category: Words | None = None
    price: Money | None = None
    lessons: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    audience: Annotated[int, Meta(ge=0, le=MOST_AUDIENCE)] = 0


class CourseChanged(CourseEvent, frozen=True, kw_only=True, tag="course_changed"):
    """A course's entry changed; a field left out stays as it was."""

    title: Words | None = None
    description: Text | None = None
    tags: Annotated[tuple[Words, ...], Meta(max_length=100)] | None = None
    category: Words | None = None
    price: Money | None = None
    lessons: Annotated[int, Meta(ge=0, le=100_000)] | None = None


class CourseWithdrawn(CourseEvent, frozen=True, tag="course_withdrawn"):
    """A course left the catalogue."""


# -- time ---------------------------------------------------------------------------------------------------------


class Announced(Struct, frozen=True, kw_only=True, tag_field="type", tag="announced"):
    """A course wants an audience: written by ingest to every partition of the log, so that each looks among its own."""

    time: Time
    course: CoursePublished


class Tick(Struct, frozen=True, kw_only=True, tag_field="type", tag="tick", gc=False):
    """Time passed; nobody did anything. Written by the owner of a partition, or by whoever sends history."""

    time: Time


LEARNING_KINDS: tuple[type[Learning], ...] = (
    Signup, Login, PageView, CourseView, Search, LessonProgress, LessonCompleted, CourseCompleted, Exercise, Question,
    Answer, Comment, Like, Shared, LiveSession, Review, TrialStarted, Favourite,
)  # fmt: skip
MONEY_KINDS: tuple[type[MoneyEvent], ...] = (
    Purchase, Refund, SubscriptionStarted, SubscriptionRenewed, SubscriptionCancelled, CouponDelivered, CouponRedeemed,
    CouponExpired, PointsEarned, PointsSpent,
)  # fmt: skip
PROFILE_KINDS: tuple[type[Event], ...] = (ProfileUpdated, ConsentGiven, ConsentWithdrawn, ErasureRequested)
COURSE_KINDS: tuple[type[CourseEvent], ...] = (CoursePublished, CourseChanged, CourseWithdrawn)
PERSON_KINDS: tuple[type[Event], ...] = (*LEARNING_KINDS, *MONEY_KINDS, *PROFILE_KINDS)
LOG_KINDS = (Tick, Announced)
"""What stands in the log and is nobody's: written by Encore alone."""
_ALL: tuple[type[Struct], ...] = (*PERSON_KINDS, *COURSE_KINDS, *LOG_KINDS)
KINDS: dict[str, type[Struct]] = {str(kind.__struct_config__.tag): kind for kind in _ALL}
_KIND_OF = {kind: name for name, kind in KINDS.items()}

AnyEvent = Event | CourseEvent | Tick | Announced

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(functools.reduce(operator.or_, KINDS.values()))
_encoder = msgspec.json.Encoder()
_NO_EVENT = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def decode(raw: bytes) -> AnyEvent:
    """Decode and validate one event.

    Args:
        raw: UTF-8 JSON, one object.

    Returns:
        The typed event; its `time` is in seconds since 1970 UTC, whatever form it came in.

    Raises:
        InvalidEvent: with a reason code and the field at fault; nothing else is raised, whatever the bytes are.

    Examples:
        >>> decode(b'{"type": "login", "id": "e1", "user_id": "u1", "time": "2026-01-05T08:00:00+01:00"}')
        Login(id='e1', user_id='u1', time=1767596400.0, course_id=None)
        >>> decode(b'{"type": "live_session", "id": "e1", "user_id": "u1", "time": 5, "minutes": -1}')
        Traceback (most recent call last):
        ...
        models.schema.errors.InvalidEvent: impossible_value (minutes): Expected `float` >= 0.0
    """
    try:
        event = _decoder.decode(raw)
    except _NO_EVENT as error:
        raise _refused(error) from None
    return event if event.time.__class__ is float else _timed(event)


def decode_all(raws: Iterable[bytes]) -> list[AnyEvent]:
    """Decode and validate many events, each as `decode` does.

    Raises:
        InvalidEvent: for the first that is none; which it is, is not told.
    """
    try:
        events = list(map(_decoder.decode, raws))
    except _NO_EVENT as error:
        raise _refused(error) from None
    return [event if event.time.__class__ is float else _timed(event) for event in events]


def encode(event: AnyEvent) -> bytes:
    """Write an event as `decode` reads it; fields at their default are left out."""
    return _encoder.encode(event)


def kind_of(event: AnyEvent) -> str:
    """Return the name that stands in the event's `type` field."""
    return _KIND_OF[type(event)]


def _timed(event: AnyEvent) -> AnyEvent:
    """Put its time in seconds into an event that nobody else has seen yet."""
    moment: object = event.time
    assert isinstance(moment, datetime)
    seconds = moment.timestamp()
    if not 0 <= seconds <= LAST_TIME:
        raise InvalidEvent("impossible_value", "time", "Expected a time between 1970 and 3000")
    msgspec.structs.force_setattr(event, "time", seconds)
    return event


def _refused(error: Exception) -> InvalidEvent:
    if not isinstance(error, msgspec.ValidationError):
        return InvalidEvent("malformed", None, str(error))
    message = str(error)
    found = _PATH.search(message)
    field = found.group(1) or None if found else None
    text = message[: found.start()] if found else message
    if text.startswith("Invalid value") and field == "type":
        return InvalidEvent("unknown_type", field, text)
    if text.startswith("Object missing required field"):
        return InvalidEvent("missing_field", text.split("`")[1], text)
    if field is None:
        return InvalidEvent("malformed", None, text)
    if " got `" in text or "Invalid" in text or text == "Expected `str`":
        return InvalidEvent("wrong_type", field, text)
    return InvalidEvent("impossible_value", field, text)
