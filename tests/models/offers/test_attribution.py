"""Redemptions, purchases and expiries are attributed to the decision that caused them, once, while an offer is open."""

from models.offers import attribution
from models.person.activity import DAY
from models.person.ledger import Ledger, Offer, pseudonym
from models.person.person import Person
from models.person.rules import Rules
from models.schema import events as ev
from models.schema.outputs import CouponTrigger, Decision, OfferOutcome
from tests.models.people import HOUR, NOON, make_context, make_model, process_events

RULES = Rules(pseudonym_key=b"key")
OFFER = Offer("cabc", "back", "ten", 10.0, NOON, NOON + 7 * DAY, 0.9, b"")
OTHER = Offer("cdef", "news", "five", 5.0, NOON, NOON + 3 * DAY, 0.8, b"")
HOLDER = Person("u", ledger=Ledger(offers=(OFFER, OTHER)))


def redeemed(offer_id: str, days: float = 1) -> ev.CouponRedeemed:
    return ev.CouponRedeemed(id="r", user_id="u", time=NOON + days * DAY, offer_id=offer_id, amount=8.0)


def bought(days: float, name: str = "p") -> ev.Purchase:
    return ev.Purchase(id=name, user_id="u", time=NOON + days * DAY, amount=50.0)


def test_a_redemption_closes_its_offer_and_names_the_decision() -> None:
    """The outcome has the decision, campaign, arm, amount and propensity of the offer. The other offer stays open."""
    person, outcomes = attribution.attribute(HOLDER, redeemed("cabc"), RULES)
    assert person.ledger.offers == (OTHER,)
    assert outcomes == (
        OfferOutcome(
            id=outcomes[0].id, user=pseudonym("u", b"key"), time=NOON + DAY, decision="abc", campaign="back", arm="ten",
            outcome="redeemed", amount=8.0, propensity=0.9,
        ),
    )  # fmt: skip


def test_a_redemption_of_an_unknown_offer_changes_nothing() -> None:
    """The same holds for an offer that is closed already."""
    assert attribution.attribute(HOLDER, redeemed("other"), RULES) == (HOLDER, ())
    once, _ = attribution.attribute(HOLDER, redeemed("cabc"), RULES)
    assert attribution.attribute(once, redeemed("cabc", 2), RULES) == (once, ())


def test_a_reported_expiry_closes_the_offer() -> None:
    """Marketing automation may report it before the end of the offer."""
    event = ev.CouponExpired(id="x", user_id="u", time=NOON + DAY, offer_id="cdef")
    person, outcomes = attribution.attribute(HOLDER, event, RULES)
    assert person.ledger.offers == (OFFER,)
    assert [(o.outcome, o.decision, o.amount) for o in outcomes] == [("expired", "def", 0.0)]


def test_a_purchase_is_attributed_once_to_each_open_offer() -> None:
    """The first purchase within an offer's time counts, a second one does not. The offer stays open."""
    person, first = attribution.attribute(HOLDER, bought(1), RULES)
    assert [(o.outcome, o.decision, o.amount) for o in first] == [("purchased", name, 50.0) for name in ("abc", "def")]
    assert attribution.attribute(person, bought(2, "q"), RULES) == (person, ())
    assert [(offer.id, offer.bought) for offer in person.ledger.offers] == [("cabc", True), ("cdef", True)]


def test_a_purchase_outside_an_offers_time_is_not_attributed() -> None:
    """Neither before it was sent, nor after it ended."""
    assert attribution.attribute(HOLDER, bought(0), RULES)[1] == ()
    assert [o.decision for o in attribution.attribute(HOLDER, bought(5), RULES)[1]] == ["abc"]
    assert attribution.attribute(HOLDER, bought(8), RULES)[1] == ()


def test_other_money_events_touch_no_offer() -> None:
    """A delivered coupon or points are no outcome."""
    event = ev.CouponDelivered(id="d", user_id="u", time=NOON + DAY, offer_id="cabc")
    assert attribution.attribute(HOLDER, event, RULES) == (HOLDER, ())


def test_offers_expire() -> None:
    """At its end, an offer is closed as expired, as of that time. Before its end, nothing happens."""
    assert attribution.expire_offers(HOLDER, NOON + 3 * DAY - 1, RULES) == (HOLDER, ())
    person, outcomes = attribution.expire_offers(HOLDER, NOON + 4 * DAY, RULES)
    assert person.ledger.offers == (OFFER,)
    assert [(o.outcome, o.decision, o.time) for o in outcomes] == [("expired", "def", NOON + 3 * DAY)]


def test_an_outcome_names_the_decision_of_its_trigger() -> None:
    """A silent person gets a trigger and redeems it by the trigger's id."""
    start: list[ev.Event] = [ev.Login(id="1", user_id="u", time=NOON)]
    _, outputs = process_events(Person("u"), start, make_context(), NOON + 12 * DAY)
    trigger = next(output for output in outputs if isinstance(output, CouponTrigger))
    decision = next(output for output in outputs if isinstance(output, Decision) and output.time == trigger.time)
    event = ev.CouponRedeemed(id="2", user_id="u", time=trigger.time + HOUR, offer_id=trigger.id)
    _, after = process_events(Person("u"), [*start, event], make_context(), NOON + 30 * DAY)
    outcomes = [output for output in after if isinstance(output, OfferOutcome)]
    assert [(o.outcome, o.decision, o.campaign) for o in outcomes][:1] == [("redeemed", decision.id, "back")]
    assert decision.sent


def test_an_offer_left_alone_expires_once() -> None:
    """Without further events, the expiry is published once, at the end of the offer."""
    start: list[ev.Event] = [ev.Login(id="1", user_id="u", time=NOON)]
    _, outputs = process_events(Person("u"), start, make_context(model=make_model(0.0, 3.0)), NOON + 60 * DAY)
    ends = [output.valid_until for output in outputs if isinstance(output, CouponTrigger)]
    assert [output.time for output in outputs if isinstance(output, OfferOutcome)] == ends == [NOON + 7 * DAY]
