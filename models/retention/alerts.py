"""From news to action: an alert, the decision on what may be done about it, and the coupon trigger if one goes out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from models.churn.reasons import describe_course_event, explain
from models.offers.campaign import Verdict, decide, frequency_key, next_quiet
from models.person import features
from models.person.activity import DAY
from models.person.ledger import MAX_RETRIES, MAX_SEND_COUNTS, NEVER, Ledger, Offer, Retry, output_id, pseudonym
from models.person.person import Person
from models.retention import risk
from models.retention.context import Context
from models.retention.recommending import standing
from models.schema import outputs

About = Literal["risk", "stalled", "finished"]
Kind = Literal["coupon", "contact"]


class AlertCause(Struct, frozen=True, kw_only=True):
    """Something worth telling about a person: what about, when, for which cause, and the score at that moment.

    `late` is by how many seconds it may be told later than `at`: due work is done once the clock has passed it by the
    lateness.
    """

    about: About
    at: float
    cause: str
    row: NDArray[float32]
    tier_before: str
    course_id: str | None = None
    late: float = 0.0


def publish_alert(person: Person, news: AlertCause, world: Context) -> tuple[Person, tuple[outputs.Output, ...]]:
    """Tell a person's news: always an alert; where an action is a candidate, its decision; and the action itself."""
    kind = candidate(news.about, person.ledger.tier)
    if kind is None:
        return person, (_alert(person, news, "none", world),)
    verdict = decide(kind, person.id, person.ledger, world.campaign, news.at, world.shadow, news.late)
    decision = _decision(person, news, kind, verdict, world)
    ledger = _noted(person.ledger, news, kind, verdict, decision, world.shadow)
    alert = _alert(person, news, kind if verdict.sent else "none", world)
    said: tuple[outputs.Output, ...] = (decision, alert)
    if kind == "coupon" and verdict.sent:
        said = (*said, _trigger(person, news, verdict, decision, world))
    return replace(person, ledger=ledger), said


def candidate(about: About, tier: str) -> Kind | None:
    """Return what could be done: a coupon at high risk, a contact at medium or about a course, else nothing."""
    if about != "risk":
        return "contact"
    kinds: dict[str, Kind] = {"high": "coupon", "medium": "contact"}
    return kinds.get(tier)


def retry_alerts(person: Person, due: float, world: Context) -> tuple[Person, tuple[outputs.Output, ...]]:
    """Ask again what the quiet hours held back, where it still stands."""
    again = [retry for retry in person.ledger.retries if retry.at <= due]
    if not again:
        return person, ()
    later = tuple(retry for retry in person.ledger.retries if retry.at > due)
    person = replace(person, ledger=replace(person.ledger, retries=later))
    said: tuple[outputs.Output, ...] = ()
    for retry in again:
        if not _stands(person, retry, due, world):
            continue
        row = features.row(person.activity, due, world.rules.horizon)
        news = AlertCause(
            about=retry.about,
            at=due,
            cause=f"retry {due!r} {retry.course_id or ''}",
            row=row,
            tier_before=person.ledger.tier,
            course_id=retry.course_id,
        )
        person, more = publish_alert(person, news, world)
        said += more
    return person, said


def _stands(person: Person, retry: Retry, due: float, world: Context) -> bool:
    if not risk.eligible(person, due, world.rules) or candidate(retry.about, person.ledger.tier) is None:
        return False
    return retry.about != "stalled" or retry.course_id in person.ledger.alerted_courses


