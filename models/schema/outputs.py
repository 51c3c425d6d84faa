"""The output contract: alerts, coupon triggers, decisions, training examples, profiles and recommendations.

The id of an output depends only on the user, the rule and the cause. A repeated id is the same message. `user` is a
keyed hash of the user id, for consumers that do not need the id; `user_id` is the platform's own id. Times are seconds
since 1970 UTC.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

Tier = Literal["low", "medium", "high"]
TIERS: tuple[Tier, ...] = ("low", "medium", "high")
NO_MODEL = "prior"
"""Value of `model` if the score is the prior of the settings and not a model's."""


class Reason(Struct, frozen=True, kw_only=True):
    """A reason for a score: a group of features, its effect on the churn logit, and a description with values."""

    group: str
    effect: float
    words: str


class Output(Struct, frozen=True, kw_only=True):
    """Base of all outputs.

    Attributes:
        id: the same for the same user, rule and cause.
        urgent: whether it is sent at once; other outputs are sent with the next commit.
        reproducible: whether it depends on the log alone and not on model or campaign. A replay of the log then
            produces it again.
    """

    id: str
    urgent: ClassVar[bool] = True
    reproducible: ClassVar[bool] = False


class RecommendedCourse(Struct, frozen=True, kw_only=True):
    """A recommended course: a score that only ranks, the reason in words, and the user's own course that led to it."""

    course_id: str
    score: float
    reason: str
    because: str | None = None


class Alert(Output, frozen=True, kw_only=True, tag_field="type", tag="alert"):
    """An alert for retention staff: the user's risk tier changed, a course stalled, or a course was finished.

    `action` is what may be done now: `coupon` (a coupon trigger is published in addition to this alert), `contact` (an
    ordinary message) or `none` (consent, hold-out, caps or the tier forbid it). Act on `action`, never on `tier`, and
    not after `expires_at`. `expires_at` is never later than the start of the campaign's quiet hours.
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
    """Send this coupon to this user. Report the outcome with `offer_id` = `id`.

    Do not send it after `expires_at`: then it is out of date, or the campaign's quiet hours have started.
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
    """A decision about a candidate action: whether it was sent, and the reason (one of `campaign.REASONS`)."""

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
    """The outcome of a sent offer, joined to the decision that caused it."""

    user: str
    time: float
    decision: str
    campaign: str
    arm: str
    outcome: Literal["redeemed", "purchased", "expired"]
    amount: float = 0.0
    propensity: float = 0.0


class Undelivered(Output, frozen=True, kw_only=True, tag_field="type", tag="undelivered"):
    """An output that was decided but not sent because it had expired; `id` is the id of the output."""

    user: str
    time: float
    expires_at: float
    topic: str
    reason: str = "expired"


class Example(Output, frozen=True, kw_only=True, tag_field="type", tag="example"):
    """A labelled training row: the features scored at `time`, and whether the user churned by `until`.

    `features` is a fingerprint of the feature names. `back` is the early signal: whether the user was back within the
    first quarter of the horizon. It is absent in rows from before early signals existed.
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
    reproducible: ClassVar[bool] = True


class EarlySignal(Output, frozen=True, kw_only=True, tag_field="type", tag="early_sign"):
    """Whether a user was back by `until`, the end of the first quarter of the horizon after the score at `time`.

    `probability` is the model's own, before recalibration; -1 if there was no model.
    """

    user: str
    time: float
    until: float
    back: bool
    probability: float
    treated: bool
    urgent: ClassVar[bool] = False
    reproducible: ClassVar[bool] = True


class Profile(Output, frozen=True, kw_only=True, tag_field="type", tag="profile"):
    """A user's profile: risk, stage, rates and value. It is published whenever the tier changes."""

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
    """Recommended courses for a user, best first. Published when the list differs enough from the one before."""

    user_id: str
    time: float
    courses: tuple[RecommendedCourse, ...]
    urgent: ClassVar[bool] = False


class AudienceUser(Struct, frozen=True, kw_only=True):
    """A user in an audience, with an interest in the course between 0 and 1."""

    user_id: str
    interest: float


class CourseAudience(Output, frozen=True, kw_only=True, tag_field="type", tag="course_audience"):
    """The users most likely to be interested in a new course, best first, at most as many as requested.

    `announcement` is the id of the event that announced the course, `time` the time of that event.
    """

    course_id: str
    time: float
    announcement: str
    size: int
    people: tuple[AudienceUser, ...]
    urgent: ClassVar[bool] = False


class Tombstone(Output, frozen=True, kw_only=True):
    """Deletes the user's record on a compacted topic after an erasure request."""

    user_id: str
    of: Literal["profile", "recommendations"] = "profile"


OUTPUTS: tuple[type[Output], ...] = (
    Alert, CouponTrigger, Decision, OfferOutcome, Undelivered, Example, EarlySignal, Profile, Recommendations,
    CourseAudience,
)  # fmt: skip
