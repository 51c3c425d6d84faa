"""The input contract: every event type as an immutable struct with the limits of its fields.

An event is a flat JSON object. `type` names its kind. `id` is the platform's own id; a repeated id is the same event.
`time` is when it happened: seconds since 1970 UTC, or an RFC 3339 string with a time zone. Unknown fields are ignored,
so a platform may send more than Encore reads. `models.schema.event_codec` decodes and encodes events.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, final

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=128)]
MAX_AUDIENCE = 5_000
ShortText = Annotated[str, Meta(max_length=2_000)]
LongText = Annotated[str, Meta(max_length=20_000)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Minutes = Annotated[float, Meta(ge=0, le=1_440)]
Money = Annotated[float, Meta(ge=0, le=1e9)]
Points = Annotated[float, Meta(ge=0, le=1e9)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]

LAST_TIME = 32_503_680_000.0
"""The year 3000. A later time must be in a wrong unit, for example milliseconds."""

if TYPE_CHECKING:
    Time = float
else:
    # JSON may hold a string. `event_codec.decode` converts it to seconds, so a decoded time is always a float.
    Time = Annotated[float, Meta(ge=0, le=LAST_TIME)] | Annotated[datetime, Meta(tz=True)]


class Event(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """Base of all events about one user.

    No event type has subclasses, so `type(event) is Kind` tests for one. `isinstance` is slow with msgspec's metaclass.
    """

    id: Id
    user_id: Id
    time: Time

    money: ClassVar[bool] = False


# -- learning -----------------------------------------------------------------------------------------------------


class Learning(Event, frozen=True, kw_only=True):
    """Something a user did on the platform, with `course_id` if it belongs to a course."""

    course_id: Id | None = None


class Signup(Learning, frozen=True, tag="signup"):
    """The user created an account."""


class Login(Learning, frozen=True, tag="login"):
    """The user logged in."""


class PageView(Learning, frozen=True, kw_only=True, tag="page_view"):
    """The user viewed a page."""

    page: ShortText | None = None


class CourseView(Learning, frozen=True, kw_only=True, tag="course_view"):
    """The user viewed the page of a course."""

    course_id: Id


class Search(Learning, frozen=True, kw_only=True, tag="search"):
    """The user searched for something."""

    query: ShortText | None = None


class LessonProgress(Learning, frozen=True, kw_only=True, tag="lesson_progress"):
    """Learning in a course: `progress` is the fraction of the course reached, `minutes` the time of this event."""

    course_id: Id
    lesson_id: Id | None = None
    progress: Fraction | None = None
    minutes: Minutes = 0.0


class LessonCompleted(Learning, frozen=True, kw_only=True, tag="lesson_completed"):
    """The user finished a lesson; `progress` is the fraction of the course reached."""

    course_id: Id
    lesson_id: Id | None = None
    progress: Fraction | None = None


class CourseCompleted(Learning, frozen=True, kw_only=True, tag="course_completed"):
    """The user finished a course."""

    course_id: Id


class Exercise(Learning, frozen=True, kw_only=True, tag="exercise"):
    """The user handed in an exercise or exam; `score` is the fraction of points reached."""

    course_id: Id
    score: Fraction | None = None


class Question(Learning, frozen=True, tag="question"):
    """The user asked a question."""


class Answer(Learning, frozen=True, tag="answer"):
    """The user answered a question."""


class Comment(Learning, frozen=True, tag="comment"):
    """The user wrote a comment or a post."""


class Like(Learning, frozen=True, tag="like"):
    """The user liked something."""


class Shared(Learning, frozen=True, tag="share"):
    """The user shared something."""


class LiveSession(Learning, frozen=True, kw_only=True, tag="live_session"):
    """The user attended a live session."""

    minutes: Minutes = 0.0


class Review(Learning, frozen=True, kw_only=True, tag="review"):
    """A rating, review or questionnaire; `rating` is satisfaction between 0 and 1."""

    rating: Fraction | None = None
    text: LongText | None = None


class TrialStarted(Learning, frozen=True, tag="trial_started"):
    """The user started a free trial."""


class Favourite(Learning, frozen=True, kw_only=True, tag="favourite"):
    """The user marked a course as a favourite."""

    course_id: Id


# -- money --------------------------------------------------------------------------------------------------------


class MoneyEvent(Event, frozen=True, kw_only=True):
    """Base of events about payments, coupons and points."""

    money: ClassVar[bool] = True


class Purchase(MoneyEvent, frozen=True, kw_only=True, tag="purchase"):
    """The user bought a course, column or membership; `amount` is the price paid."""

    amount: Money
    currency: Currency | None = None
    course_id: Id | None = None
    offer_id: Id | None = None


class Refund(MoneyEvent, frozen=True, kw_only=True, tag="refund"):
    """The platform refunded a payment."""

    amount: Money
    currency: Currency | None = None
    course_id: Id | None = None


class SubscriptionStarted(MoneyEvent, frozen=True, kw_only=True, tag="subscription_started"):
    """A membership started."""

    plan: ShortText | None = None
    amount: Money = 0.0


class SubscriptionRenewed(MoneyEvent, frozen=True, kw_only=True, tag="subscription_renewed"):
    """A membership was renewed."""

    plan: ShortText | None = None
    amount: Money = 0.0


class SubscriptionCancelled(MoneyEvent, frozen=True, kw_only=True, tag="subscription_cancelled"):
    """A membership or enrolment was cancelled."""

    plan: ShortText | None = None
    course_id: Id | None = None


class CouponDelivered(MoneyEvent, frozen=True, kw_only=True, tag="coupon_delivered"):
    """Marketing automation delivered a coupon; `offer_id` is the id of Encore's coupon trigger."""

    offer_id: Id


