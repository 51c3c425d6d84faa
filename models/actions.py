"""From news to action: an alert, the decision on what may be done about it, and the coupon trigger if one goes out."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from models import features, outputs
from models.activity import DAY
from models.ledger import MOST_OFFERS, MOST_SENT, NEVER, Ledger, Offer, Sent, name_of, pseudonym
from models.offers import Verdict, decide
from models.person import Person
from models.reasons import explain, happened
from models.world import World

About = Literal["risk", "stalled", "finished"]
Kind = Literal["coupon", "contact"]


class News(Struct, frozen=True, kw_only=True):
    """Something worth telling about a person: what about, when, for which cause, and the score at that moment."""

    about: About
    at: float
    cause: str
    row: NDArray[float32]
    tier_before: str
    course_id: str | None = None


def tell(person: Person, news: News, world: World) -> tuple[Person, tuple[outputs.Output, ...]]:
    """Tell a person's news: always an alert; where an action is a candidate, its decision; and the action itself."""
    kind = candidate(news.about, person.ledger.tier)
    if kind is None:
        return person, (_alert(person, news, "none", world),)
    verdict = decide(kind, person.id, person.ledger, world.campaign, news.at, world.shadow)
    decision = _decision(person, news, kind, verdict, world)
    ledger = _noted(person.ledger, news, kind, verdict, decision)
    alert = _alert(person, news, kind if verdict.sent else "none", world)
    said: tuple[outputs.Output, ...] = (decision, alert)
    if kind == "coupon" and verdict.sent:
        said = (*said, _trigger(person, news, verdict, decision, world))
    return replace(person, ledger=ledger), said


def candidate(about: About, tier: str) -> Kind | None:
    """Return what could be done: a coupon at high risk, an ordinary contact at medium or about a course, else nothing."""
    if about != "risk":
        return "contact"
    kinds: dict[str, Kind] = {"high": "coupon", "medium": "contact"}
    return kinds.get(tier)


def retold(person: Person, due: float, world: World) -> tuple[Person, tuple[outputs.Output, ...]]:
    """Ask again what the quiet hours held back, if it still stands."""
    ledger = replace(person.ledger, retry=NEVER)
    person = replace(person, ledger=ledger)
    about: About = ledger.retry_about or "risk"  # type: ignore[assignment]
    if candidate(about, ledger.tier) is None or not person.activity.events:
        return person, ()
    row = features.row(person.activity, due, world.rules.horizon)
    course = features.current_course(person.activity) if about != "risk" else None
    news = News(
        about=about,
        at=due,
        cause=f"retry {due!r}",
        row=row,
        tier_before=ledger.tier,
        course_id=course.id if course else None,
    )
    return tell(person, news, world)


def _noted(ledger: Ledger, news: News, kind: Kind, verdict: Verdict, decision: outputs.Decision) -> Ledger:
    campaign = verdict.campaign
    if verdict.retry is not None:
        return replace(ledger, retry=verdict.retry, retry_about=news.about)
    if campaign is None or not verdict.counts:
        return ledger
    sent = (*ledger.sent, Sent(campaign.id, kind, news.at))[-MOST_SENT:]
    if not verdict.sent:
        return replace(ledger, sent=sent)
    rows = tuple(replace(row, treated=True) for row in ledger.rows)
    if kind == "contact":
        return replace(ledger, sent=sent, rows=rows)
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
    return replace(ledger, sent=sent, rows=rows, offers=(*ledger.offers, offer)[-MOST_OFFERS:])


def name_of_trigger(decision_id: str) -> str:
    """Return the id of the coupon trigger that a decision caused: the offer's id from then on."""
    return f"c{decision_id}"


def _decision(person: Person, news: News, kind: Kind, verdict: Verdict, world: World) -> outputs.Decision:
    campaign = verdict.campaign
    return outputs.Decision(
        id=name_of(person.id, f"decision {news.about}", news.cause),
        user=pseudonym(person.id, world.rules.pseudonym_key),
        time=news.at,
        candidate=kind,
        cause=news.about,
        sent=verdict.sent,
        reason=verdict.reason,
        tier=person.ledger.tier,
        probability=person.ledger.probability,
        model=_model(world),
        campaign=campaign.id if campaign else "",
        campaign_version=campaign.version if campaign else "",
        arm=campaign.arm.name if campaign and kind == "coupon" else "",
        amount=campaign.arm.amount if campaign and kind == "coupon" else 0.0,
        propensity=1.0 - campaign.hold_out if campaign else 0.0,
        hold_out=verdict.reason == "hold_out",
    )


def _alert(person: Person, news: News, action: Literal["coupon", "contact", "none"], world: World) -> outputs.Alert:
    rules, ledger = world.rules, person.ledger
    rising = _rank(ledger.tier) >= _rank(news.tier_before)
    reasons = (
        explain(world.model, news.row, person.activity, news.at, rules.horizon, rising)
        if world.model is not None and news.about == "risk"
        else ()
    )
    return outputs.Alert(
        id=name_of(person.id, f"alert {news.about}", news.cause),
        user_id=person.id,
        time=news.at,
        expires_at=news.at + rules.alert_lasts,
        about=news.about,
        probability=ledger.probability,
        tier=ledger.tier,
        tier_before=news.tier_before,
        action=action,
        reasons=reasons,
        happened=happened(person.activity, news.at, rules.stalled_after),
        course_id=news.course_id,
        model=_model(world),
    )


def _trigger(
    person: Person, news: News, verdict: Verdict, decision: outputs.Decision, world: World
) -> outputs.CouponTrigger:
    campaign = verdict.campaign
    assert campaign is not None
    arm = campaign.arm
    return outputs.CouponTrigger(
        id=name_of_trigger(decision.id),
        user_id=person.id,
        time=news.at,
        expires_at=news.at + world.rules.alert_lasts,
        campaign=campaign.id,
        campaign_version=campaign.version,
        arm=arm.name,
        amount=arm.amount,
        currency=arm.currency,
        valid_until=news.at + arm.valid_days * DAY,
        probability=person.ledger.probability,
        model=_model(world),
    )


def _model(world: World) -> str:
    return world.model.version if world.model else "prior"


def _rank(tier: str) -> int:
    return outputs.TIERS.index(tier) if tier in outputs.TIERS else 0