def _noted(
    ledger: Ledger, news: AlertCause, kind: Kind, verdict: Verdict, decision: outputs.Decision, shadow: bool
) -> Ledger:
    """Note a verdict: what has to be asked again, what counts for caps, what is open from now on."""
    campaign = verdict.campaign
    if verdict.retry is not None:
        return replace(ledger, retries=_with_retry(ledger.retries, Retry(verdict.retry, news.about, news.course_id)))
    if campaign is None or not verdict.counts:
        return ledger
    before = ledger.send_count(frequency_key(campaign, shadow), kind)
    others = tuple(sent for sent in ledger.send_counts if sent is not before)
    ledger = replace(
        ledger, send_counts=(*others, replace(before, at=news.at, times=before.times + 1))[-MAX_SEND_COUNTS:]
    )
    if not verdict.sent:
        return ledger
    treated = tuple(replace(row, treated=True) for row in ledger.pending_labels)
    ledger = replace(ledger, pending_labels=treated, treated_at=news.at)
    if kind == "contact":
        return ledger
    offer = Offer(
        id=name_of_trigger(decision.id),
        campaign=campaign.id,
        arm=campaign.arm.name,
        amount=campaign.arm.amount,
        at=news.at,
        until=news.at + campaign.arm.valid_days * DAY,
        propensity=1.0 - campaign.hold_out,
        x=features.pack(news.row),
    )
    return replace(ledger, offers=(*ledger.offers, offer))


def _with_retry(retries: tuple[Retry, ...], retry: Retry) -> tuple[Retry, ...]:
    others = tuple(other for other in retries if (other.about, other.course_id) != (retry.about, retry.course_id))
    return (*others, retry)[-MAX_RETRIES:]


def name_of_trigger(decision_id: str) -> str:
    """Return the id of the coupon trigger that a decision caused: the offer's id from then on."""
    return f"c{decision_id}"


def _decision(person: Person, news: AlertCause, kind: Kind, verdict: Verdict, world: Context) -> outputs.Decision:
    campaign = verdict.campaign
    return outputs.Decision(
        id=output_id(person.id, f"decision {news.about}", news.cause),
        user=pseudonym(person.id, world.rules.pseudonym_key),
        time=news.at,
        candidate=kind,
        cause=news.about,
        sent=verdict.sent,
        reason=verdict.reason,
        tier=person.ledger.tier,
        probability=person.ledger.probability,
        model=world.version,
        campaign=campaign.id if campaign else "",
        campaign_version=campaign.version if campaign else "",
        arm=campaign.arm.name if campaign and kind == "coupon" else "",
        amount=campaign.arm.amount if campaign and kind == "coupon" else 0.0,
        propensity=1.0 - campaign.hold_out if campaign else 0.0,
        hold_out=verdict.reason == "hold_out",
    )


def _alert(
    person: Person, news: AlertCause, action: Literal["coupon", "contact", "none"], world: Context
) -> outputs.Alert:
    rules, ledger = world.rules, person.ledger
    rising = _rank(ledger.tier) >= _rank(news.tier_before)
    reasons = (
        explain(world.model, news.row, person.activity, news.at, rules.horizon, rising)
        if world.model is not None and news.about == "risk"
        else ()
    )
    return outputs.Alert(
        id=output_id(person.id, f"alert {news.about}", news.cause),
        user_id=person.id,
        time=news.at,
        expires_at=news.at + rules.alert_lasts if action == "none" else _expiry(news, world),
        about=news.about,
        probability=ledger.probability,
        tier=ledger.tier,
        tier_before=news.tier_before,
        action=action,
        reasons=reasons,
        happened=describe_course_event(person.activity, news.at, rules.stalled_after, news.course_id),
        course_id=news.course_id,
        recommendations=standing(person, world),
        model=world.version,
    )


def _trigger(
    person: Person, news: AlertCause, verdict: Verdict, decision: outputs.Decision, world: Context
) -> outputs.CouponTrigger:
    campaign = verdict.campaign
    assert campaign is not None
    arm = campaign.arm
    return outputs.CouponTrigger(
        id=name_of_trigger(decision.id),
        user_id=person.id,
        time=news.at,
        expires_at=_expiry(news, world),
        campaign=campaign.id,
        campaign_version=campaign.version,
        arm=arm.name,
        amount=arm.amount,
        currency=arm.currency,
        valid_until=news.at + arm.valid_days * DAY,
        probability=person.ledger.probability,
        recommendations=standing(person, world),
        model=world.version,
    )


def _expiry(news: AlertCause, world: Context) -> float:
    """Return when an action is old news: in time, and not in the night."""
    night = next_quiet(world.campaign, news.at) if world.campaign is not None else NEVER
    return min(news.at + world.rules.alert_lasts, night)


def _rank(tier: str) -> int:
    return outputs.TIERS.index(tier) if tier in outputs.TIERS else 0