class CouponRedeemed(MoneyEvent, frozen=True, kw_only=True, tag="coupon_redeemed"):
    """The user used a coupon; `amount` is the discount."""

    offer_id: Id
    amount: Money = 0.0


class CouponExpired(MoneyEvent, frozen=True, kw_only=True, tag="coupon_expired"):
    """A coupon expired unused."""

    offer_id: Id


class PointsEarned(MoneyEvent, frozen=True, kw_only=True, tag="points_earned"):
    """The user earned points."""

    points: Points


class PointsSpent(MoneyEvent, frozen=True, kw_only=True, tag="points_spent"):
    """The user spent points."""

    points: Points


# -- profile ------------------------------------------------------------------------------------------------------


class ProfileUpdated(Event, frozen=True, kw_only=True, tag="profile_updated"):
    """The profile of the user changed."""

    age_band: ShortText | None = None
    occupation: ShortText | None = None


class ConsentGiven(Event, frozen=True, tag="consent_given"):
    """The user consented to marketing."""


class ConsentWithdrawn(Event, frozen=True, tag="consent_withdrawn"):
    """The user withdrew consent to marketing."""


class ErasureRequested(Event, frozen=True, tag="erasure_requested"):
    """All data about the user must be erased."""


# -- catalogue: about a course, not a user ----------------------------------------------------------------------


class CourseEvent(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """Base of events about a course."""

    id: Id
    course_id: Id
    time: Time


class CoursePublished(CourseEvent, frozen=True, kw_only=True, tag="course_published"):
    """A course was added to the catalogue. Encore selects the `audience` users most likely to be interested in it."""

    title: ShortText
    description: LongText = ""
    tags: Annotated[tuple[ShortText, ...], Meta(max_length=100)] = ()
    category: ShortText | None = None
    price: Money | None = None
    lessons: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    audience: Annotated[int, Meta(ge=0, le=MAX_AUDIENCE)] = 0


class CourseChanged(CourseEvent, frozen=True, kw_only=True, tag="course_changed"):
    """The catalogue entry of a course changed; an absent field stays as it was."""

    title: ShortText | None = None
    description: LongText | None = None
    tags: Annotated[tuple[ShortText, ...], Meta(max_length=100)] | None = None
    category: ShortText | None = None
    price: Money | None = None
    lessons: Annotated[int, Meta(ge=0, le=100_000)] | None = None


class CourseWithdrawn(CourseEvent, frozen=True, tag="course_withdrawn"):
    """A course was removed from the catalogue."""


# -- time ---------------------------------------------------------------------------------------------------------


@final
class Announced(Struct, frozen=True, kw_only=True, tag_field="type", tag="announced"):
    """Request for the audience of a new course: ingest writes it to every partition, which searches its own users."""

    time: Time
    course: CoursePublished


@final
class Tick(Struct, frozen=True, kw_only=True, tag_field="type", tag="tick", gc=False):
    """Time passed without an event. The owner of a partition writes it, or the command that sends history."""

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
INTERNAL_KINDS = (Tick, Announced)
"""Records of `events` that belong to no user. Only Encore writes them."""
_ALL: tuple[type[Struct], ...] = (*PERSON_KINDS, *COURSE_KINDS, *INTERNAL_KINDS)
KINDS: dict[str, type[Struct]] = {str(kind.__struct_config__.tag): kind for kind in _ALL}
_KIND_OF = {kind: name for name, kind in KINDS.items()}

AnyEvent = Event | CourseEvent | Tick | Announced


def kind_of(event: AnyEvent) -> str:
    """Return the value of the event's `type` field."""
    return _KIND_OF[type(event)]
