"""From a cause to action: an alert, the decision whether to act on it, and the coupon trigger if a coupon is sent."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from models.churn.reasons import describe_course_event, explain
from models.offers.campaign import Verdict, decide, frequency_key, next_quiet_start
from models.person import features
from models.person.activity import DAY
from models.person.ledger import MAX_RETRIES, MAX_SEND_COUNTS, NEVER, Ledger, Offer, Retry, output_id, pseudonym
from models.person.person import Person
from models.retention import risk
from models.retention.context import Context
from models.retention.recommendations import current_recommendations
from models.schema import outputs

Subject = Literal["risk", "stalled", "finished"]
Kind = Literal["coupon", "contact"]


class AlertCause(Struct, frozen=True, kw_only=True):
    """Why a person gets an alert.

    Attributes:
        about: the subject of the alert.
        at: the moment it is about.
        cause_id: the event or timer, for output ids.
        row: the features at that moment.
        tier_before: the risk tier before it.
        course_id: the course, if the alert is about one.
        delay: seconds by which the alert may leave after `at`. A timer runs once the clock has passed it by the
            lateness.
    """

    about: Subject
    at: float
    cause_id: str
    row: NDArray[float32]
    tier_before: str
    course_id: str | None = None
    delay: float = 0.0


def publish_alert(person: Person, cause: AlertCause, context: Context) -> tuple[Person, tuple[outputs.Output, ...]]:
    """Return an alert, the decision if there is a candidate action, and the coupon trigger if a coupon is sent."""
    kind = candidate(cause.about, person.ledger.tier)
    if kind is None:
        return person, (_make_alert(person, cause, "none", context),)
    verdict = decide(kind, person.id, person.ledger, context.campaign, cause.at, context.shadow, cause.delay)
    decision = _make_decision(person, cause, kind, verdict, context)
    ledger = _record_verdict(person.ledger, cause, kind, verdict, decision, context.shadow)
    alert = _make_alert(person, cause, kind if verdict.sent else "none", context)
    published: tuple[outputs.Output, ...] = (decision, alert)
    if kind == "coupon" and verdict.sent:
        published = (*published, _make_trigger(person, cause, verdict, decision, context))
    return replace(person, ledger=ledger), published


def candidate(about: Subject, tier: str) -> Kind | None:
    """Return the action to decide on: a coupon at high risk, a contact at medium risk or about a course, else None."""
    if about != "risk":
        return "contact"
    kinds: dict[str, Kind] = {"high": "coupon", "medium": "contact"}
    return kinds.get(tier)


def retry_alerts(person: Person, due: float, context: Context) -> tuple[Person, tuple[outputs.Output, ...]]:
    """Decide again on what quiet hours postponed until `due`, if its reason still holds."""
    ready = [retry for retry in person.ledger.retries if retry.at <= due]
    if not ready:
        return person, ()
    later = tuple(retry for retry in person.ledger.retries if retry.at > due)
    person = replace(person, ledger=replace(person.ledger, retries=later))
    published: tuple[outputs.Output, ...] = ()
    for retry in ready:
        if not _still_applies(person, retry, due, context):
            continue
        row = features.row(person.activity, due, context.rules.horizon)
        cause = AlertCause(
            about=retry.about,
            at=due,
            cause_id=f"retry {due!r} {retry.course_id or ''}",
            row=row,
            tier_before=person.ledger.tier,
            course_id=retry.course_id,
        )
        person, more = publish_alert(person, cause, context)
        published += more
    return person, published


def _still_applies(person: Person, retry: Retry, due: float, context: Context) -> bool:
    if not risk.is_eligible(person, due, context.rules) or candidate(retry.about, person.ledger.tier) is None:
        return False
    return retry.about != "stalled" or retry.course_id in person.ledger.alerted_courses


def _record_verdict(
    ledger: Ledger, cause: AlertCause, kind: Kind, verdict: Verdict, decision: outputs.Decision, shadow: bool
) -> Ledger:
    """Record a verdict in the ledger: a retry, or what counts for caps, and the offer if a coupon is sent."""
    campaign = verdict.campaign
    if verdict.retry is not None:
        return replace(ledger, retries=_add_retry(ledger.retries, Retry(verdict.retry, cause.about, cause.course_id)))
    if campaign is None or not verdict.counts:
        return ledger
    before = ledger.send_count(frequency_key(campaign, shadow), kind)
    others = tuple(count for count in ledger.send_counts if count is not before)
    count = replace(before, at=cause.at, times=before.times + 1)
    ledger = replace(ledger, send_counts=(*others, count)[-MAX_SEND_COUNTS:])
    if not verdict.sent:
        return ledger
    treated = tuple(replace(row, treated=True) for row in ledger.pending_labels)
    ledger = replace(ledger, pending_labels=treated, treated_at=cause.at)
    if kind == "contact":
        return ledger
    offer = Offer(
        id=trigger_id(decision.id),
        campaign=campaign.id,
        arm=campaign.arm.name,
        amount=campaign.arm.amount,
        at=cause.at,
        until=cause.at + campaign.arm.valid_days * DAY,
        propensity=1.0 - campaign.hold_out,
        x=features.pack(cause.row),
    )
    return replace(ledger, offers=(*ledger.offers, offer))


def _add_retry(retries: tuple[Retry, ...], retry: Retry) -> tuple[Retry, ...]:
    """Add a retry. It replaces one with the same subject and course."""
    others = tuple(other for other in retries if (other.about, other.course_id) != (retry.about, retry.course_id))
    return (*others, retry)[-MAX_RETRIES:]


def trigger_id(decision_id: str) -> str:
    """Return the id of the coupon trigger of a decision. It is also the id of the offer."""
    return f"c{decision_id}"


def _make_decision(
    person: Person, cause: AlertCause, kind: Kind, verdict: Verdict, context: Context
) -> outputs.Decision:
    campaign = verdict.campaign
    return outputs.Decision(
        id=output_id(person.id, f"decision {cause.about}", cause.cause_id),
        user=pseudonym(person.id, context.rules.pseudonym_key),
        time=cause.at,
        candidate=kind,
        cause=cause.about,
        sent=verdict.sent,
        reason=verdict.reason,
        tier=person.ledger.tier,
        probability=person.ledger.probability,
        model=context.version,
        campaign=campaign.id if campaign else "",
        campaign_version=campaign.version if campaign else "",
        arm=campaign.arm.name if campaign and kind == "coupon" else "",
        amount=campaign.arm.amount if campaign and kind == "coupon" else 0.0,
        propensity=1.0 - campaign.hold_out if campaign else 0.0,
        hold_out=verdict.reason == "hold_out",
    )


def _make_alert(
    person: Person, cause: AlertCause, action: Literal["coupon", "contact", "none"], context: Context
) -> outputs.Alert:
    rules, ledger = context.rules, person.ledger
    rising = _tier_rank(ledger.tier) >= _tier_rank(cause.tier_before)
    reasons = (
        explain(context.model, cause.row, person.activity, cause.at, rules.horizon, rising)
        if context.model is not None and cause.about == "risk"
        else ()
    )
    return outputs.Alert(
        id=output_id(person.id, f"alert {cause.about}", cause.cause_id),
        user_id=person.id,
        time=cause.at,
        expires_at=cause.at + rules.alert_lasts if action == "none" else _expires_at(cause, context),
        about=cause.about,
        probability=ledger.probability,
        tier=ledger.tier,
        tier_before=cause.tier_before,
        action=action,
        reasons=reasons,
        happened=describe_course_event(person.activity, cause.at, rules.stalled_after, cause.course_id),
        course_id=cause.course_id,
        recommendations=current_recommendations(person, context),
        model=context.version,
    )


def _make_trigger(
    person: Person, cause: AlertCause, verdict: Verdict, decision: outputs.Decision, context: Context
) -> outputs.CouponTrigger:
    campaign = verdict.campaign
    assert campaign is not None
    arm = campaign.arm
    return outputs.CouponTrigger(
        id=trigger_id(decision.id),
        user_id=person.id,
        time=cause.at,
        expires_at=_expires_at(cause, context),
        campaign=campaign.id,
        campaign_version=campaign.version,
        arm=arm.name,
        amount=arm.amount,
        currency=arm.currency,
        valid_until=cause.at + arm.valid_days * DAY,
        probability=person.ledger.probability,
        recommendations=current_recommendations(person, context),
        model=context.version,
    )


def _expires_at(cause: AlertCause, context: Context) -> float:
    """Return when an action expires: after `alert_lasts`, and before the next quiet hours."""
    night = next_quiet_start(context.campaign, cause.at) if context.campaign is not None else NEVER
    return min(cause.at + context.rules.alert_lasts, night)


def _tier_rank(tier: str) -> int:
    return outputs.TIERS.index(tier) if tier in outputs.TIERS else 0
