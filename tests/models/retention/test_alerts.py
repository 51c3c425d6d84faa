"""Alerts are always published, decisions if there is a candidate, and triggers if a coupon is sent."""

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
PENDING = (PendingLabel(NOON - DAY, b"", 0.5, "m"), PendingLabel(NOON - 2 * DAY, b"", 0.5, "m"))


def at_noon(state: Context, person: Person | None = None, event: ev.Event = LOGIN) -> tuple[Person, list[Output]]:
    return process_events(person or Person("u"), [event], state, event.time + 1)


def of_type(kind: type, outputs: list[Output]) -> list:
    return [output for output in outputs if isinstance(output, kind)]


@pytest.mark.parametrize(
    ("about", "tier", "kind"),
    [("risk", "high", "coupon"), ("risk", "medium", "contact"), ("risk", "low", None), ("risk", "", None),
     ("stalled", "low", "contact"), ("finished", "", "contact")],
)  # fmt: skip
def test_the_candidate_follows_from_tier_and_subject(about: alerting.Subject, tier: str, kind: str | None) -> None:
    """High risk gives a coupon; medium risk or a course gives a contact; low risk gives nothing."""
    assert alerting.candidate(about, tier) == kind


def test_a_high_risk_gets_decision_alert_and_trigger_that_belong_together() -> None:
    """All three have the same person, time, score and model. The trigger is named after its decision."""
    state = make_context(model=RISKY, rules=Rules(pseudonym_key=b"k"), campaign=make_campaign(hold_out=0.25))
    _, outputs = at_noon(state, Person("u1"), ev.Login(id="1", user_id="u1", time=NOON))
    (decision,), (alert,), (trigger,) = (
        of_type(Decision, outputs),
        of_type(Alert, outputs),
        of_type(CouponTrigger, outputs),
    )
    assert (decision.sent, decision.reason, decision.candidate, decision.cause) == (True, "sent", "coupon", "risk")
    assert (decision.user, decision.propensity, decision.hold_out) == (pseudonym("u1", b"k"), 0.75, False)
    assert (alert.action, alert.tier, alert.tier_before, alert.expires_at) == ("coupon", "high", "", NOON + DAY)
    assert (trigger.id, trigger.user_id, trigger.amount) == (f"c{decision.id}", "u1", 10.0)
    assert (trigger.currency, trigger.valid_until, trigger.expires_at) == ("EUR", NOON + 7 * DAY, NOON + DAY)
    assert {(o.time, o.probability, o.model) for o in (decision, alert, trigger)} == {(NOON, 0.952574, "test-1")}
    assert len({decision.id, alert.id, trigger.id}) == 3


def test_a_sent_offer_is_in_the_ledger() -> None:
    """The ledger has its id, arm, end and propensity, and counts it."""
    person, outputs = at_noon(
        make_context(model=RISKY, campaign=make_campaign(arm=Arm(name="x", amount=3, valid_days=2)))
    )
    (trigger,), (offer,) = of_type(CouponTrigger, outputs), person.ledger.offers
    assert (offer.id, offer.arm, offer.amount, offer.at, offer.until) == (trigger.id, "x", 3.0, NOON, NOON + 2 * DAY)
    assert (offer.propensity, offer.bought) == (1.0, False)
    assert person.ledger.send_counts == (SendCount("back", "coupon", NOON, 1),)


def test_the_hold_out_is_decided_and_counted_but_gets_nothing() -> None:
    """There is an alert without action and a decision, but no trigger and no open offer. Rows stay untreated."""
    state = make_context(model=RISKY, campaign=make_campaign(hold_out=1.0))
    person, outputs = at_noon(state, Person("u", ledger=Ledger(pending_labels=PENDING)))
    (decision,) = of_type(Decision, outputs)
    assert (decision.sent, decision.reason, decision.hold_out) == (False, "hold_out", True)
    assert (of_type(CouponTrigger, outputs), [alert.action for alert in of_type(Alert, outputs)]) == ([], ["none"])
    assert (person.ledger.offers, len(person.ledger.send_counts)) == ((), 1)
    assert [row.treated for row in person.ledger.pending_labels] == [False, False]


