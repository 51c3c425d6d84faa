"""Attribution: redemptions, purchases and expiries are joined to the decision that caused the offer."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from models.person.ledger import Offer, output_id, pseudonym
from models.person.person import Person
from models.person.rules import Rules
from models.schema import events as ev
from models.schema.outputs import OfferOutcome

Outcomes = tuple[OfferOutcome, ...]


def attribute(person: Person, event: ev.Event, rules: Rules) -> tuple[Person, Outcomes]:
    """Attribute an event to open offers. A redemption or expiry closes its offer; a purchase counts once for each."""
    if not person.ledger.offers:
        return person, ()
    if isinstance(event, ev.CouponRedeemed):
        return _close_offer(person, event.offer_id, "redeemed", event, event.amount, rules)
    if isinstance(event, ev.CouponExpired):
        return _close_offer(person, event.offer_id, "expired", event, 0.0, rules)
    if isinstance(event, ev.Purchase):
        return _record_purchase(person, event, rules)
    return person, ()


def expire_offers(person: Person, due: float, rules: Rules) -> tuple[Person, Outcomes]:
    """Close the offers that expired by `due`."""
    if not person.ledger.offers:
        return person, ()
    ended = [offer for offer in person.ledger.offers if offer.until <= due]
    if not ended:
        return person, ()
    still_open = tuple(offer for offer in person.ledger.offers if offer.until > due)
    outcomes = tuple(_make_outcome(person, offer, "expired", offer.until, 0.0, rules) for offer in ended)
    return replace(person, ledger=replace(person.ledger, offers=still_open)), outcomes


def _close_offer(
    person: Person, offer_id: str, what: Literal["redeemed", "expired"], event: ev.Event, amount: float, rules: Rules
) -> tuple[Person, Outcomes]:
    offers = person.ledger.offers
    outcomes = tuple(
        _make_outcome(person, offer, what, event.time, amount, rules) for offer in offers if offer.id == offer_id
    )
    still_open = tuple(offer for offer in offers if offer.id != offer_id)
    return replace(person, ledger=replace(person.ledger, offers=still_open)), outcomes


def _record_purchase(person: Person, event: ev.Purchase, rules: Rules) -> tuple[Person, Outcomes]:
    ledger = person.ledger
    unsold = [offer for offer in ledger.offers if not offer.bought and offer.at < event.time <= offer.until]
    credited = [offer for offer in unsold if event.offer_id in (None, offer.id)]
    outcomes = tuple(_make_outcome(person, offer, "purchased", event.time, event.amount, rules) for offer in credited)
    offers = tuple(replace(offer, bought=True) if offer in credited else offer for offer in ledger.offers)
    return replace(person, ledger=replace(ledger, offers=offers)), outcomes


def _make_outcome(
    person: Person,
    offer: Offer,
    what: Literal["redeemed", "purchased", "expired"],
    at: float,
    amount: float,
    rules: Rules,
) -> OfferOutcome:
    return OfferOutcome(
        id=output_id(person.id, f"outcome {what}", offer.id),
        user=pseudonym(person.id, rules.pseudonym_key),
        time=at,
        decision=offer.id.removeprefix("c"),
        campaign=offer.campaign,
        arm=offer.arm,
        outcome=what,
        amount=amount,
        propensity=offer.propensity,
    )
