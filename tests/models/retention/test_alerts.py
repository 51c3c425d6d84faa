"""From news to action: alerts always, decisions where there is a candidate, triggers when one goes out."""

import msgspec
import pytest

from models.offers.campaign import Arm
from models.person.activity import DAY
from models.person.ledger import MAX_SEND_COUNTS, Ledger, PendingLabel, SendCount, pseudonym
from models.person.person import Person
from models.person.rules import Rules
from models.retention import alerts as alerting
from models.retention.context import Context
from models.schema import events as ev
from models.schema.outputs import Alert, CouponTrigger, Decision, Example, Output
from tests.models.people import HOUR, NOON, START, make_campaign, make_context, make_model, process_events

RISKY = make_model(0.0, 3.0)
LOGIN = ev.Login(id="1", user_id="u", time=NOON)
WAITING = (PendingLabel(NOON - DAY, b"", 0.5, "m"), PendingLabel(NOON - 2 * DAY, b"", 0.5, "m"))


def at_noon(state: Context, person: Person | None = None, event: ev.Event = LOGIN) -> tuple[Person, list[Output]]:
    return process_events(person or Person("u"), [event], state, event.time + 1)


def of(kind: type, said: list[Output]) -> list:
    return [output for output in said if isinstance(output, kind)]


@pytest.mark.parametrize(
    ("about", "tier", "kind"),
    [("risk", "high", "coupon"), ("risk", "medium", "contact"), ("risk", "low", None), ("risk", "", None),
     ("stalled", "low", "contact"), ("finished", "", "contact")],
)  # fmt: skip
def test_candidates_follow_from_tier_and_news(about: alerting.Subject, tier: str, kind: str | None) -> None:
    """High risk: a coupon; medium, or news of a course: an ordinary contact; low: nothing."""
    assert alerting.candidate(about, tier) == kind


def test_a_high_risk_gets_decision_alert_and_trigger_that_belong_together() -> None:
    """All three carry person, moment, score and model; the trigger is named after its decision."""
    state = make_context(model=RISKY, rules=Rules(pseudonym_key=b"k"), campaign=make_campaign(hold_out=0.25))
    _, said = at_noon(state, Person("u1"), ev.Login(id="1", user_id="u1", time=NOON))
    (decision,), (alert,), (trigger,) = of(Decision, said), of(Alert, said), of(CouponTrigger, said)
    assert (decision.sent, decision.reason, decision.candidate, decision.cause) == (True, "sent", "coupon", "risk")
    assert (decision.user, decision.propensity, decision.hold_out) == (pseudonym("u1", b"k"), 0.75, False)
    assert (alert.action, alert.tier, alert.tier_before, alert.expires_at) == ("coupon", "high", "", NOON + DAY)
    assert (trigger.id, trigger.user_id, trigger.amount) == (f"c{decision.id}", "u1", 10.0)
    assert (trigger.currency, trigger.valid_until, trigger.expires_at) == ("EUR", NOON + 7 * DAY, NOON + DAY)
    assert {(o.time, o.probability, o.model) for o in (decision, alert, trigger)} == {(NOON, 0.952574, "test-1")}
    assert len({decision.id, alert.id, trigger.id}) == 3


def test_an_offer_that_was_sent_is_kept_open_with_its_moment() -> None:
    """The ledger holds id, arm, end and propensity, and counts it."""
    person, said = at_noon(make_context(model=RISKY, campaign=make_campaign(arm=Arm(name="x", amount=3, valid_days=2))))
    (trigger,), (offer,) = of(CouponTrigger, said), person.ledger.offers
    assert (offer.id, offer.arm, offer.amount, offer.at, offer.until) == (trigger.id, "x", 3.0, NOON, NOON + 2 * DAY)
    assert (offer.propensity, offer.bought) == (1.0, False)
    assert person.ledger.send_counts == (SendCount("back", "coupon", NOON, 1),)


