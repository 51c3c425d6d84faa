"""What comes back: redemptions, purchases and expiries, joined to the decision that caused them."""

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
    """Join an event to open offers: redeemed or expired closes one, a purchase is noted once on each."""
    if not person.ledger.offers:
        return person, ()
    if isinstance(event, ev.CouponRedeemed):
        return _closed(person, event.offer_id, "redeemed", event, event.amount, rules)
    if isinstance(event, ev.CouponExpired):
        return _closed(person, event.offer_id, "expired", event, 0.0, rules)
    if isinstance(event, ev.Purchase):
        return _bought(person, event, rules)
    return person, ()


def expire_offers(person: Person, due: float, rules: Rules) -> tuple[Person, Outcomes]:
    """Close the offers that ran out by `due`."""
    if not person.ledger.offers:
        return person, ()
    over = [offer for offer in person.ledger.offers if offer.until <= due]
    if not over:
        return person, ()
    left = tuple(offer for offer in person.ledger.offers if offer.until > due)
    outcomes = tuple(_outcome(person, offer, "expired", offer.until, 0.0, rules) for offer in over)
    return replace(person, ledger=replace(person.ledger, offers=left)), outcomes


def _closed(
    person: Person, offer_id: str, what: Literal["redeemed", "expired"], event: ev.Event, amount: float, rules: Rules
) -> tuple[Person, Outcomes]:
    offers = person.ledger.offers
    outcomes = tuple(
        _outcome(person, offer, what, event.time, amount, rules) for offer in offers if offer.id == offer_id
    )
    left = tuple(offer for offer in offers if offer.id != offer_id)
    return replace(person, ledger=replace(person.ledger, offers=left)), outcomes


def _bought(person: Person, event: ev.Purchase, rules: Rules) -> tuple[Person, Outcomes]:
    ledger = person.ledger
    open_ones = [offer for offer in ledger.offers if not offer.bought and offer.at < event.time <= offer.until]
    fresh = [offer for offer in open_ones if event.offer_id in (None, offer.id)]
    outcomes = tuple(_outcome(person, offer, "purchased", event.time, event.amount, rules) for offer in fresh)
    offers = tuple(replace(offer, bought=True) if offer in fresh else offer for offer in ledger.offers)
    return replace(person, ledger=replace(ledger, offers=offers)), outcomes


def _outcome(
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
