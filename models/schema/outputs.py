"""The contract of what goes out: alerts, coupon triggers, decisions, training examples and profiles.

Every output has an id that depends on the person, the rule and the cause alone: a repeated id is the same message.
`user` is a keyed hash of the person, on topics whose consumers need no more; `user_id` is the platform's own id.
Times are seconds since 1970 UTC.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

Tier = Literal["low", "medium", "high"]
TIERS: tuple[Tier, ...] = ("low", "medium", "high")
NO_MODEL = "prior"
"""Stands in `model` where a score is of none, but the prior of the settings."""


class Reason(Struct, frozen=True, kw_only=True):
    """Why the score is what it is: a group of features, what it does to the churn logit, and words with values."""

    group: str
    effect: float
    words: str


class Output(Struct, frozen=True, kw_only=True):
    """Something to tell the world. `urgent` outputs leave at once, the others with the next commit.

    `certain` outputs follow from the log alone, whatever model or campaign there is: the log says them again.
    """

    id: str
    urgent: ClassVar[bool] = True
    certain: ClassVar[bool] = False


class RecommendedCourse(Struct, frozen=True, kw_only=True):
    """A course for a person: a score that only orders, the reason in words, and the course of theirs behind it."""

    course_id: str
    score: float
    reason: str
    because: str | None = None


class Alert(Output, frozen=True, kw_only=True, tag_field="type", tag="alert"):
    """News of a person for whoever keeps them: their risk tier changed, a course stalled, a course was finished.

    `action` is what may be done now: `coupon` (a coupon trigger goes out beside this alert), `contact` (an ordinary
    message) or `none` (consent, hold-out, caps or the tier say no). Act on it, never on `tier`, and not after
    `expires_at`, which is never later than the beginning of the campaign's quiet hours.
    """

    user_id: str
    time: float
    expires_at: float
    about: Literal["risk", "stalled", "finished"]
    probability: float
    tier: str
    tier_before: str
    action: Literal["coupon", "contact", "none"]
    reasons: tuple[Reason, ...] = ()
    happened: str = ""
    course_id: str | None = None
    recommendations: tuple[RecommendedCourse, ...] = ()
    model: str = ""


class CouponTrigger(Output, frozen=True, kw_only=True, tag_field="type", tag="coupon_trigger"):
    """Send this person this coupon. Report what became of it with `offer_id` = `id`.

    After `expires_at` it is too late: then it is old news, or the campaign's quiet hours have begun.
    """

    user_id: str
    time: float
    expires_at: float
    campaign: str
    campaign_version: str
    arm: str
    amount: float
    currency: str
    valid_until: float
    probability: float
    recommendations: tuple[RecommendedCourse, ...] = ()
    model: str


class Decision(Output, frozen=True, kw_only=True, tag_field="type", tag="decision"):
    """A candidate and what became of it: sent, or not and why (`reason`, one of `offers.REASONS`)."""

    user: str
    time: float
    candidate: Literal["coupon", "contact"]
    cause: str
    sent: bool
    reason: str
    tier: str
    probability: float
    model: str
    campaign: str = ""
    campaign_version: str = ""
    arm: str = ""
    amount: float = 0.0
    propensity: float = 0.0
    hold_out: bool = False


class OfferOutcome(Output, frozen=True, kw_only=True, tag_field="type", tag="outcome"):
    """What became of an offer that was sent, joined to the decision that caused it."""

    user: str
    time: float
    decision: str
    campaign: str
    arm: str
    outcome: Literal["redeemed", "purchased", "expired"]
    amount: float = 0.0
    propensity: float = 0.0


class Undelivered(Output, frozen=True, kw_only=True, tag_field="type", tag="undelivered"):
    """An output that was decided but not sent, since it was old news by the time it could be; `id` is the output's."""

    user: str
    time: float
    expires_at: float
    topic: str
    reason: str = "expired"


class Example(Output, frozen=True, kw_only=True, tag_field="type", tag="example"):
    """A labelled row: features as scored at `time` (names in `features`), whether the person churned by `until`.

    `back` is what its early sign had said: whether they were back within the first quarter of the horizon. Rows that
    were written before there were signs do not say.
    """

    user: str
    time: float
    until: float
    features: str
    x: tuple[float, ...]
    churned: bool
    probability: float
    model: str
    treated: bool
    back: bool | None = None
    urgent: ClassVar[bool] = False
    certain: ClassVar[bool] = True


class EarlySignal(Output, frozen=True, kw_only=True, tag_field="type", tag="early_sign"):
    """Whether a person was back by `until`, the first quarter of the horizon of the row that was scored at `time`.

    `probability` is the model's own, before it was bent to the pace of the day; -1 if there was no model.
    """

    user: str
    time: float
    until: float
    back: bool
    probability: float
    treated: bool
    urgent: ClassVar[bool] = False
    certain: ClassVar[bool] = True


class Profile(Output, frozen=True, kw_only=True, tag_field="type", tag="profile"):
    """A person as they stand: risk, stage, rates and value, whenever the tier changes."""

    user_id: str
    time: float
    tier: str
    probability: float
    stage: str
    retention_rate: float
    repurchase_rate: float
    purchases: int
    spend: float
    last_active: float
    urgent: ClassVar[bool] = False


class Recommendations(Output, frozen=True, kw_only=True, tag_field="type", tag="recommendations"):
    """What a person would like next, best first; told when the list differs enough from the one told last."""

    user_id: str
    time: float
    courses: tuple[RecommendedCourse, ...]
    urgent: ClassVar[bool] = False


class AudienceUser(Struct, frozen=True, kw_only=True):
    """Somebody in an audience, with their interest in the course between 0 and 1."""

    user_id: str
    interest: float


class CourseAudience(Output, frozen=True, kw_only=True, tag_field="type", tag="course_audience"):
    """The people whom an announced course would please most, most interested first, at most as many as were asked for.

    `announcement` is the id of the event that announced the course, `time` that event's.
    """

    course_id: str
    time: float
    announcement: str
    size: int
    people: tuple[AudienceUser, ...]
    urgent: ClassVar[bool] = False


class Tombstone(Output, frozen=True, kw_only=True):
    """The person asked to be forgotten: what stands of them on a compacted topic is taken back."""

    user_id: str
    of: Literal["profile", "recommendations"] = "profile"


OUTPUTS: tuple[type[Output], ...] = (
    Alert, CouponTrigger, Decision, OfferOutcome, Undelivered, Example, EarlySignal, Profile, Recommendations,
    CourseAudience,
)  # fmt: skip