def test_the_hold_out_is_decided_and_counted_but_gets_nothing() -> None:
    """An alert without action, a decision that says so, no trigger, no open offer, rows untreated."""
    state = make_context(model=RISKY, campaign=make_campaign(hold_out=1.0))
    person, said = at_noon(state, Person("u", ledger=Ledger(pending_labels=WAITING)))
    (decision,) = of(Decision, said)
    assert (decision.sent, decision.reason, decision.hold_out) == (False, "hold_out", True)
    assert (of(CouponTrigger, said), [alert.action for alert in of(Alert, said)]) == ([], ["none"])
    assert (person.ledger.offers, len(person.ledger.send_counts)) == ((), 1)
    assert [row.treated for row in person.ledger.pending_labels] == [False, False]


@pytest.mark.parametrize("bias", [3.0, 0.0])
def test_rows_that_wait_are_marked_as_treated(bias: float) -> None:
    """After a coupon or a contact, the labels of the waiting rows are no longer those of an untreated person."""
    person, _ = at_noon(make_context(model=make_model(0.0, bias)), Person("u", ledger=Ledger(pending_labels=WAITING)))
    assert [row.treated for row in person.ledger.pending_labels] == [True, True]


@pytest.mark.parametrize("tier", ["coupon", "contact"])
def test_rows_scored_after_something_was_sent_are_treated(tier: str) -> None:
    """For a horizon, also of a contact, and of a coupon that was redeemed within the hour; then no longer."""
    state = make_context(model=make_model(0.0, 3.0 if tier == "coupon" else 0.0), rules=Rules(lookback=90 * DAY))
    person, said = at_noon(state)
    offers = [trigger.id for trigger in of(CouponTrigger, said)]
    assert len(offers) == (tier == "coupon")
    redeemed = [ev.CouponRedeemed(id="r", user_id="u", time=NOON + HOUR, offer_id=offer) for offer in offers]
    person, said = process_events(person, redeemed, state, NOON + 60 * DAY)
    assert person.ledger.treated_at == NOON
    rows = [(row.time - NOON < 14 * DAY, row.treated) for row in of(Example, said)]
    assert set(rows) == {(True, True), (False, False)}


@pytest.mark.parametrize("changes", [{"shadow": True}, {"campaign": make_campaign(hold_out=1.0)}])
def test_rows_of_the_hold_out_and_of_shadow_are_untreated(changes: dict[str, object]) -> None:
    """Nothing was sent: what they do is what people do by themselves."""
    state = make_context(model=RISKY, **changes)
    person, _ = at_noon(state)
    _, said = process_events(person, [], state, NOON + 40 * DAY)
    assert [row.treated for row in of(Example, said)] == [False] * len(of(Example, said))
    assert of(Example, said)


def test_in_shadow_nothing_goes_out() -> None:
    """What would have been is decided and written down; alerts carry no action."""
    person, said = at_noon(make_context(model=RISKY, shadow=True))
    assert [decision.reason for decision in of(Decision, said)] == ["shadow"]
    assert (of(CouponTrigger, said), [alert.action for alert in of(Alert, said)]) == ([], ["none"])
    assert person.ledger.offers == ()


def test_shadow_is_consistent_and_leaves_the_live_run_its_caps() -> None:
    """Caps and cool-downs of shadow bind shadow; who then goes live begins with none of it, hold-out or not."""
    state = make_context(model=RISKY, campaign=make_campaign(cap_per_person=1, cool_down_days=20.0))
    shadow, again = msgspec.structs.replace(state, shadow=True), NOON + 30 * DAY

    def reasons(said: list[Output]) -> list[str]:
        return [decision.reason for decision in of(Decision, said) if decision.candidate == "coupon"]

    person, said = process_events(Person("u"), [LOGIN], shadow, NOON + 29 * DAY)
    assert reasons(said) == ["shadow"]
    login = ev.Login(id="2", user_id="u", time=again)
    assert reasons(at_noon(shadow, person, login)[1]) == ["cap"]
    assert reasons(at_noon(state, person, login)[1]) == ["sent"]
    held = msgspec.structs.replace(state, campaign=make_campaign(hold_out=1.0))
    person, _ = at_noon(msgspec.structs.replace(held, shadow=True))
    assert person.ledger.send_count("back", "coupon").times == 0