@pytest.mark.parametrize("bias", [3.0, 0.0])
def test_pending_rows_become_treated(bias: float) -> None:
    """After a coupon or a contact, the labels of pending rows are no longer those of an untreated person."""
    person, _ = at_noon(make_context(model=make_model(0.0, bias)), Person("u", ledger=Ledger(pending_labels=PENDING)))
    assert [row.treated for row in person.ledger.pending_labels] == [True, True]


@pytest.mark.parametrize("tier", ["coupon", "contact"])
def test_rows_scored_after_something_was_sent_are_treated(tier: str) -> None:
    """For one horizon, also after a contact, and after a coupon that was redeemed within the hour."""
    state = make_context(model=make_model(0.0, 3.0 if tier == "coupon" else 0.0), rules=Rules(lookback=90 * DAY))
    person, outputs = at_noon(state)
    offers = [trigger.id for trigger in of_type(CouponTrigger, outputs)]
    assert len(offers) == (tier == "coupon")
    redeemed = [ev.CouponRedeemed(id="r", user_id="u", time=NOON + HOUR, offer_id=offer) for offer in offers]
    person, outputs = process_events(person, redeemed, state, NOON + 60 * DAY)
    assert person.ledger.treated_at == NOON
    rows = [(row.time - NOON < 14 * DAY, row.treated) for row in of_type(Example, outputs)]
    assert set(rows) == {(True, True), (False, False)}


@pytest.mark.parametrize("changes", [{"shadow": True}, {"campaign": make_campaign(hold_out=1.0)}])
def test_rows_of_the_hold_out_and_of_shadow_are_untreated(changes: dict[str, object]) -> None:
    """Nothing was sent, so the labels show behaviour without treatment."""
    state = make_context(model=RISKY, **changes)
    person, _ = at_noon(state)
    _, outputs = process_events(person, [], state, NOON + 40 * DAY)
    assert [row.treated for row in of_type(Example, outputs)] == [False] * len(of_type(Example, outputs))
    assert of_type(Example, outputs)


def test_shadow_mode_sends_nothing() -> None:
    """Decisions are published, but alerts have no action."""
    person, outputs = at_noon(make_context(model=RISKY, shadow=True))
    assert [decision.reason for decision in of_type(Decision, outputs)] == ["shadow"]
    assert (of_type(CouponTrigger, outputs), [alert.action for alert in of_type(Alert, outputs)]) == ([], ["none"])
    assert person.ledger.offers == ()


def test_shadow_is_consistent_and_leaves_the_live_run_its_caps() -> None:
    """Caps and cool-downs of shadow mode hold in shadow mode only. A live run starts without them."""
    state = make_context(model=RISKY, campaign=make_campaign(cap_per_person=1, cool_down_days=20.0))
    shadow, again = msgspec.structs.replace(state, shadow=True), NOON + 30 * DAY

    def reasons(outputs: list[Output]) -> list[str]:
        return [decision.reason for decision in of_type(Decision, outputs) if decision.candidate == "coupon"]

    person, outputs = process_events(Person("u"), [LOGIN], shadow, NOON + 29 * DAY)
    assert reasons(outputs) == ["shadow"]
    login = ev.Login(id="2", user_id="u", time=again)
    assert reasons(at_noon(shadow, person, login)[1]) == ["cap"]
    assert reasons(at_noon(state, person, login)[1]) == ["sent"]
    held = msgspec.structs.replace(state, campaign=make_campaign(hold_out=1.0))
    person, _ = at_noon(msgspec.structs.replace(held, shadow=True))
    assert person.ledger.send_count("back", "coupon").times == 0


def test_a_medium_risk_gets_a_contact_without_a_coupon() -> None:
    """The alert is the contact. Arm and amount are empty."""
    _, outputs = at_noon(make_context(model=make_model(0.0, 0.0)))
    (decision,), (alert,) = of_type(Decision, outputs), of_type(Alert, outputs)
    assert (decision.candidate, decision.arm, decision.amount, alert.action) == ("contact", "", 0.0, "contact")
    assert of_type(CouponTrigger, outputs) == []


def test_a_risk_alert_has_reasons() -> None:
    """For a rising risk, the feature group that raises it most, in words."""
    _, outputs = process_events(Person("u"), [LOGIN], make_context(), NOON + 4 * DAY)
    reasons = of_type(Alert, outputs)[0].reasons
    assert [(reason.group, reason.effect > 0) for reason in reasons] == [("silence", True)]
    assert reasons[0].words.startswith("no activity for")


def with_contacts(person: Person, hours: range, **changes: object) -> Person:
    """Return a person who got a contact at each of these hours."""
    state = make_context(campaign=make_campaign(contact_cool_down_days=0.0, **changes), model=make_model(0.0))
    for n in hours:
        event = ev.CourseCompleted(id=str(n), user_id="u", time=NOON + n * HOUR, course_id="c")
        person, outputs = at_noon(state, person, event)
        assert "sent" in [decision.reason for decision in of_type(Decision, outputs)]
    return person


def test_sends_are_counted_per_campaign_and_kind() -> None:
    """However often a kind was sent, the ledger has one count and the last time."""
    times = sum(row.times for row in with_contacts(Person("u"), range(1)).ledger.send_counts)
    assert with_contacts(Person("u"), range(40)).ledger.send_counts == (
        SendCount("back", "contact", NOON + 39 * HOUR, times + 39),
    )


def test_the_newest_campaigns_are_remembered() -> None:
    """The list of counts is bounded; the newest campaigns are kept."""
    person = Person("u")
    for n in range(40):
        person = with_contacts(person, range(n, n + 1), id=f"campaign-{n}")
    assert [sent.campaign for sent in person.ledger.send_counts] == [
        f"campaign-{n}" for n in range(40 - MAX_SEND_COUNTS, 40)
    ]


FINISHED = ev.CourseCompleted(id="f", user_id="u", time=START + 23 * HOUR, course_id="go")
BEGUN = ev.LessonProgress(id="b", user_id="u", time=START + 23.5 * HOUR, course_id="rust", progress=0.1)
NIGHT = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=8.0), model=make_model(0.0))


def test_a_postponed_alert_names_its_own_course() -> None:
    """In the morning, the alert is about the finished course, not about one begun since."""
    _, outputs = process_events(Person("u"), [FINISHED, BEGUN], NIGHT, START + 33 * HOUR)
    alerts = [(alert.course_id, alert.action) for alert in of_type(Alert, outputs) if alert.about == "finished"]
    assert alerts == [("go", "none"), ("go", "contact")]


def test_a_postponed_stall_that_ended_gives_no_alert() -> None:
    """The person went on with the course during the quiet hours."""
    start = START + 15.5 * HOUR
    before = ev.LessonProgress(id="a", user_id="u", time=start, course_id="rust", progress=0.1)
    quiet = make_context(campaign=make_campaign(quiet_from=0.5, quiet_until=0.0), model=make_model(0.0))
    _, outputs = process_events(Person("u"), [before], quiet, start + 30 * DAY)
    stalled = next(alert for alert in of_type(Alert, outputs) if alert.about == "stalled")
    again = msgspec.structs.replace(before, id="c", time=stalled.time + 1, progress=0.2)
    _, outputs = process_events(Person("u"), [before, again], quiet, stalled.time + 2 * DAY)
    assert [alert.time for alert in of_type(Alert, outputs) if alert.about == "stalled"] == [stalled.time]


def test_two_postponed_decisions_are_both_retried() -> None:
    """A contact about a finished course is not lost when a coupon is postponed, too."""
    night = make_context(campaign=make_campaign(quiet_from=22.0, quiet_until=8.0), model=RISKY)
    _, outputs = at_noon(night, Person("u"), FINISHED)
    assert [(d.cause, d.reason) for d in of_type(Decision, outputs)] == [
        ("risk", "quiet_hours"),
        ("finished", "quiet_hours"),
    ]
    _, outputs = process_events(Person("u"), [FINISHED], night, START + 32.5 * HOUR)
    assert {d.cause for d in of_type(Decision, outputs) if d.reason == "sent"} == {"risk", "finished"}