def test_a_medium_risk_gets_a_contact_without_a_coupon() -> None:
    """The alert is the contact; arm and amount stay empty."""
    _, said = at_noon(make_context(model=make_model(0.0, 0.0)))
    (decision,), (alert,) = of(Decision, said), of(Alert, said)
    assert (decision.candidate, decision.arm, decision.amount, alert.action) == ("contact", "", 0.0, "contact")
    assert of(CouponTrigger, said) == []


def test_an_alert_about_risk_says_why() -> None:
    """Rising risk: the group that raises it most, in words."""
    _, said = process_events(Person("u"), [LOGIN], make_context(), NOON + 4 * DAY)
    reasons = of(Alert, said)[0].reasons
    assert [(reason.group, reason.effect > 0) for reason in reasons] == [("silence", True)]
    assert reasons[0].words.startswith("no activity for")


def contacted(person: Person, hours: range, **changes: object) -> Person:
    """A person to whom a contact went out every one of these hours."""
    state = make_context(campaign=make_campaign(contact_cool_down_days=0.0, **changes), model=make_model(0.0))
    for n in hours:
        event = ev.CourseCompleted(id=str(n), user_id="u", time=NOON + n * HOUR, course_id="c")
        person, said = at_noon(state, person, event)
        assert "sent" in [decision.reason for decision in of(Decision, said)]
    return person


def test_what_was_sent_is_counted_once_a_campaign_and_kind() -> None:
    """However often a kind was sent, the ledger holds one number and the last time."""
    times = sum(row.times for row in contacted(Person("u"), range(1)).ledger.send_counts)
    assert contacted(Person("u"), range(40)).ledger.send_counts == (
        SendCount("back", "contact", NOON + 39 * HOUR, times + 39),
    )


def test_the_newest_campaigns_are_remembered() -> None:
    """The list of what was sent does not grow for ever: of many campaigns, the last ones count."""
    person = Person("u")
    for n in range(40):
        person = contacted(person, range(n, n + 1), id=f"campaign-{n}")
    assert [sent.campaign for sent in person.ledger.send_counts] == [
        f"campaign-{n}" for n in range(40 - MAX_SEND_COUNTS, 40)
    ]


FINISHED = ev.CourseCompleted(id="f", user_id="u", time=START + 23 * HOUR, course_id="go")
BEGUN = ev.LessonProgress(id="b", user_id="u", time=START + 23.5 * HOUR, course_id="rust", progress=0.1)
NIGHT = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=8.0), model=make_model(0.0))


def test_news_held_back_by_the_night_is_told_of_its_own_course() -> None:
    """In the morning the alert is about the course that was finished, not one begun in between."""
    _, said = process_events(Person("u"), [FINISHED, BEGUN], NIGHT, START + 33 * HOUR)
    alerts = [(alert.course_id, alert.action) for alert in of(Alert, said) if alert.about == "finished"]
    assert alerts == [("go", "none"), ("go", "contact")]


def test_a_stall_that_is_over_by_the_morning_is_not_told() -> None:
    """A person who went on with the course during the quiet hours has no longer stalled."""
    start = START + 15.5 * HOUR
    before = ev.LessonProgress(id="a", user_id="u", time=start, course_id="rust", progress=0.1)
    quiet = make_context(campaign=make_campaign(quiet_from=0.5, quiet_until=0.0), model=make_model(0.0))
    _, said = process_events(Person("u"), [before], quiet, start + 30 * DAY)
    stalled = next(alert for alert in of(Alert, said) if alert.about == "stalled")
    again = msgspec.structs.replace(before, id="c", time=stalled.time + 1, progress=0.2)
    _, said = process_events(Person("u"), [before, again], quiet, stalled.time + 2 * DAY)
    assert [alert.time for alert in of(Alert, said) if alert.about == "stalled"] == [stalled.time]


def test_two_candidates_of_one_night_are_both_asked_again() -> None:
    """A contact about a finished course is not forgotten because a coupon was held back too."""
    night = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=8.0), model=RISKY)
    _, said = at_noon(night, Person("u"), FINISHED)
    assert [(d.cause, d.reason) for d in of(Decision, said)] == [("risk", "quiet_hours"), ("finished", "quiet_hours")]
    _, said = process_events(Person("u"), [FINISHED], night, START + 32.5 * HOUR)
    assert {d.cause for d in of(Decision, said) if d.reason == "sent"} == {"risk", "finished"}
